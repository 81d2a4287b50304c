#!/usr/bin/env python3
"""Kills a sync and a push with -9 again and again, and holds the table and the org against each other.

    scripts/kill-nine-sync.py [--rows 60000] [--kills 15] [--push-rows 25000] [--push-kills 8] [--only sync|push] [--seed 1]

sync: Leads go into SQLite by a bulk job; the command is killed at random moments and started again. Then rows of the org
change, and the increment is killed the same way. Then:
  a) the table holds every row of the org once, with the same values as the org tells over REST;
  b) the org's journal has one bulk job for the first load, and none that was left behind;
push: rows of a table are upserted by an external id, of which 3 % have no last name, which the org refuses; killed and
started again. Then:
  c) every good row is in the org once, no bad one is;
  d) the results table tells of each row what became of it, once.
Needs release builds: `cargo build --release --workspace`, or PENSTOCK_BIN and ORGSIM_BIN. Exits with 1 when one of them
does not hold.
"""

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lead_trial import TOKEN, Process, programs

FIELD = """<?xml version="1.0" encoding="UTF-8"?>
<CustomField xmlns="http://soap.sforce.com/2006/04/metadata">
    <fullName>Score_Key__c</fullName>
    <externalId>true</externalId>
    <label>Score key</label>
    <length>40</length>
    <type>Text</type>
    <unique>true</unique>
</CustomField>
"""
SELECT = "SELECT Id, LastName, Company, Email, Status, SystemModstamp FROM Lead"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--push-rows", type=int, default=25_000)
    parser.add_argument("--push-kills", type=int, default=8)
    parser.add_argument("--only", choices=["sync", "push"])
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    binaries = programs()
    good = True
    with tempfile.TemporaryDirectory(prefix="penstock-kill-") as folder:
        if asked.only != "push":
            good &= sync(binaries, Path(folder) / "sync", asked)
        if asked.only != "sync":
            good &= push(binaries, Path(folder) / "push", asked)
    sys.exit(0 if good else 1)


def start_org(orgsim, rows, *more):
    return Process([
        orgsim, "--plain-only", "--access-token", TOKEN, "--records", f"Lead={rows}", "--daily-limit", "100000000",
        "--latency-ms", "3", *more,
    ])  # fmt: skip


def write_config(folder, org, more):
    folder.mkdir(parents=True)
    config = folder / "config.toml"
    config.write_text(
        f'state_dir = "{folder}/state"\noutput_dir = "{folder}/out"\n[http]\nlisten = ""\n[api]\nlisten = ""\n'
        f'[log]\nfilter = "warn"\n[schema]\nevery = ""\nat_start = false\n'
        f'[[org]]\nname = "trial"\nlogin_url = "{org.url}"\nauth = "token"\ntoken = "{TOKEN}"\n'
        f'[[warehouse]]\nname = "main"\n{more}'
    )
    return config


def until_done(command, kills, chance, longest):
    """Runs the command to its end, killed so often at random moments on the way. Its answer and the kills it took."""
    killed = 0
    while True:
        run = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        if killed < kills:
            try:
                # Each kill leaves less to do: the later ones come sooner.
                run.wait(timeout=0.05 + chance.uniform(0, longest) * 0.8**killed)
            except subprocess.TimeoutExpired:
                run.kill()
                out, _ = run.communicate()
                killed += 1
                if out.endswith("}\n"):
                    # It was over and had said so: the same command would begin anew.
                    return json.loads(out), killed
                continue
        out, _ = run.communicate()
        if killed < kills and run.returncode == 0:
            # Faster than the dice: that is an end as good as any.
            return json.loads(out), killed
        if run.returncode not in (0, 1, 75):
            sys.exit(f"it ended with {run.returncode}: {out[-1000:]}")
        if run.returncode == 75:
            continue
        return json.loads(out), killed


def of_org(penstock, config, query):
    done = subprocess.run([penstock, "query", query, "--all", "--config", config], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def sync(binaries, folder, asked):
    penstock, orgsim, _ = binaries
    chance = random.Random(asked.seed)
    with start_org(orgsim, asked.rows) as org:
        config = write_config(folder, org, '[[sync.object]]\nname = "Lead"\n')
        command = [penstock, "sync", "--json", "--config", config]
        done, killed = until_done(command, asked.kills, chance, 1.6)
        first = done["results"][0]
        print(f"first: {killed} kills, {first['sync_method']}, {first['actual_records']} rows", flush=True)
        # Before the rows are asked for by another command, which takes a bulk job too.
        jobs = [one for one in org.get("/__sim/journal")["calls"] if one["kind"] == "bulk_create"]
        good = say("b", len(jobs) == 1, f"{len(jobs)} bulk jobs made for the first load")
        good &= say("a", *same(penstock, config, folder))
        org.post("/__sim/rows", [
            {"object": "Lead", "action": "touch", "count": asked.rows // 3},
            {"object": "Lead", "action": "insert", "count": 100},
            {"object": "Lead", "action": "delete", "count": 100},
        ])  # fmt: skip
        # A window ends at the org's clock, which tells whole seconds: what changed within this one comes the next time.
        time.sleep(2)
        done, killed = until_done(command, asked.kills, chance, 0.8)
        second = done["results"][0]
        print(f"then: {killed} kills, {second['sync_method']}, {second['actual_records']} rows", flush=True)
        good &= say("a", *same(penstock, config, folder))
        left = subprocess.run(
            [penstock, "bulk-jobs", "list", "--json", "--config", config], check=True, capture_output=True, text=True
        )
        jobs = json.loads(left.stdout)["jobs"]
        good &= say("b", not jobs, f"{len(jobs)} bulk jobs are left at the org")
    return good


def same(penstock, config, folder):
    theirs = {row["Id"]: row for row in of_org(penstock, config, SELECT.replace(" FROM", ", IsDeleted FROM"))}
    with sqlite3.connect(folder / "out/main.sqlite") as reader:
        reader.row_factory = sqlite3.Row
        rows = reader.execute(SELECT.replace("FROM Lead", ', IsDeleted FROM "Lead"')).fetchall()
    ours = {row["Id"]: dict(row) for row in rows}
    for row in ours.values():
        row["IsDeleted"] = bool(row["IsDeleted"])
    other = sum(ours.get(key) != row for key, row in theirs.items())
    holds = len(rows) == len(ours) == len(theirs) and other == 0
    return holds, f"{len(rows)} rows in the table, {len(theirs)} at the org, {other} that differ"


def push(binaries, folder, asked):
    penstock, orgsim, _ = binaries
    chance = random.Random(asked.seed)
    project = folder / "project/force-app/main/default/objects/Lead/fields"
    project.mkdir(parents=True)
    (folder / "project/sfdx-project.json").write_text('{"packageDirectories":[{"path":"force-app","default":true}]}')
    (project / "Score_Key__c.field-meta.xml").write_text(FIELD)
    with start_org(orgsim, 1_000, "--sfdx", folder / "project") as org:
        home = folder / "run"
        config = write_config(home, org, (
            '[[push]]\nname = "scores"\nobject = "Lead"\nexternal_id = "Score_Key__c"\nrows_per_job = 5000\n'
            'sql = "SELECT key AS Score_Key__c, last AS LastName, company AS Company FROM scores"\n'
        ))  # fmt: skip
        (home / "out").mkdir()
        bad = {number for number in range(asked.push_rows) if number % 100 < 3}
        with sqlite3.connect(home / "out/main.sqlite") as writer:
            writer.execute("CREATE TABLE scores (key TEXT PRIMARY KEY, last TEXT, company TEXT)")
            rows = ((f"key-{n:06d}", None if n in bad else f"Name {n}", f"Company {n % 50}") for n in range(asked.push_rows))
            writer.executemany("INSERT INTO scores VALUES (?, ?, ?)", rows)
        command = [penstock, "push", "scores", "--json", "--config", config]
        done, killed = until_done(command, asked.push_kills, chance, 0.4)
        told = done["results"][0]
        print(f"push: {killed} kills, {json.dumps(told['tally'])}, {told['jobs']} jobs, {told['calls']} calls", flush=True)
        there = of_org(penstock, config, "SELECT Id, Score_Key__c, LastName FROM Lead WHERE Score_Key__c LIKE 'key-%'")
        keys = [row["Score_Key__c"] for row in there]
        wanted = {f"key-{n:06d}" for n in range(asked.push_rows) if n not in bad}
        good = say("c", len(keys) == len(wanted) and set(keys) == wanted, f"{len(keys)} of {len(wanted)} good rows at the org")
        with sqlite3.connect(home / "out/main.sqlite") as reader:
            columns = [row[1] for row in reader.execute("PRAGMA table_info(penstock_push_results)")]
            results = reader.execute("SELECT * FROM penstock_push_results").fetchall()
        named = [dict(zip(columns, row)) for row in results]
        pushes = {row["_load"] for row in named}
        if len(pushes) > 1:
            # The last kill came when its push was over, and the command began another, which sends every row anew.
            print(f"{len(pushes)} pushes: a kill came after an end", flush=True)
            named = [row for row in named if row["_load"] == told["id"]]
        told_of = {}
        for row in named:
            told_of.setdefault(row["match_value"], []).append(bool(row["success"]))
        right = all(told_of.get(f"key-{n:06d}") == [n not in bad] for n in range(asked.push_rows))
        good &= say("d", right and len(told_of) == asked.push_rows, f"{len(named)} rows of results for {len(told_of)} rows")
        tally = told["tally"]
        good &= say("d", tally["written"] == len(wanted) and tally["refused"] + tally["unfit"] == len(bad), f"told: {tally}")
    return good


def say(name, holds, what):
    print(f"{'PASS' if holds else 'FAIL'}  {name}) {what}", flush=True)
    return holds


if __name__ == "__main__":
    main()
