#!/usr/bin/env python3
"""Runs real Salesforce clients, unchanged, against the simulated org, and prints what each could do.

    tests/clients/run.py --orgsim PATH [--only simple-salesforce,jsforce] [--verbose]

Installs each client, in the version written below, once into a cache folder outside the checkout
(PENSTOCK_CLIENTS_DIR, else ~/.cache/penstock-clients). The rows each client delivered are compared, value
by value through a checksum, with the rows that a plain HTTP request gives. Ends non-zero when any
operation of any client failed.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
OBJECT = "Lead"
FIELDS = ["Id", "LastName", "Company", "Email", "Status"]
TOKEN = "00D5g0000001234!AQEAQRealClients.1"
REFRESH_TOKEN = "5Aep861RealClients"
APP = {"clientId": "orgsim-client", "clientSecret": "orgsim-secret"}
BULK_WRITES = 250

OPERATIONS = ["login", "limits", "describe", "read", "query-all", "bulk", "bulk-1.0", "write", "bulk-write"]
# Client: (folder in the cache, packages, driver). The packages are what the figures were made with.
PYTHON, NODE = "python", "node"
CLIENTS = {
    "simple-salesforce": ("simple", PYTHON, ["simple-salesforce==1.12.10"], "drive_simple_salesforce.py"),
    "jsforce": ("jsforce", NODE, ["jsforce@3.10.16"], "drive_jsforce.mjs"),
    "tap-salesforce": ("tap", PYTHON, ["tap-salesforce==2.8.1"], "drive_tap.py"),
    "Airbyte": ("airbyte", PYTHON, ["airbyte-source-salesforce==2.10.3"], "drive_airbyte.py"),
    "sf CLI": ("sf", NODE, ["node@22", "@salesforce/cli@2.146.3"], "drive_sf.py"),
    # Its warehouse drivers are large and not needed: only what its HTTP layer imports.
    "lht": ("lht", PYTHON, ["lht==3.0.0", "requests", "pandas", "cryptography", "pyyaml", "tabulate"], "drive_lht.py"),
}
# What a client cannot do by its nature.
NOT_OFFERED = {
    "tap-salesforce": {
        "read": "always reads deleted rows too",
        "bulk": "speaks Bulk 1.0 only",
        "write": "a source",
        "bulk-write": "a source",
    },
    "Airbyte": {
        "limits": "asks for none",
        "read": "always reads deleted rows too",
        "bulk-1.0": "speaks Bulk 2.0",
        "write": "a source",
        "bulk-write": "a source",
    },
    "simple-salesforce": {},
    "jsforce": {},
    "sf CLI": {"bulk-1.0": "speaks Bulk 2.0"},
    "lht": {
        "limits": "asks for none",
        "read": "always reads deleted rows too",
        "bulk-1.0": "speaks Bulk 2.0",
        "write": "writes by Bulk",
    },
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orgsim", required=True, type=Path, help="the simulator's binary")
    parser.add_argument("--only", default=",".join(CLIENTS), help="clients, separated by commas")
    parser.add_argument("--verbose", action="store_true", help="show what the clients print")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    unknown = [name for name in wanted if name not in CLIENTS]
    if unknown:
        parser.error(f"unknown client `{unknown[0]}`; there are {', '.join(CLIENTS)}")

    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    cache = Path(os.environ.get("PENSTOCK_CLIENTS_DIR", home / "penstock-clients"))
    for name in wanted:
        install(cache, name)
    results = {}
    with tempfile.TemporaryDirectory(prefix="penstock-clients-") as folder:
        for name in wanted:
            # An org of its own for each: what one writes, another does not read.
            with Org(arguments.orgsim, Path(folder)) as org:
                results[name] = drive(name, cache, org, Path(folder), arguments.verbose)
    failures = report(results)
    sys.exit(1 if failures else 0)


def install(cache, name):
    """Installs a client unless this very version is there already."""
    folder, kind, packages, _ = CLIENTS[name]
    home, stamp = cache / folder, cache / folder / "installed"
    if stamp.exists() and stamp.read_text() == "\n".join(packages):
        return
    print(f"installing {name} ({', '.join(packages)}) ...", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if kind == PYTHON:
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        if name == "lht":
            subprocess.run([*pip, "--no-deps", packages[0]], check=True)
            packages_left = packages[1:]
        else:
            packages_left = packages
        subprocess.run([*pip, *packages_left], check=True)
    else:
        (home / "package.json").write_text('{"private": true}')
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", *packages]
        subprocess.run(npm, cwd=home, check=True)
    stamp.write_text("\n".join(packages))


class Org:
    """A simulated org of its own, as a process."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder

    def __enter__(self):
        ca = self.folder / "ca.pem"
        self.process = subprocess.Popen(
            [
                self.binary, "--tls-listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0",
                "--ca-out", ca, "--access-token", TOKEN, "--refresh-token", REFRESH_TOKEN,
                "--records", f"{OBJECT}=6000", "--daily-limit", "1000000",
            ],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.process.stdout.readline()
        urls = json.loads(self.process.stdout.readline())
        self.http, self.tls, self.proxy, self.ca = urls["url"], urls["tls_url"], urls["proxy_url"], str(ca)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def get(self, path):
        request = urllib.request.Request(f"{self.http}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def rows(self, resource):
        soql = urllib.parse.quote(f"SELECT {', '.join(FIELDS)} FROM {OBJECT}")
        page = self.get(f"/services/data/v62.0/{resource}?q={soql}")
        rows = page["records"]
        while not page["done"]:
            page = self.get(page["nextRecordsUrl"])
            rows += page["records"]
        return rows

    def truth(self):
        """What each operation has to deliver."""
        fields = [field["name"] for field in self.get(f"/services/data/v62.0/sobjects/{OBJECT}/describe")["fields"]]
        read, everything = (
            checksum("\x1f".join(row[field] or "" for field in FIELDS) for row in self.rows(resource))
            for resource in ("query", "queryAll")
        )
        assert read["rows"] < everything["rows"], "the org needs deleted rows, or query-all shows nothing"
        limits = self.get("/services/data/v62.0/limits")
        return {
            "login": {"rows": 1},
            "limits": {"rows": limits["DailyApiRequests"]["Max"]},
            "describe": checksum(fields),
            "read": read,
            "query-all": everything,
            "bulk": read,
            "bulk-1.0": read,
            "write": {"rows": 1},
            "bulk-write": {"rows": BULK_WRITES},
        }


def checksum(lines):
    lines = sorted(lines)
    return {"rows": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def drive(name, cache, org, folder, verbose):
    """What each operation of one client came to: `ok ...`, `- ...`, or what went wrong."""
    home, kind, _, driver = CLIENTS[name]
    truth = org.truth()
    context = folder / "context.json"
    context.write_text(
        json.dumps({
            "http": org.http, "tls": org.tls, "proxy": org.proxy, "ca": org.ca, "token": TOKEN,
            "refresh_token": REFRESH_TOKEN, "app": APP, "object": OBJECT, "fields": FIELDS, "cache": str(cache),
        })
    )  # fmt: skip
    if driver.endswith(".mjs"):
        program = shutil.which("node") or "node"
    else:
        program = cache / home / "bin" / "python" if kind == PYTHON else sys.executable
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": org.ca, "NODE_EXTRA_CA_CERTS": org.ca}
    done = subprocess.run(
        [program, HERE / driver, context], env=environment, capture_output=True, text=True, timeout=900
    )
    if verbose:
        print(done.stdout, done.stderr, file=sys.stderr)
    told = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    told = {one["operation"]: one for one in told}
    outcome = {}
    for operation in OPERATIONS:
        if operation in NOT_OFFERED[name]:
            outcome[operation] = f"- {NOT_OFFERED[name][operation]}"
        elif operation not in told:
            outcome[operation] = f"FAILED: the driver ended before it: {done.stderr.strip()[-200:]}"
        else:
            outcome[operation] = judge(name, operation, told[operation], truth)
    return outcome


def judge(name, operation, told, truth):
    if "error" in told:
        return f"FAILED: {told['error']}"
    seen, due = told["seen"], truth[operation]
    # These two read deleted rows by Bulk as well.
    if operation in ("bulk", "bulk-1.0") and name in ("lht", "Airbyte", "tap-salesforce"):
        due = truth["query-all"]
    if "at_least" in seen:
        return f"ok {seen['at_least']}" if seen["at_least"] > 0 else "FAILED: nothing came"
    if seen == due:
        return f"ok {seen['rows']}"
    if seen["rows"] == due["rows"]:
        return f"FAILED: {seen['rows']} came, but with other values"
    return f"FAILED: {seen['rows']} came, {due['rows']} are there"


def report(results):
    width = max(len(operation) for operation in OPERATIONS)
    print(" " * width, *(f"{name:>18}" for name in results))
    failures, notes = [], []
    for operation in OPERATIONS:
        cells = []
        for name, outcome in results.items():
            text = outcome[operation]
            if text.startswith("FAILED"):
                failures.append(f"{name}, {operation}: {text}")
                text = "FAILED"
            elif text.startswith("- "):
                notes.append(f"{name}, {operation}: {text[2:]}")
                text = "-"
            cells.append(f"{text:>18}")
        print(f"{operation:<{width}}", *cells)
    for line in [f"  - {note}" for note in notes] + [f"  ! {failure}" for failure in failures]:
        print(line)
    done = sum(text.startswith("ok") for outcome in results.values() for text in outcome.values())
    print(f"{done} operations of {len(results)} clients, {len(failures)} failed")
    return failures


if __name__ == "__main__":
    main()
