"""Airbyte's source: through the CONNECT proxy, because its login host is fixed."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from driver import CONTEXT, FIELDS, OBJECT, digest, operation

BIN = Path(CONTEXT["cache"]) / "airbyte" / "bin" / "source-salesforce"
FOLDER = tempfile.TemporaryDirectory(prefix="penstock-airbyte-")
ENVIRONMENT = {**os.environ, "HTTPS_PROXY": CONTEXT["proxy"], "REQUESTS_CA_BUNDLE": CONTEXT["ca"]}
STREAMS = {}


def write(name, value):
    file = Path(FOLDER.name) / name
    file.write_text(json.dumps(value))
    return str(file)


def source(*arguments, bulk=False):
    app = CONTEXT["app"]
    config = write("config.json", {
        "client_id": app["clientId"], "client_secret": app["clientSecret"],
        "refresh_token": CONTEXT["refresh_token"], "auth_type": "Client",
        "start_date": "2000-01-01T00:00:00Z", "force_use_bulk_api": bulk, "stream_slice_step": "P50Y",
        "streams_criteria": [{"criteria": "exacts", "value": OBJECT}],
    })  # fmt: skip
    done = subprocess.run(
        [BIN, *arguments, "--config", config], env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    messages = []
    for line in done.stdout.splitlines():
        try:
            messages.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    if done.returncode:
        traces = [m["trace"]["error"]["message"] for m in messages if m["type"] == "TRACE" and "error" in m["trace"]]
        raise RuntimeError((traces or [done.stderr[-300:]])[0])
    return messages


def read(bulk):
    stream = STREAMS[OBJECT]
    stream = {
        "stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite",
        "cursor_field": ["SystemModstamp"], "primary_key": [["Id"]],
    }  # fmt: skip
    catalog = write("catalog.json", {"streams": [stream]})
    messages = source("read", "--catalog", catalog, bulk=bulk)
    return digest(message["record"]["data"] for message in messages if message["type"] == "RECORD")


@operation("login")
def _():
    status = next(message for message in source("check") if message["type"] == "CONNECTION_STATUS")
    assert status["connectionStatus"]["status"] == "SUCCEEDED", status["connectionStatus"].get("message")
    return {"rows": 1}


@operation("describe")
def _():
    catalog = next(message for message in source("discover") if message["type"] == "CATALOG")
    STREAMS.update({stream["name"]: stream for stream in catalog["catalog"]["streams"]})
    return {"at_least": len(STREAMS[OBJECT]["json_schema"]["properties"])}


@operation("query-all")
def _():
    return read(bulk=False)


@operation("bulk")
def _():
    return read(bulk=True)
