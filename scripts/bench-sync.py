#!/usr/bin/env python3
"""What a sync costs: rows per CPU-second into each warehouse, memory, calls.

    scripts/bench-sync.py [--speed] [--memory] [--calls] [--only sqlite,postgres,duckdb] [--rows 200000] [--rounds 3]

--speed   a first sync of 200,000 Leads with 30 fields by one bulk job: rows per CPU-second of penstock from the first call
          to the commit; PostgreSQL's own server apart, DuckDB inside the process and so counted
--memory  peak RSS of the same with 20,000 and with 2,000,000 rows
--calls   what the org counts for 20,000 changed rows, and for 50

Without any of them, all three. Every program is a process of its own, measured by `/usr/bin/time` (Debian's package `time`);
the simulated org's time does not count. Rows are counted in the warehouse by another program (sqlite3 of Python, psql).
Needs release builds: `cargo build --release --workspace`, or PENSTOCK_BIN and ORGSIM_BIN; for DuckDB its library, which
`tests/warehouse/drivers.py` fetches.
"""

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from lead_trial import ROOT, TOKEN, Process, programs

FIELDS = 30
MIB = 1024 * 1024


def start_org(orgsim, rows):
    return Process([
        orgsim, "--plain-only", "--access-token", TOKEN, "--records", f"Lead={rows}", "--deleted-percent", "0",
        "--daily-limit", "100000000",
    ])  # fmt: skip


def fields_left_out(org):
    """All but the first 30 fields that a sync would read, system fields among those that stay."""
    request = urllib.request.Request(
        f"{org.url}/services/data/v62.0/sobjects/Lead/describe", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request) as answer:
        fields = json.load(answer)["fields"]
    plain = [field["name"] for field in fields if field["type"] not in ("address", "location", "base64")]
    must = ["Id", "IsDeleted", "SystemModstamp"]
    kept = must + [name for name in plain if name not in must][: FIELDS - len(must)]
    return [name for name in plain if name not in kept]


class Postgres:
    """A PostgreSQL of its own, on a free port, ended with the block."""

    def __init__(self, folder):
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not versions:
            sys.exit("bench-sync: Debian's package `postgresql` is missing")
        self.bin, self.folder = versions[-1], folder
        self.folder.mkdir(parents=True)
        self.as_user = []
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
            # The server's user must be able to come by.
            for above in folder.parents:
                if above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
                    above.chmod(above.stat().st_mode | 0o001)
            self.as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]
        data = folder / "data"
        subprocess.run(
            [*self.as_user, self.bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        subprocess.run(
            [*self.as_user, self.bin / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o",
             f"-p {self.port} -k {folder} -c listen_addresses=127.0.0.1 -c max_wal_size=4GB", "start"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(
            [*self.as_user, self.bin / "pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop"],
            stdout=subprocess.DEVNULL,
        )

    def sql(self, text):
        return subprocess.run(
            ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-At", "-c", text, "postgres"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip


class Trial:
    """One penstock with one warehouse."""

    def __init__(self, penstock, folder, org, kind, more=""):
        self.penstock, self.folder, self.kind = penstock, folder, kind
        folder.mkdir(parents=True)
        left_out = json.dumps(fields_left_out(org))
        text = (
            f'state_dir = "{folder}/state"\noutput_dir = "{folder}/out"\n[http]\nlisten = ""\n[api]\nlisten = ""\n'
            f'[log]\nfilter = "warn"\n[schema]\nevery = ""\nat_start = false\n'
            f'[[org]]\nname = "trial"\nlogin_url = "{org.url}"\nauth = "token"\ntoken = "{TOKEN}"\n'
            f'[[warehouse]]\nname = "main"\nkind = "{kind}"\n{more}'
            f'[sync]\nreconcile_every = ""\nhard_deletes_every = ""\nformulas_every = ""\n'
            f'[[sync.object]]\nname = "Lead"\nexclude = {left_out}\n'
        )
        self.config = folder / "config.toml"
        self.config.write_text(text)

    def sync(self):
        """The result, CPU-seconds and peak RSS in bytes."""
        usage = self.folder / "usage"
        done = subprocess.run(
            ["/usr/bin/time", "-o", usage, "-f", "%U %S %M", self.penstock, "sync", "--json", "--config", self.config],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            sys.exit(f"{self.kind}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        user, system, kib = usage.read_text().split()
        return json.loads(done.stdout)["results"][0], float(user) + float(system), int(kib) * 1024


def counted(kind, trial, server):
    if kind == "sqlite":
        with sqlite3.connect(trial.folder / "out" / "main.sqlite") as reader:
            return reader.execute('SELECT count(*) FROM "Lead"').fetchone()[0]
    if kind == "postgres":
        return int(server.sql('SELECT count(*) FROM "Lead"'))
    python = subprocess.run(
        [sys.executable, ROOT / "tests/warehouse/drivers.py", "--python"], check=True, capture_output=True, text=True
    ).stdout.strip()
    script = f"import duckdb; print(duckdb.connect({str(trial.folder / 'out/main.duckdb')!r}, read_only=True).execute('SELECT count(*) FROM \"Lead\"').fetchone()[0])"
    return int(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout)


def first_sync(penstock, folder, org, kind, rows, server):
    more = ""
    if kind == "postgres":
        server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        more = f'url = "postgres://postgres@127.0.0.1:{server.port}/postgres"\n'
    if kind == "duckdb":
        library = subprocess.run(
            [sys.executable, ROOT / "tests/warehouse/drivers.py", "duckdb"], check=True, capture_output=True, text=True
        ).stdout.strip()
        more = f'driver = "{library}"\n'
    trial = Trial(penstock, folder, org, kind, more)
    result, cpu, rss = trial.sync()
    there = counted(kind, trial, server)
    if there != rows:
        sys.exit(f"{kind}: {there} rows of {rows} are there: {result}")
    return trial, result, cpu, rss


def table(kinds, penstock, orgsim, folder, server, rows, rounds):
    with start_org(orgsim, rows) as org:
        for kind in kinds:
            seen = []
            for attempt in range(rounds):
                place = folder / f"{kind}-{rows}-{attempt}"
                _, result, cpu, rss = first_sync(penstock, place, org, kind, rows, server)
                seen.append((rows / cpu, cpu, rss, result))
                shutil.rmtree(place)
            per_cpu, cpu, _, result = sorted(seen, key=lambda one: one[0])[len(seen) // 2]
            rss = statistics.median(one[2] for one in seen)
            print(
                f"| {kind} | {rows:,} | {result['sync_method']} | {result['calls']} | {per_cpu:,.0f} | {cpu:.2f} "
                f"| {result['sync_duration_seconds']:.1f} | {rss / MIB:.0f} |",
                flush=True,
            )


def calls(penstock, orgsim, folder):
    """20,000 rows that changed, spread over the table; then 50."""
    with start_org(orgsim, 60_000) as org:
        trial, _, _, _ = first_sync(penstock, folder / "calls", org, "sqlite", 60_000, None)
        for count in (20_000, 50):
            # So that the changes before are behind the next window, which reaches back a little.
            org.post("/__sim/clock", {"advance_ms": 24 * 3_600_000})
            trial.sync()
            org.post("/__sim/clock", {"advance_ms": 24 * 3_600_000})
            org.post("/__sim/rows", {"object": "Lead", "action": "touch", "count": count})
            # A window ends at the org's clock, which tells whole seconds: what changed within this one comes the next time.
            time.sleep(2)
            result, _, _ = trial.sync()
            print(f"| {count:,} changed rows | {result['calls']} | {result['jobs']} | {result['sync_method']} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for part in ("speed", "memory", "calls"):
        parser.add_argument(f"--{part}", action="store_true")
    parser.add_argument("--only", default="sqlite,postgres,duckdb")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--many", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    wanted = [part for part in ("speed", "memory", "calls") if getattr(asked, part)] or ["speed", "memory", "calls"]
    penstock, orgsim, _ = programs()
    kinds = asked.only.split(",")
    with tempfile.TemporaryDirectory(prefix="penstock-sync-") as folder:
        folder = Path(folder)
        server = Postgres(folder / "pg" / "server") if "postgres" in kinds else None
        try:
            if "speed" in wanted or "memory" in wanted:
                print("| warehouse | rows | method | calls | rows per CPU-s | CPU-s | wall s | peak RSS, MiB |")
                print("|---|---|---|---|---|---|---|---|", flush=True)
            if "speed" in wanted:
                table(kinds, penstock, orgsim, folder, server, asked.rows, asked.rounds)
            if "memory" in wanted:
                for rows in (20_000, asked.many):
                    table(kinds, penstock, orgsim, folder, server, rows, 1)
            if "calls" in wanted:
                print("\n| | calls | bulk jobs | method |\n|---|---|---|---|", flush=True)
                calls(penstock, orgsim, folder)
        finally:
            if server:
                server.__exit__()


if __name__ == "__main__":
    main()
