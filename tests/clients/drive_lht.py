"""lht: its HTTP layer by itself. What it loads into needs a warehouse account; what it asks of the org does not."""

import contextlib
import io
import sys
import types

# lht imports Snowpark where it only passes sessions on.
for module in ("snowflake", "snowflake.snowpark", "snowflake.snowpark.functions", "snowflake.snowpark.types"):
    stub = types.ModuleType(module)
    stub.__getattr__ = lambda name: type(name, (), {})
    sys.modules[module] = stub

import pandas  # noqa: E402
import requests  # noqa: E402
from driver import CONTEXT, FIELDS, OBJECT, SOQL, digest, operation  # noqa: E402
from lht.salesforce import jobs, query_bapi20, sobject_query, sobjects  # noqa: E402

ACCESS = {"access_token": CONTEXT["token"], "instance_url": CONTEXT["http"]}


@operation("login")
def _():
    import os

    from lht.user import salesforce_auth

    # It builds https://DOMAIN.my.salesforce.com itself: through the CONNECT proxy.
    os.environ.update(HTTPS_PROXY=CONTEXT["proxy"], REQUESTS_CA_BUNDLE=CONTEXT["ca"])
    app = CONTEXT["app"]
    session = salesforce_auth.login_user_flow(app["clientId"], app["clientSecret"], "acme")
    url = f"{session['instance_url']}/services/data/v62.0/query?q=SELECT COUNT() FROM Organization"
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    rows = requests.get(url, headers=headers, timeout=60).json()["totalSize"]
    os.environ.pop("HTTPS_PROXY")
    return {"rows": rows}


@operation("query-all")
def _():
    rows = []
    with contextlib.redirect_stdout(io.StringIO()):
        for frame in sobject_query.query_records(ACCESS, SOQL, batch_size=2000):
            rows += frame.to_dict("records")
    return digest({field: row[field.upper()] for field in FIELDS} for row in rows)


@operation("describe")
def _():
    # It leaves out compound fields and what it cannot store: the count is its own.
    query, frame_fields, _ = sobjects.describe(ACCESS, OBJECT)
    assert query.startswith("select+Id"), query
    return {"at_least": len(frame_fields)}


@operation("bulk")
def _():
    import time

    from lht.util.csv import bulk_csv_text

    job = query_bapi20.create_batch_query(ACCESS, SOQL)
    for _ in range(100):
        if query_bapi20.query_status(ACCESS, "Query", job["id"])[0]["state"] == "JobComplete":
            break
        time.sleep(0.1)
    assert job["id"] in {one["id"] for one in jobs.list_bulk_api_jobs(ACCESS)}
    url = f"{CONTEXT['http']}/services/data/v58.0/jobs/query/{job['id']}/results"
    headers = {"Authorization": f"Bearer {CONTEXT['token']}"}
    results = requests.get(url, headers=headers, timeout=60)
    frame = pandas.read_csv(io.StringIO(bulk_csv_text(results)), dtype=str, keep_default_na=False)
    query_bapi20.delete_query(ACCESS, job["id"])
    return digest(frame.to_dict("records"))


@operation("bulk-write")
def _():
    import time

    from lht.salesforce import ingest_bapi20

    headers = {"Authorization": f"Bearer {CONTEXT['token']}"}
    body = {"object": "Campaign", "operation": "insert", "contentType": "CSV", "lineEnding": "LF"}
    jobs_url = f"{CONTEXT['http']}/services/data/v62.0/jobs/ingest"
    job = requests.post(jobs_url, headers=headers, json=body, timeout=60).json()
    ingest_bapi20.send_file(ACCESS, job["id"], "Name\n" + "".join(f"Bulk {number}\n" for number in range(250)))
    ingest_bapi20.job_close(ACCESS, job["id"])
    for _ in range(100):
        status = ingest_bapi20.job_status(ACCESS, job["id"])
        if status["state"] == "JobComplete":
            break
        time.sleep(0.1)
    return {"rows": status["numberRecordsProcessed"] - status["numberRecordsFailed"]}
