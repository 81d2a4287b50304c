"""The sf CLI, on Node 22, in a home folder of its own."""

import csv
import json
import os
import subprocess
import tempfile
from pathlib import Path

from driver import CONTEXT, FIELDS, OBJECT, SOQL, digest, names, operation

BIN = Path(CONTEXT["cache"]) / "sf" / "node_modules" / ".bin"
HOME = tempfile.TemporaryDirectory(prefix="penstock-sf-")
ENVIRONMENT = {
    "HOME": HOME.name,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "SF_ACCESS_TOKEN": CONTEXT["token"],
    "SF_USE_GENERIC_UNIX_KEYCHAIN": "true",
    "SF_DISABLE_TELEMETRY": "true",
    "SF_AUTOUPDATE_DISABLE": "true",
    "SF_DISABLE_AUTOUPDATE": "true",
}


def sf(*arguments):
    command = [BIN / "sf", *arguments, "--json"]
    done = subprocess.run(
        command, env=ENVIRONMENT, cwd=HOME.name, capture_output=True, text=True, timeout=300
    )
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise RuntimeError(f"sf {arguments[0]} {arguments[1]}: {done.stdout[:200]}{done.stderr[:200]}") from None
    if done.returncode:
        raise RuntimeError(f"{answer.get('name')}: {answer.get('message')}")
    return answer["result"]


@operation("login")
def _():
    sf("org", "login", "access-token", "--instance-url", CONTEXT["http"], "--no-prompt", "--alias", "sim")
    shown = sf("org", "display", "--target-org", "sim")
    token = sf("org", "auth", "show-access-token", "--target-org", "sim")["accessToken"]
    return {"rows": int(shown["connectedStatus"] == "Connected" and token == CONTEXT["token"])}


@operation("read")
def _():
    return digest(sf("data", "query", "--target-org", "sim", "--query", SOQL)["records"])


@operation("query-all")
def _():
    return digest(sf("data", "query", "--target-org", "sim", "--all-rows", "--query", SOQL)["records"])


@operation("describe")
def _():
    shown = sf("sobject", "describe", "--target-org", "sim", "--sobject", OBJECT)
    return names(field["name"] for field in shown["fields"])


@operation("limits")
def _():
    limits = sf("org", "list", "limits", "--target-org", "sim")
    return {"rows": next(limit["max"] for limit in limits if limit["name"] == "DailyApiRequests")}


@operation("bulk")
def _():
    file = Path(HOME.name) / "out.csv"
    sf(
        "data", "export", "bulk", "--target-org", "sim", "--query", SOQL,
        "--output-file", str(file), "--result-format", "csv", "--wait", "5",
    )  # fmt: skip
    with file.open(encoding="utf-8", newline="") as lines:
        return digest(csv.DictReader(lines))


@operation("write")
def _():
    made = sf("data", "create", "record", "--target-org", "sim", "--sobject", "Campaign", "--values", "Name=Made")
    sf(
        "data", "update", "record", "--target-org", "sim", "--sobject", "Campaign",
        "--record-id", made["id"], "--values", "Name=Changed",
    )  # fmt: skip
    found = sf("data", "get", "record", "--target-org", "sim", "--sobject", "Campaign", "--record-id", made["id"])
    sf("data", "delete", "record", "--target-org", "sim", "--sobject", "Campaign", "--record-id", made["id"])
    return {"rows": int(found["Name"] == "Changed")}


@operation("bulk-write")
def _():
    file = Path(HOME.name) / "in.csv"
    file.write_text("Name\n" + "".join(f"Bulk {number}\n" for number in range(250)), encoding="utf-8")
    done = sf(
        "data", "import", "bulk", "--target-org", "sim", "--sobject", "Campaign",
        "--file", str(file), "--line-ending", "LF", "--wait", "5",
    )  # fmt: skip
    return {"rows": done["processedRecords"] - done.get("failedRecords", 0)}
