#!/usr/bin/env python3
"""Lead jobs with real parts: the programs as processes, an independent reader of reports, a validating proxy, a small real
model.

    tests/leads/run.py --bins FOLDER [--only report,faults,kill,prism,model]

`FOLDER` holds penstock, orgsim and aisim, and the example `model_requests`. What comes from PyPI and npm is installed once
into a cache folder outside the checkout (PENSTOCK_CLIENTS_DIR, else ~/.cache/penstock-clients).

report  a workbook as people have them through a whole job; its report as openpyxl sees it
faults  an org and an endpoint that fail on the way: the counts add up to the rows of the sheet
kill    a job killed with -9: the same report, and nothing paid twice
prism   every request to the endpoint against the published description; left out, and said, where that is not beside the
        project
model   20 leads and a real small model: answers are valid or told as failed, and tokens add up
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "scripts")]

import check_report  # noqa: E402
import lead_trial as trial  # noqa: E402
import prism  # noqa: E402
import small_model  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bins", required=True, type=Path)
    parser.add_argument("--only", default="report,faults,kill,prism,model")
    arguments = parser.parse_args()
    for name in ("penstock", "orgsim", "aisim"):
        os.environ[f"{name.upper()}_BIN"] = str((arguments.bins / name).resolve())
    check_report.with_openpyxl()
    programs = trial.programs()
    steps = {"report": report, "faults": faults, "kill": kill, "prism": contract, "model": model}
    for name in arguments.only.split(","):
        print(f"-- {name}", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"penstock-leads-{name}-") as folder:
            steps[name](arguments.bins, programs, Path(folder))
    print("lead jobs: all good")


def job(penstock, folder, org, sheet, endpoint=None, name="report.xlsx", ends=(0,), extra=(), **model):
    config = trial.write_config(folder, org, endpoint, **model)
    target = folder / name
    command = [penstock, "leads", sheet, "--config", config, "--out", target, "--json", *extra]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode not in ends:
        sys.exit(f"penstock leads ended with {done.returncode}: {done.stderr[-2000:]}")
    counts = json.loads(done.stdout)["progress"]["counts"]
    adds_up(counts)
    return target, counts


def adds_up(counts):
    rows = counts["blank"] + counts["invalid"] + counts["duplicates"] + counts["leads"]
    ends = counts["assessed"] + counts["failed"] + counts["no_record"] + counts["unread"]
    states = counts["merged"] + counts["deleted"] + counts["not_visible"]
    assert rows == counts["rows"], f"{rows} rows by kind, {counts['rows']} in all: {counts}"
    assert ends == counts["leads"] and counts["open"] == 0, f"{ends} ends, {counts['leads']} leads: {counts}"
    assert states == counts["no_record"], f"{counts}"


def untidy(ids, seed=2):
    rows = list(trial.rows_of(ids, untidy=True, seed=seed))
    # Two ids that differ only by case are two leads; the org knows neither.
    rows += [["Twins", "00Q5g00000zzAbC", "x", 1.5], ["Twins", "00Q5g00000zzaBC", "y", 2.5]]
    return rows


def report(_bins, programs, folder):
    penstock, orgsim, aisim = programs
    with trial.start_org(orgsim, 600) as org, trial.start_endpoint(aisim, faults="prose@every=40") as endpoint:
        ids = trial.ids_of(penstock, trial.write_config(folder / "ids", org), 600)
        rows = untidy(ids)
        sheet = folder / "list.xlsx"
        trial.write_xlsx(sheet, rows)
        made, counts = job(penstock, folder / "job", org, sheet, endpoint, attempts=3)
        assert counts["assessed"] == 600 and counts["model_answered"] == 600, counts
        assert counts["not_visible"] == 2 and counts["duplicates"] > 0 and counts["repaired"] > 0, counts
        expected = {
            "rows": len(rows),
            "sheets": ["Analysis Results", "Summary", "Invalid IDs"],
            "summary": {"Total rows": len(rows), "Different leads": counts["leads"]},
            "statuses": dict(statuses(rows, counts)),
        }
        (folder / "expected.json").write_text(json.dumps(expected))
        check = [sys.executable, HERE / "check_report.py", made, folder / "expected.json", "--input", sheet]
        subprocess.run([str(part) for part in check], check=True)
        log = trial.questions_of(endpoint)
        answered = [one for one in log if one["status"] == 200]
        assert counts["model_requests"] == len(log), (counts["model_requests"], len(log))
        tokens = sum(one["prompt_tokens"] for one in answered), sum(one["completion_tokens"] for one in answered)
        assert tokens == (counts["prompt_tokens"], counts["completion_tokens"]), (tokens, counts)
        # The same list again costs nothing: every assessment is there.
        again, second = job(penstock, folder / "job", org, sheet, endpoint, name="again.xlsx", attempts=3)
        assert second["model_reused"] == 600 and second["cost"] == 0, second
        assert len(trial.questions_of(endpoint)) == len(log), "a stored assessment was asked for again"


def statuses(rows, counts):
    """Rows by their status, counted from the list itself."""
    seen, found = set(), Counter()
    for _, written, _, _ in rows:
        text = str(written).strip()
        if not text:
            continue
        valid = text[:3].upper() == "00Q" and len(text) in (15, 18)
        found["Analyzed" if valid and not text.startswith("00Q5g00000zz") else "Invalid Lead ID"] += 1
        seen.add(text)
    return found


def faults(_bins, programs, folder):
    penstock, orgsim, aisim = programs
    ends = "status=500@every=17;prose@every=23;half@every=29;cut@every=31;throttled=1@nth=50"
    with trial.start_org(orgsim, 3000) as org, trial.start_endpoint(aisim, faults=ends) as endpoint:
        ids = trial.ids_of(penstock, trial.write_config(folder / "ids", org), 3000)
        refused = {"type": "status", "status": 400, "code": "UNKNOWN_EXCEPTION", "message": "not today"}
        org.post("/__sim/faults", [
            {"kind": "collection", "nth": 2, "fault": "unavailable"},
            {"kind": "collection", "nth": 4, "fault": "session_expired"},
            {"kind": "collection", "nth": 6, "fault": "cut_mid_body"},
            {"kind": "collection", "nth": 8, "fault": refused},
        ])  # fmt: skip
        rows = untidy(ids, seed=3)
        sheet = folder / "list.csv"
        trial.write_csv(sheet, rows)
        made, counts = job(
            penstock, folder / "job", org, sheet, endpoint, name="report.csv", ends=(0, 1),
            extra=("--batch-size", "200"), attempts=4,
        )  # fmt: skip
        # A lead may meet a fault at each of its attempts: it has failed then, and is counted as such.
        judged = counts["assessed"] + counts["failed"]
        assert counts["rows"] == len(rows) and counts["unread"] == 0 and judged == 3000, counts
        assert counts["failed"] < 30, counts
        lines = made.read_text(encoding="utf-8-sig").count("Autumn")
        assert lines >= 3000, lines


def kill(_bins, _programs, _folder):
    subprocess.run(
        [sys.executable, str(ROOT / "scripts/kill-nine-leads.py"), "--leads", "1500", "--kills", "4"], check=True
    )


def contract(bins, programs, _folder):
    if not prism.SPEC.exists():
        print(f"left out: the published description is not at {os.path.relpath(prism.SPEC, ROOT)}")
        return
    command = [sys.executable, HERE / "prism.py", "--aisim", programs[2], "--requests", bins / "examples/model_requests"]
    subprocess.run([str(part) for part in command], check=True)


def model(_bins, programs, folder):
    penstock, orgsim, _ = programs
    address, process = small_model.start()
    try:
        with trial.start_org(orgsim, 20) as org:
            ids = trial.ids_of(penstock, trial.write_config(folder / "ids", org), 20)
            sheet = folder / "list.csv"
            trial.write_csv(sheet, trial.rows_of(ids))

            class Endpoint:
                url = address.removesuffix("/v1")

            config = trial.write_config(
                folder / "job", org, Endpoint, concurrency=2, max_completion_tokens=400, attempts=1
            )
            text = config.read_text().replace('model = "sim"', f'model = "{small_model.MODEL}"')
            config.write_text(text.replace("[leads.model]", "[leads]\ncall_timeout_secs = 300\n[leads.model]"))
            target = folder / "report.jsonl"
            command = [penstock, "leads", sheet, "--config", config, "--out", target, "--json"]
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            assert done.returncode in (0, 1), done.stderr[-2000:]
            counts = json.loads(done.stdout)["progress"]["counts"]
            adds_up(counts)
            lines = [json.loads(line) for line in target.read_text().splitlines()]
            assert len(lines) == 20 and counts["assessed"] + counts["failed"] == 20, counts
            assert counts["model_requests"] == 20 and counts["prompt_tokens"] > 20 * 100, counts
            print(f"20 leads: {counts['model_answered']} valid answers, {counts['failed']} failed, "
                  f"{counts['prompt_tokens']} + {counts['completion_tokens']} tokens")
    finally:
        process.kill()


if __name__ == "__main__":
    main()
