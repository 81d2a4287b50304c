#!/usr/bin/env python3
"""Kills a lead job with -9 again and again, and holds what is left against an undisturbed run.

    scripts/kill-nine-leads.py [--leads 50000] [--kills 20] [--seed 1]

One job runs undisturbed. A second one, over the same list, is killed at random moments and started again with the same
command. Then:
  a) both reports hold the same, byte for byte (.csv), and every row of the list is in them;
  b) the counts add up to the rows of the list;
  c) by the endpoint's own log, no lead was asked again after its answer was stored: the requests beyond one a lead are
     exactly those whose answer was under way at a kill;
  d) what the job says it paid for is what the endpoint says it answered and the job stored.
Needs release builds, as scripts/bench-leads.py does. Exits with 1 when one of them does not hold.
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

from lead_trial import ids_of, programs, questions_of, rows_of, start_endpoint, start_org, write_config, write_csv


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leads", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    penstock, orgsim, aisim = programs()
    chance = random.Random(arguments.seed)
    good = True
    with tempfile.TemporaryDirectory(prefix="penstock-kill-") as folder, start_org(orgsim, arguments.leads) as org:
        folder = Path(folder)
        ids = ids_of(penstock, write_config(folder / "ids", org), arguments.leads)
        sheet = folder / "list.csv"
        # Some that the org has not, beside what is untidy.
        ids[:: max(1, len(ids) // 200)] = [f"00Q5g00000Zz{number:03d}" for number in range(len(ids[:: max(1, len(ids) // 200)]))]
        rows = write_csv(sheet, rows_of(ids, untidy=True))
        with start_endpoint(aisim) as endpoint:
            began = time.monotonic()
            plain = job(penstock, folder / "plain", org, endpoint, sheet)
            assert plain.wait() in (0, 1), "the undisturbed run failed"
            took = time.monotonic() - began
            told = json.loads(plain.stdout.read())["progress"]["counts"]
        with start_endpoint(aisim) as endpoint:
            again = folder / "killed"
            unstored = killed = 0
            ended = None
            while killed < arguments.kills:
                run = job(penstock, again, org, endpoint, sheet)
                answered = endpoint.get("/__sim/stats")["answered"]
                # Each third kill comes early, while the job is taken up; the others while the model answers.
                early = time.monotonic() + chance.uniform(0.02, 0.8) if killed % 3 == 2 else None
                enough = answered + chance.randint(1, max(2, 2 * arguments.leads // (arguments.kills + 2)))
                while run.poll() is None:
                    is_time = time.monotonic() >= early if early else endpoint.get("/__sim/stats")["answered"] >= enough
                    if is_time:
                        break
                    time.sleep(0.005)
                if run.poll() is None:
                    run.kill()
                    run.wait()
                    ended = ended_job(again)
                    if ended:
                        # It was over, and only had not left yet: the same command would begin a new job.
                        print(f"ended before kill {killed + 1}", flush=True)
                        break
                    killed += 1
                    time.sleep(0.3)
                    answered = sum(one["status"] == 200 for one in questions_of(endpoint))
                    unstored = answered - stored(again)
                    print(f"killed {killed}: {answered} answered, {unstored} of them not stored", flush=True)
                else:
                    break
            if not ended:
                # Ended by itself before the last kill, or gone on with now.
                last = run if run.returncode in (0, 1) else job(penstock, again, org, endpoint, sheet)
                if last.wait() not in (0, 1):
                    sys.exit("the last run failed")
                ended = ended_job(again)
            report, progress = ended
            ended = progress["counts"]
            log = [one for one in questions_of(endpoint) if one["status"] == 200]
        same = (folder / "plain/report.csv").read_bytes() == report.read_bytes()
        good &= say("a", same, f"reports of {rows} rows are the same after {killed} kills")
        parts = ended["blank"] + ended["invalid"] + ended["duplicates"] + ended["leads"]
        ends = ended["assessed"] + ended["failed"] + ended["no_record"] + ended["unread"]
        good &= say("b", parts == ended["rows"] == rows and ends == ended["leads"], f"{parts} rows, {ends} leads")
        good &= say("c", len(log) - stored(again) == unstored, f"{len(log)} answers, {stored(again)} stored, {unstored} lost at kills")
        same_counts = {key: value for key, value in ended.items() if key in told and told[key] != value}
        good &= say("d", not same_counts, f"counts that differ from the undisturbed run: {same_counts or 'none'}")
    sys.exit(0 if good else 1)


def job(penstock, folder, org, endpoint, sheet):
    config = write_config(folder, org, endpoint, concurrency=16)
    command = [penstock, "leads", sheet, "--config", config, "--out", folder / "report.csv", "--json"]
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)


def ended_job(folder):
    """The report and the progress of the job that is over; None while there is none."""
    over = sorted((folder / "state/leads").glob("*/summary.json"))
    assert len(over) < 2, f"one command made {len(over)} jobs"
    return (over[0].parent / "report.csv", json.loads(over[0].read_text())["progress"]) if over else None


def stored(folder):
    """Assessments that a start after the kill would find."""
    path = folder / "state/leads/assessments.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(path) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return database.execute("SELECT count(*) FROM assessments").fetchone()[0] if "assessments" in tables else 0


def say(name, holds, what):
    print(f"{'PASS' if holds else 'FAIL'}  {name}) {what}", flush=True)
    return holds


if __name__ == "__main__":
    main()
