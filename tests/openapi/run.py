#!/usr/bin/env python3
"""Holds the running daemon against its own /openapi.json with schemathesis.

    tests/openapi/run.py --penstock PATH --orgsim PATH [--examples 200] [--seed 1]

The daemon runs on an SQLite file of its own with the shipped example tables, and on a simulated org with a few hundred
leads, so that the paths of leads read and assess something. schemathesis is installed once, in the
version written below, into a cache folder outside the checkout (PENSTOCK_CLIENTS_DIR, else ~/.cache/penstock-clients).
Ends non-zero when an answer was a 5xx, or of a status, media type, header or body that the description does not have,
or when a body that the description refuses was taken.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
sys.dont_write_bytecode = True
import lead_trial  # noqa: E402, found by the line above

PACKAGE = "schemathesis==4.32.5"
# Two of schemathesis' checks are ours instead, for what is meant by them here: see `checks.py`. Left out is
# `positive_data_acceptance`: a schema cannot say which customer there is, which name is taken, or that `$ref:a` lacks a
# column, so a body of the right form may still be refused with 400.
CHECKS = ["server_keeps_up", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "wrong_data_is_refused", "unsupported_method", "allow_header_conformance"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def installed():
    cache = os.environ.get("PENSTOCK_CLIENTS_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "penstock-clients")
    folder = Path(cache) / "schemathesis"
    mark = folder / "installed"
    if not mark.exists() or mark.read_text() != PACKAGE:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/pip"), "install", "--quiet", PACKAGE], check=True)
        mark.write_text(PACKAGE)
    return folder / "bin/schemathesis"


def held_against_its_description(asked, program, work, org):
    """Whether the daemon still lives, and how schemathesis ended."""
    port = free_port()
    (work / "config.toml").write_text(
        f"state_dir = '{work}/state'\noutput_dir = '{work}/output'\n[http]\nlisten = '127.0.0.1:{free_port()}'\n"
        f"[api]\nlisten = '127.0.0.1:{port}'\nanonymous = 'allow'\n"
        f"[[database]]\nname = 'main'\nkind = 'sqlite'\npath = '{work}/shop.sqlite'\n"
        f"init_sql = '{ROOT}/examples/batch/shop.sql'\n"
        f"[schema]\nevery = ''\nat_start = false\n"
        f"[[org]]\nname = 'trial'\nlogin_url = '{org.url}'\nauth = 'token'\ntoken = '{lead_trial.TOKEN}'\n")
    with open(work / "log", "w") as log:
        daemon = subprocess.Popen([str(asked.penstock), "run", "--config", str(work / "config.toml")], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/openapi.json", timeout=2)
                break
            except OSError:
                if daemon.poll() is not None:
                    sys.exit(f"openapi: the daemon does not start\n{(work / 'log').read_text()}")
                time.sleep(0.1)
        told = subprocess.run(
            [str(program), "run", f"{url}/openapi.json", "--checks", ",".join(CHECKS), "--max-examples", str(asked.examples),
             "--seed", str(asked.seed), "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all",
             "--continue-on-failure", "--no-color"],
            cwd=work, env={**os.environ, "SCHEMATHESIS_HOOKS": "checks", "PYTHONPATH": str(Path(__file__).resolve().parent),
                           "PYTHONDONTWRITEBYTECODE": "1"})
        alive = daemon.poll() is None
    finally:
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
    return alive, told


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", required=True, type=Path, help="the daemon's binary")
    parser.add_argument("--orgsim", required=True, type=Path, help="the simulated org's binary")
    parser.add_argument("--examples", type=int, default=40, help="generated requests for each path and method")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    program = installed()
    work = Path(tempfile.mkdtemp(prefix="penstock-openapi."))
    with lead_trial.start_org(asked.orgsim, 300) as org:
        alive, told = held_against_its_description(asked, program, work, org)
    if not alive:
        print("openapi: the daemon died", file=sys.stderr)
        return 1
    if told.returncode == 0:
        shutil.rmtree(work, ignore_errors=True)
    else:
        print(f"openapi: the daemon's log is {work}/log", file=sys.stderr)
    return told.returncode


if __name__ == "__main__":
    sys.exit(main())
