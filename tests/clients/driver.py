"""What the Python drivers share: the context they are given, and how an operation tells what it saw.

A driver runs a real client, unchanged, against the simulated org. It never judges itself: it tells what
the client delivered, as one line of JSON an operation, and `run.py` compares that with the org.
"""

import hashlib
import json
import sys
import traceback
from pathlib import Path

CONTEXT = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
OBJECT = CONTEXT["object"]
FIELDS = CONTEXT["fields"]
SOQL = f"SELECT {', '.join(FIELDS)} FROM {OBJECT}"


def text(value):
    """A cell as text: what is empty is empty, whichever way the client says so."""
    if value is None or value != value:
        return ""
    if value is True or value is False:
        return str(value).lower()
    return str(value)


def digest(rows):
    """Number and checksum of rows, each a mapping from field name to value, in any order."""
    lines = sorted("\x1f".join(text(row.get(field)) for field in FIELDS) for row in rows)
    return {"rows": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def names(fields):
    """Number and checksum of field names."""
    fields = sorted(fields)
    return {"rows": len(fields), "sha256": hashlib.sha256("\n".join(fields).encode()).hexdigest()}


def operation(name):
    """Runs the function at once and tells what it returned, or how it failed."""

    def run(function):
        try:
            seen = {"operation": name, "seen": function()}
        except Exception as error:  # noqa: BLE001 - whatever a client throws is a result
            traceback.print_exc()
            seen = {"operation": name, "error": f"{type(error).__name__}: {error}"[:300]}
        print("RESULT " + json.dumps(seen), flush=True)

    return run
