"""What the scripts about lead jobs share: programs, a simulated org and a simulated model endpoint as processes of their
own, a configuration, and lists of ids."""

import csv
import json
import os
import random
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "00D5g0000001234!AQEAQTrial.1"
HEAD = ["Campaign", "Lead ID", "Owner", "Spend"]


def programs():
    """penstock, orgsim and aisim: PENSTOCK_BIN, ORGSIM_BIN, AISIM_BIN, or release builds in the target folder."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    found = []
    for name in ("penstock", "orgsim", "aisim"):
        binary = Path(os.environ.get(f"{name.upper()}_BIN", target / name))
        if not binary.exists():
            sys.exit(f"`{binary}` is missing: cargo build --release -p penstock -p orgsim -p aisim")
        found.append(binary)
    return found


class Process:
    """A server that prints its URL first; ended with the block."""

    def __init__(self, command):
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http"):
            sys.exit(f"{command[0]} did not start")
        # The endpoint tells the address for clients, with its version.
        self.url = self.url.removesuffix("/v1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)

    def post(self, path, body=None):
        data = json.dumps(body).encode() if body is not None else b""
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return answer.read()


def start_org(orgsim, leads, latency_ms=0):
    return Process([
        orgsim, "--plain-only", "--access-token", TOKEN, "--records", f"Lead={leads}", "--deleted-percent", "1",
        "--daily-limit", "100000000", "--latency-ms", latency_ms, "--sfdx", ROOT / "examples/leads/enrichment",
    ])  # fmt: skip


def start_endpoint(aisim, **options):
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    return Process([aisim, "--listen", "127.0.0.1:0", *flags])


def questions_of(endpoint):
    """What the endpoint was asked, and how it answered, by its own log."""
    return [one for one in endpoint.get("/__sim/log") if one["request"].endswith("/chat/completions")]


def write_config(folder, org, endpoint=None, **model):
    folder.mkdir(parents=True, exist_ok=True)
    text = (
        f'state_dir = "{folder}/state"\noutput_dir = "{folder}/out"\n[http]\nlisten = ""\n[api]\nlisten = ""\n'
        f'[log]\nfilter = "warn"\n[schema]\nevery = ""\nat_start = false\n'
        f'[[org]]\nname = "trial"\nlogin_url = "{org.url}"\nauth = "token"\ntoken = "{TOKEN}"\n'
    )
    if endpoint:
        text += f'[leads.model]\nbase_url = "{endpoint.url}/v1"\nmodel = "sim"\napi_key = "key"\n'
        text += "prompt_price = 0.15\ncompletion_price = 0.6\n"
        text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in model.items())
    config = folder / "config.toml"
    config.write_text(text)
    return config


def ids_of(penstock, config, count):
    """The first ids of the org, as it gives them."""
    told = subprocess.run(
        [penstock, "query", f"SELECT Id FROM Lead LIMIT {count}", "--config", config],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    ids = [json.loads(line)["Id"] for line in told.splitlines()]
    if len(ids) != count:
        sys.exit(f"the org gave {len(ids)} ids instead of {count}")
    return ids


def rows_of(ids, untidy=False, seed=1):
    """Rows of a list; an untidy one has what people do to lists: lost case, blanks, doubles, ids of other objects."""
    chance = random.Random(seed)
    for number, lead in enumerate(ids):
        spend = round(chance.random() * 100, 2)
        row = [f"Autumn {number % 7}", lead, f"owner{number % 40}@acme.example", spend]
        if untidy:
            dice = chance.random()
            if dice < 0.01:
                row[1] = lead.lower()
            elif dice < 0.02:
                row[1] = f"  {lead[:15]} "
            elif dice < 0.03:
                yield row
            elif dice < 0.035:
                yield [row[0], "", row[2], spend]
            elif dice < 0.04:
                yield [row[0], "001" + lead[3:], row[2], spend]
            elif dice < 0.045:
                yield [row[0], "n/a", row[2], spend]
        yield row


def write_csv(path, rows):
    count = 0
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def write_xlsx(path, rows):
    from openpyxl import Workbook

    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet("Leads")
    sheet.append(HEAD)
    count = 0
    for row in rows:
        sheet.append(row)
        count += 1
    workbook.save(path)
    return count
