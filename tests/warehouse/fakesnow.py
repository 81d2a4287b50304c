#!/usr/bin/env python3
"""Runs a command beside fakesnow, a server that speaks Snowflake's protocol and is not ours: what the real Snowflake driver
is tested against.

    tests/warehouse/fakesnow.py COMMAND [ARGUMENT...]     ends as the command does
    tests/warehouse/fakesnow.py --python                  prints the interpreter that has Snowflake's own Python client

The command finds the server's address in PENSTOCK_TEST_SNOWFLAKE, the driver's library in PENSTOCK_TEST_SNOWFLAKE_DRIVER and
that interpreter in PENSTOCK_TEST_SNOWFLAKE_PYTHON. The server is on a port of its own, knows nothing when it starts, and
goes with the command. Installed once, in the versions written below, into a cache folder outside the checkout
(PENSTOCK_CLIENTS_DIR, else ~/.cache/penstock-clients).
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import drivers

# With version 5 of the connector, fakesnow cannot be imported.
PACKAGES = ["fakesnow[server]==0.12.1", "snowflake-connector-python==4.8.1"]
STARTS_WITHIN = 60


def interpreter():
    """The interpreter that has the server and the client, in these very versions."""
    folder = drivers.home().parent / "fakesnow"
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not (stamp.exists() and stamp.read_text() == "\n".join(PACKAGES) and python.exists()):
        print(f"installing {', '.join(PACKAGES)} ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        drivers.run([sys.executable, "-m", "venv", folder], None)
        drivers.run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], None)
        stamp.write_text("\n".join(PACKAGES))
    return python


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(server, port, log):
    """Until the server takes connections."""
    for _ in range(STARTS_WITHIN * 10):
        if server.poll() is not None:
            sys.exit(f"fakesnow ended while it started:\n{log.read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"fakesnow did not start within {STARTS_WITHIN} s:\n{log.read_text()}")


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    python = interpreter()
    if sys.argv[1] == "--python":
        print(python)
        return
    library = drivers.library("snowflake")
    with tempfile.TemporaryDirectory(prefix="penstock-fakesnow-") as folder:
        port, log = free_port(), Path(folder, "log")
        # What it keeps of stages is in its temporary folder.
        environment = {**os.environ, "TMPDIR": folder}
        with log.open("wb") as out:
            server = subprocess.Popen(
                [python.with_name("fakesnow"), "-s", "-p", str(port)], env=environment, stdout=out, stderr=out
            )
        try:
            wait_for(server, port, log)
            environment = {
                **os.environ,
                "PENSTOCK_TEST_SNOWFLAKE": f"127.0.0.1:{port}",
                "PENSTOCK_TEST_SNOWFLAKE_DRIVER": str(library),
                "PENSTOCK_TEST_SNOWFLAKE_PYTHON": str(python),
            }
            code = subprocess.run(sys.argv[1:], env=environment).returncode
            if code != 0:
                keep = Path(tempfile.gettempdir(), "penstock-fakesnow.log")
                shutil.copyfile(log, keep)
                print(f"what fakesnow said is in {keep}", file=sys.stderr)
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
    sys.exit(code)


if __name__ == "__main__":
    main()
