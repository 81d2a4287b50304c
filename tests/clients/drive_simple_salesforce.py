"""simple-salesforce: over TLS, because it always says https; its logins go through the CONNECT proxy."""

from driver import CONTEXT, FIELDS, OBJECT, SOQL, digest, names, operation
from simple_salesforce import Salesforce

org = Salesforce(
    instance_url=CONTEXT["tls"], session_id=CONTEXT["token"], version="59.0"
)


@operation("login")
def _():
    session = Salesforce(
        username="integration@orgsim.example", password="secret", security_token="", domain="login",
        proxies={"https": CONTEXT["proxy"]},
    )
    return {"rows": session.query("SELECT COUNT() FROM Organization")["totalSize"]}


@operation("read")
def _():
    return digest(org.query_all_iter(SOQL))


@operation("query-all")
def _():
    return digest(org.query_all_iter(SOQL, include_deleted=True))


@operation("describe")
def _():
    return names(field["name"] for field in getattr(org, OBJECT).describe()["fields"])


@operation("limits")
def _():
    return {"rows": org.limits()["DailyApiRequests"]["Max"]}


@operation("bulk")
def _():
    import csv
    import io

    rows = []
    for page in getattr(org.bulk2, OBJECT).query(SOQL, max_records=2500):
        rows += csv.DictReader(io.StringIO(page))
    return digest(rows)


@operation("bulk-1.0")
def _():
    return digest(getattr(org.bulk, OBJECT).query(SOQL))


@operation("write")
def _():
    made = org.Campaign.create({"Name": "Made by simple-salesforce"})
    org.Campaign.update(made["id"], {"Name": "Changed by simple-salesforce"})
    name = org.Campaign.get(made["id"])["Name"]
    org.Campaign.delete(made["id"])
    return {"rows": int(name == "Changed by simple-salesforce")}


@operation("bulk-write")
def _():
    records = [{"Name": f"Bulk {number}"} for number in range(250)]
    done = org.bulk2.Campaign.insert(records=records, batch_size=250)
    return {"rows": sum(job["numberRecordsProcessed"] - job["numberRecordsFailed"] for job in done)}
