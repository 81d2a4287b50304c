#!/usr/bin/env python3
"""Counts the objects and fields of an SFDX project against the library that `penstock demo --sfdx DIR` made of it.

    python3 scripts/sfdx_count.py DIR penstock-output/sfdx

Reads file names only (`objects/<Object>/fields/<Field>.field-meta.xml`), so it shares nothing with the importer. Names
that a template has not filled in yet (`%%%NAMESPACE%%%`) are left out. Exits 1 when something is missing.
"""
import json
import re
import sys
from pathlib import Path

project, library = Path(sys.argv[1]), Path(sys.argv[2])
name = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")
objects, fields = set(), set()
for path in project.rglob("*.object-meta.xml"):
    objects.add(path.name.removesuffix(".object-meta.xml"))
for path in project.rglob("*.field-meta.xml"):
    owner = path.parent.parent.name
    # Activity is no object of its own in an org: Task and Event have its fields.
    for owner in ("Task", "Event") if owner == "Activity" else (owner,):
        fields.add((owner, path.name.removesuffix(".field-meta.xml")))
objects.discard("Activity")
objects = {o for o in objects | {o for o, _ in fields} if name.match(o)}
fields = {(o, f) for o, f in fields if name.match(o) and name.match(f)}

listed, described = set(), {}
for line in (library / "documents.jsonl").open():
    document = json.loads(line)
    if document["section"] == "overview":
        listed.add(document["object"])
    if document["section"] == "fields":
        described.setdefault(document["object"], []).append(document["text"])
texts = {owner: "\n".join(parts) for owner, parts in described.items()}
missing_objects = sorted(objects - listed)
missing_fields = sorted(
    f"{owner}.{field}" for owner, field in fields if not re.search(rf"\b{field}\b", texts.get(owner, ""))
)
print(f"objects: {len(objects)} in the project's XML, {len(objects) - len(missing_objects)} in the library")
print(f"fields:  {len(fields)} in the project's XML, {len(fields) - len(missing_fields)} in the library")
for missing in missing_objects + missing_fields:
    print(f"missing: {missing}")
sys.exit(1 if missing_objects or missing_fields else 0)
