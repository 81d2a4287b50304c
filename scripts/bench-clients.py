#!/usr/bin/env python3
"""Reads the same rows with penstock and with other clients, and compares what a CPU-second of each is worth.

    scripts/bench-clients.py [--rows 200000] [--rounds 3] [--only NAME,..] [--large ROWS]

Each client is a process of its own that reads every row of Lead, 30 fields and about 1 kB a row, from a
simulated org (also a process of its own) and writes JSON lines nowhere. CPU-seconds are the client's own,
user and system, start included; RSS is its peak. Clients take turns, and each figure is the median of the
rounds: a busy neighbour changes them little, because the simulator's time does not count.

Needs `tests/clients/run.py` to have installed the clients once (`./test --clients`), and release builds:
`cargo build --release -p penstock -p orgsim`, or PENSTOCK_BIN and ORGSIM_BIN.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "00D5g0000001234!AQEAQBench.1"
FIELDS = (
    "Id IsDeleted Salutation FirstName LastName Name Title Company Street City State PostalCode Country Phone "
    "MobilePhone Email Website Description LeadSource Status Industry Rating AnnualRevenue NumberOfEmployees "
    "OwnerId IsConverted CreatedDate LastModifiedDate SystemModstamp LastActivityDate"
).split()
SOQL = f"SELECT {', '.join(FIELDS)} FROM Lead"

SIMPLE = """
import json, sys
from simple_salesforce import Salesforce
org = Salesforce(instance_url=sys.argv[1], session_id=sys.argv[2], version="59.0")
out, rows = open("/dev/null", "w"), 0
if sys.argv[4] == "rest":
    for row in org.query_all_iter(sys.argv[3]):
        del row["attributes"]
        out.write(json.dumps(row) + "\\n")
        rows += 1
else:
    import csv, io
    for page in org.bulk2.Lead.query(sys.argv[3]):
        for row in csv.DictReader(io.StringIO(page)):
            out.write(json.dumps(row) + "\\n")
            rows += 1
print(rows)
"""
JSFORCE = """
const { createRequire } = require("module");
const { Connection } = createRequire(process.argv[5] + "/jsforce/")("jsforce");
const { createWriteStream } = require("fs");
(async () => {
  const org = new Connection({ instanceUrl: process.argv[1], accessToken: process.argv[2] });
  const out = createWriteStream("/dev/null");
  let rows = 0;
  if (process.argv[4] === "rest") {
    let page = await org.query(process.argv[3], { autoFetch: false });
    for (;;) {
      for (const row of page.records) { delete row.attributes; out.write(JSON.stringify(row) + "\\n"); rows++; }
      if (page.done) break;
      page = await org.queryMore(page.nextRecordsUrl);
    }
  } else {
    org.bulk2.pollInterval = 500; org.bulk2.pollTimeout = 600000;
    const records = await org.bulk2.query(process.argv[3]);
    for await (const row of records) { out.write(JSON.stringify(row) + "\\n"); rows++; }
  }
  console.log(rows);
})();
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--large", type=int, default=0, help="also read so many rows with penstock, for its RSS")
    arguments = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    penstock = Path(os.environ.get("PENSTOCK_BIN", target / "penstock"))
    orgsim = Path(os.environ.get("ORGSIM_BIN", target / "orgsim"))
    for binary in (penstock, orgsim):
        if not binary.exists():
            sys.exit(f"`{binary}` is missing: cargo build --release -p penstock -p orgsim")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    cache = Path(os.environ.get("PENSTOCK_CLIENTS_DIR", home / "penstock-clients"))
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        folder = Path(folder)
        with Org(orgsim, folder, arguments.rows) as org:
            wanted = [name for name in commands(penstock, cache, org) if not arguments.only or name in arguments.only]
            runs = {name: [] for name in wanted}
            for _ in range(arguments.rounds):
                for name in wanted:
                    runs[name].append(measure(commands(penstock, cache, org)[name], org, arguments.rows))
        print(f"| {arguments.rows} rows, 30 fields | rows per CPU-s | peak RSS, MB | x simple-salesforce, same way |")
        print("|---|---|---|---|")
        speed = {name: arguments.rows / statistics.median(cpu for cpu, _ in runs[name]) for name in wanted}
        for name in wanted:
            way = name.split()[-1]
            base = speed.get(f"simple-salesforce {way}")
            ratio = f"{speed[name] / base:.1f}" if base else "-"
            rss = max(rss for _, rss in runs[name])
            print(f"| {name} | {speed[name]:,.0f} | {rss:.0f} | {ratio} |", flush=True)
        if arguments.large:
            with Org(orgsim, folder, arguments.large) as org:
                for way in ("rest", "bulk"):
                    command = commands(penstock, cache, org)[f"penstock {way}"]
                    cpu, rss = measure(command, org, arguments.large)
                    print(f"| penstock {way}, {arguments.large} rows | {arguments.large / cpu:,.0f} | {rss:.0f} | |")


class Org:
    def __init__(self, binary, folder, rows):
        self.binary, self.folder, self.rows = binary, folder, rows

    def __enter__(self):
        self.ca = self.folder / "ca.pem"
        self.process = subprocess.Popen(
            [
                self.binary, "--access-token", TOKEN, "--ca-out", self.ca, "--records", f"Lead={self.rows}",
                "--deleted-percent", "0", "--daily-limit", "100000000",
            ],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.http = self.process.stdout.readline().strip()
        self.tls = json.loads(self.process.stdout.readline())["tls_url"]
        self.config = self.folder / "config.toml"
        self.config.write_text(
            f'state_dir = "{self.folder}/state"\noutput_dir = "{self.folder}/out"\n[http]\nlisten = ""\n'
            f'[log]\nfilter = "warn"\n[[org]]\nname = "bench"\nlogin_url = "{self.http}"\nauth = "token"\n'
            f'token = "{TOKEN}"\n'
        )
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def commands(penstock, cache, org):
    python, node = cache / "simple" / "bin" / "python", shutil.which("node") or "node"
    ours = [penstock, "query", SOQL, "--config", org.config, "--api"]
    return {
        "penstock rest": [*ours, "rest"],
        "simple-salesforce rest": [python, "-c", SIMPLE, org.tls, TOKEN, SOQL, "rest"],
        "jsforce rest": [node, "-e", JSFORCE, org.http, TOKEN, SOQL, "rest", cache],
        "penstock bulk": [*ours, "bulk"],
        "simple-salesforce bulk": [python, "-c", SIMPLE, org.tls, TOKEN, SOQL, "bulk"],
        "jsforce bulk": [node, "-e", JSFORCE, org.http, TOKEN, SOQL, "bulk", cache],
    }


def measure(command, org, rows):
    """CPU-seconds and peak RSS in MB of one run, and a check that it read every row."""
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(org.ca)}
    ours = "query" in command
    with tempfile.TemporaryFile() as told:
        stdout = open("/dev/null", "wb") if ours else told
        process = subprocess.Popen(command, env=environment, stdout=stdout, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        text = told.read().decode(errors="replace")
    if process.returncode or f"{rows}" not in text.replace(",", ""):
        sys.exit(f"{command[0]} ended with {process.returncode}: {text[-500:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
