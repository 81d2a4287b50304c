#!/usr/bin/env python3
"""Holds every kind of request that penstock makes to a model endpoint, and what the simulated endpoint answers, against
somebody else's contract: the published description of such endpoints, by Prism as a validating proxy.

    tests/leads/prism.py --aisim PATH --requests PATH [--spec FILE]

`--requests` is the example `model_requests`. The description stands beside the project, in
`../shared/specs/openai_subset.json`; without it there is nothing to hold anything against, and this fails. Prism is
installed once into a cache folder outside the checkout (PENSTOCK_CLIENTS_DIR, else ~/.cache/penstock-clients). Before the
client is run, requests that must be refused are sent, so that a proxy which lets everything through is found out.

One thing is corrected in the copy of the description that Prism reads: it calls the content of a file JSON text, where
endpoints send the bytes of the file, as `application/octet-stream`.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PRISM = "@stoplight/prism-cli@5.14.2"
PROJECT = Path(__file__).resolve().parents[2]
SPEC = PROJECT.parent / "shared" / "specs" / "openai_subset.json"
KEY = "sk-example"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aisim", required=True, type=Path, help="the simulated endpoint's binary")
    parser.add_argument("--requests", required=True, type=Path, help="the example `model_requests`, built")
    parser.add_argument("--spec", default=SPEC, type=Path, help="the description; ../shared/specs/openai_subset.json")
    arguments = parser.parse_args()
    for path in (arguments.aisim, arguments.requests, arguments.spec):
        if not path.is_file():
            sys.exit(f"prism.py: `{path}` is not there")
    prism = install()
    with tempfile.TemporaryDirectory(prefix="penstock-prism-") as folder, Endpoint(arguments.aisim) as upstream:
        with Proxy(prism, arguments.spec, upstream.url, Path(folder)) as proxy:
            must_be_refused(proxy.url)
            proxy.judged_from = len(proxy.log.read_text())
            done = subprocess.run([arguments.requests, proxy.url], env={**os.environ, "RUST_BACKTRACE": "0"},
                                  capture_output=True, text=True, timeout=300)
            print(done.stdout, end="")
            told = proxy.violations()
        seen = json.load(urllib.request.urlopen(f"{upstream.url[:-3]}/__sim/log", timeout=30))
    made = {shape(entry["request"]) for entry in seen}
    due = {
        "POST chat/completions", "POST files", "GET files", "POST batches", "GET batches", "GET batches/ID",
        "POST batches/ID/cancel", "GET files/ID/content", "DELETE files/ID",
        "GET models",  # asked here, until the proxy is up
    }  # fmt: skip
    failures = []
    if done.returncode != 0:
        failures.append(f"the client failed: {done.stderr.strip()}")
    failures += told
    if due - made:
        failures.append(f"these requests were not made: {sorted(due - made)}")
    if made - due:
        failures.append(f"these requests are new, and have to be added here: {sorted(made - due)}")
    for failure in failures:
        print(f"prism.py: {failure}", file=sys.stderr)
    print(f"prism.py: {len(made)} kinds of requests, {len(failures)} failures")
    sys.exit(1 if failures else 0)


def shape(request):
    """`GET batches/ID` for `GET /v1/batches/batch_sim000003`."""
    method, path = request.split(" ", 1)
    parts = path.removeprefix("/v1/").split("/")
    return f"{method} " + "/".join("ID" if part.startswith(("batch_", "file-")) else part for part in parts)


def install():
    """Prism's program, installed unless this very version is there already."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = Path(os.environ.get("PENSTOCK_CLIENTS_DIR", cache / "penstock-clients")) / "prism"
    stamp, program = home / "installed", home / "node_modules" / ".bin" / "prism"
    if not (stamp.exists() and stamp.read_text() == PRISM and program.exists()):
        print(f"installing {PRISM} ...", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        (home / "package.json").write_text('{"private": true}')
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", PRISM]
        subprocess.run(npm, cwd=home, check=True)
        stamp.write_text(PRISM)
    return program


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Endpoint:
    """The simulated endpoint, as a process."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Proxy:
    """Prism in front of it: what breaks the contract is answered with an error and told in its log."""

    def __init__(self, prism, spec, upstream, folder):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log, self.judged_from = folder / "prism.log", 0
        described = json.loads(spec.read_text())
        download = described["paths"]["/files/{file_id}/content"]["get"]["responses"]["200"]
        download["content"] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        corrected = folder / "described.json"
        corrected.write_text(json.dumps(described))
        command = [prism, "proxy", "--errors", "-h", "127.0.0.1", "-p", str(port), str(corrected), upstream]
        # A group of its own: Prism starts a second process.
        self.process = subprocess.Popen(
            command, stdout=self.log.open("w"), stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def wait(self):
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"prism.py: Prism ended: {self.log.read_text()[-500:]}")
            try:
                urllib.request.urlopen(self.request("/models"), timeout=30)
                return
            except urllib.error.HTTPError as error:
                sys.exit(f"prism.py: the list of models is refused: {error.code} {error.read().decode()[:500]}")
            except OSError:
                time.sleep(0.3)
        sys.exit("prism.py: Prism does not listen")

    def request(self, path):
        return urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"Bearer {KEY}"})

    def violations(self):
        """What Prism has complained of since `judged_from`."""
        lines = self.log.read_text()[self.judged_from :].splitlines()
        return [line for line in lines if "violation" in line.lower()]

    def __enter__(self):
        return self

    def stop(self):
        os.killpg(self.process.pid, 15)
        self.process.wait(timeout=30)

    def __exit__(self, *_):
        self.stop()


def must_be_refused(url):
    """Each of these breaks the contract; a proxy that passes one of them judges nothing."""
    good = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    wrong = {
        "no messages": ("/chat/completions", {"model": "m"}),
        "a response_format of no kind": ("/chat/completions", {**good, "response_format": {"type": "poem"}}),
        "a schema without a name": (
            "/chat/completions", {**good, "response_format": {"type": "json_schema", "json_schema": {}}},
        ),
        "a batch of nothing": ("/batches", {"endpoint": "/v1/chat/completions"}),
        "metadata that is no text": (
            "/batches",
            {"input_file_id": "f", "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"a": 1}},
        ),
    }  # fmt: skip
    for what, (path, body) in wrong.items():
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                sys.exit(f"prism.py: {what} was answered with {answer.status}: the proxy judges nothing")
        except urllib.error.HTTPError as error:
            if error.code != 422:
                sys.exit(f"prism.py: {what} was answered with {error.code} instead of 422")


if __name__ == "__main__":
    main()
