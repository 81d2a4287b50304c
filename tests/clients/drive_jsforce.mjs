// jsforce: plain HTTP on loopback, nothing changed but the addresses.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const context = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { Connection } = createRequire(`${context.cache}/jsforce/`)("jsforce");
const { fields, object } = context;
const soql = `SELECT ${fields.join(", ")} FROM ${object}`;

const text = (value) => (value === null || value === undefined ? "" : String(value));
const sum = (lines) => ({
  rows: lines.length,
  sha256: createHash("sha256").update(lines.sort(byCodePoint).join("\n")).digest("hex"),
});
// The order of Python: by code point, not by UTF-16 unit.
const byCodePoint = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const digest = (rows) => sum(rows.map((row) => fields.map((field) => text(row[field])).join("\x1f")));

async function operation(name, run) {
  let result;
  try {
    result = { operation: name, seen: await run() };
  } catch (error) {
    console.error(error);
    result = { operation: name, error: `${error.name}: ${error.message}`.slice(0, 300) };
  }
  console.log(`RESULT ${JSON.stringify(result)}`);
}

async function everyPage(options) {
  const rows = [];
  let page = await org.query(soql, { autoFetch: false, ...options });
  for (;;) {
    rows.push(...page.records);
    if (page.done) return digest(rows);
    page = await org.queryMore(page.nextRecordsUrl);
  }
}

const org = new Connection({ instanceUrl: context.http, accessToken: context.token });

await operation("login", async () => {
  const { loginUrl, clientId, clientSecret } = { loginUrl: context.http, ...context.app };
  const session = new Connection({ oauth2: { loginUrl, clientId, clientSecret } });
  await session.authorize({ grant_type: "client_credentials" });
  return { rows: (await session.query("SELECT Id FROM Organization")).totalSize };
});
await operation("read", () => everyPage({}));
await operation("query-all", () => everyPage({ scanAll: true }));
await operation("describe", async () =>
  sum((await org.sobject(object).describe()).fields.map((field) => field.name)));
await operation("limits", async () => ({ rows: (await org.limits()).DailyApiRequests.Max }));
await operation("bulk", async () => {
  org.bulk2.pollInterval = 200;
  org.bulk2.pollTimeout = 60000;
  return digest(await (await org.bulk2.query(soql)).toArray());
});
await operation("bulk-1.0", async () => {
  org.bulk.pollInterval = 200;
  org.bulk.pollTimeout = 60000;
  return digest(await (await org.bulk.query(soql)).toArray());
});
await operation("write", async () => {
  const made = await org.sobject("Campaign").create({ Name: "Made by jsforce" });
  await org.sobject("Campaign").update({ Id: made.id, Name: "Changed by jsforce" });
  const found = await org.sobject("Campaign").retrieve([made.id]);
  await org.sobject("Campaign").destroy(made.id);
  return { rows: Number(found[0].Name === "Changed by jsforce") };
});
await operation("bulk-write", async () => {
  const records = Array.from({ length: 250 }, (_, number) => ({ Name: `Bulk ${number}` }));
  const done = await org.bulk2.loadAndWaitForResults({ object: "Campaign", operation: "insert", input: records });
  return { rows: done.successfulResults.length };
});
