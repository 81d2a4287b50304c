//! The REST resources below `/services/data`. Knows requests and answers, not HTTP: a composite calls it again.

use crate::{
    answer::Answer,
    body::Body,
    bulk, composite,
    cursors::{Cursors, LARGEST_PAGE, SMALLEST_PAGE},
    describe,
    dml::{replication, resources, script},
    json,
    query::{
        self, Scope, plan,
        render::{self, UrlBase},
    },
    site::Site,
    soql::ast::FieldPath,
    tables::{self, Api, Kind, Table},
};
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::{Value, json};

/// Versions served, oldest and newest; below the oldest they are retired.
pub const VERSIONS: (u32, u32) = (31, 68);
/// Ids one collection request may name.
const MOST_IDS: usize = 2_000;

/// A request to a resource.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    /// Path and query, as asked for.
    pub target: String,
    pub body: Vec<u8>,
    /// `Sforce-Query-Options: batchSize=..`.
    pub batch_size: Option<u64>,
    pub if_modified_since: Option<String>,
    pub content_type: Option<String>,
    /// `Sforce-Enable-PKChunking`.
    pub pk_chunking: Option<String>,
    /// 0 for a request of its own, 1 for a subrequest.
    pub depth: u32,
    /// The transaction it is part of keeps others out already.
    pub gated: bool,
}

impl Request {
    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    fn is_get(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// Answers a request whose path starts with `/services/data`.
pub fn answer(site: &Site, request: &Request) -> Answer {
    let path: Vec<&str> = request.path().split('/').filter(|part| !part.is_empty()).collect();
    let ["services", "data", rest @ ..] = path.as_slice() else { return Answer::not_found("other") };
    let Some((version, rest)) = rest.split_first() else { return versions(request) };
    let Some(version) = version.strip_prefix('v').and_then(version_number) else {
        return Answer::not_found("other");
    };
    if version < VERSIONS.0 {
        let message = format!("API version {version}.0 is retired. Use a version from {}.0 on.", VERSIONS.0);
        return Answer::error("other", 410, "UNSUPPORTED_API_VERSION", &message);
    }
    if version > VERSIONS.1 {
        return Answer::not_found("other");
    }
    let base = UrlBase { version, api: Api::Data };
    let tooling = UrlBase { version, api: Api::Tooling };
    if request.depth == 0 {
        // A part of a transaction must not wait for the transaction it is part of.
        site.settle();
    }
    if let ["composite", ..] = rest {
        // Its parts enter one by one, or it enters alone as a transaction.
        return composite::answer(site, request, base, &rest[1..]);
    }
    if let ["jobs", rest @ ..] = rest {
        // A job's records enter one by one.
        return bulk::answer(site, request, version, rest);
    }
    let _entered = (!request.gated).then(|| site.data.enter());
    match rest {
        ["sobjects", name] if request.method == "POST" => resources::create(site, request, base, name),
        ["sobjects", _, "describe" | "updated" | "deleted"] if !request.is_get() => {
            Answer::method_not_allowed("other")
        }
        ["sobjects", name, id] if matches!(request.method.as_str(), "PATCH" | "DELETE") => {
            resources::change(site, request, name, id)
        }
        ["sobjects", name, field, value] if request.method != "HEAD" => {
            resources::by_external_id(site, request, base, (*name, *field, *value))
        }
        _ if !request.is_get() => Answer::method_not_allowed("other"),
        [] => resources(version),
        ["sobjects"] => Answer::ok("sobjects", site.global_describe(version)),
        ["sobjects", name, "describe"] => describe_object(site, request, name, version),
        ["sobjects", name] => basic_information(site, name, version),
        ["sobjects", name, "updated"] => replication::updated(site, request, name),
        ["sobjects", name, "deleted"] => replication::deleted(site, request, name),
        ["sobjects", name, id] => record(site, request, base, name, id),
        ["query"] => run_query(site, request, base, Scope::Live),
        ["queryAll"] => run_query(site, request, base, Scope::All),
        ["query" | "queryAll", locator] => next_page(site, locator),
        ["tooling"] => Answer::json(
            "tooling",
            &json!({ "query": format!("{}/query", tooling.path()), "sobjects": format!("{}/sobjects", tooling.path()) }),
        ),
        ["tooling", "query"] => run_query(site, request, tooling, Scope::Live),
        ["tooling", "query", locator] => next_page(site, locator),
        ["tooling", "sobjects"] => Answer::ok("tooling_sobjects", describe::tooling_global(version)),
        ["tooling", "sobjects", name, "describe"] => describe_tooling(site, name, version),
        ["tooling", "sobjects", name, id] => record(site, request, tooling, name, id),
        ["limits"] => limits(site),
        ["limits", "recordCount"] => record_count(site, request),
        _ => Answer::not_found("other"),
    }
}

/// 62 of `62.0`, which is the only way to write it.
pub fn version_number(text: &str) -> Option<u32> {
    let number = text.strip_suffix(".0")?;
    number.parse().ok().filter(|parsed: &u32| parsed.to_string() == number)
}

fn versions(request: &Request) -> Answer {
    if !request.is_get() {
        return Answer::method_not_allowed("versions");
    }
    let label = |version: u32| {
        // Three releases a year: 67.0 is Summer '26.
        let season = ["Winter", "Spring", "Summer"][((version + 1) % 3) as usize];
        format!("{season} '{:02}", (version + 13) / 3)
    };
    let list: Vec<Value> = (VERSIONS.0..=VERSIONS.1)
        .map(|v| json!({ "label": label(v), "url": format!("/services/data/v{v}.0"), "version": format!("{v}.0") }))
        .collect();
    Answer::json("versions", &Value::from(list))
}

fn resources(version: u32) -> Answer {
    let base = format!("/services/data/v{version}.0");
    let names = ["sobjects", "query", "queryAll", "tooling", "composite", "limits", "jobs"];
    let map: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), Value::from(format!("{base}/{name}")))).collect();
    Answer::json("resources", &Value::from(map))
}

fn http_date(millis: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn describe_object(site: &Site, request: &Request, name: &str, version: u32) -> Answer {
    let Some(at) = site.org.position(name) else { return Answer::not_found("describe").about(name) };
    let own_name = &site.org.model.objects[at].name;
    let since = request
        .if_modified_since
        .as_deref()
        .and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
    let unchanged = since.is_some_and(|since| since.as_millisecond() >= site.described_ms());
    let mut answer = match unchanged {
        true => Answer::with_status("describe", 304, Body::default()),
        false => Answer::ok("describe", site.describe(at, version)),
    };
    answer.headers.push(("Last-Modified", http_date(site.described_ms())));
    answer.note.described.push(own_name.clone());
    answer.about(own_name)
}

fn describe_tooling(site: &Site, name: &str, version: u32) -> Answer {
    let table = tables::find(&site.org, name, Api::Tooling);
    let Some(Table::Meta(meta)) = table else { return Answer::not_found("tooling_describe").about(name) };
    let object = describe::tooling_object(meta);
    Answer::ok("tooling_describe", describe::object(&site.org.model, &object, version, &|_| true))
        .about(meta.name)
}

fn basic_information(site: &Site, name: &str, version: u32) -> Answer {
    let Some(at) = site.org.position(name) else { return Answer::not_found("sobject").about(name) };
    let object = site.org.model.objects[at].clone();
    let only = crate::model::OrgModel { objects: vec![object], ..Default::default() };
    let global: Value = serde_json::from_slice(&describe::global(&only, version)).unwrap_or_default();
    Answer::json("sobject", &json!({ "objectDescribe": global["sobjects"][0], "recentItems": [] }))
        .about(name)
}

fn run_query(site: &Site, request: &Request, base: UrlBase, scope: Scope) -> Answer {
    let kind = if base.api == Api::Tooling { "tooling_query" } else { "query" };
    let Some(text) = request.parameter("q").filter(|text| !text.is_empty()) else {
        return Answer::error(kind, 400, "MALFORMED_QUERY", "A query string has to be specified");
    };
    let page_rows = request.batch_size.unwrap_or(LARGEST_PAGE).clamp(SMALLEST_PAGE, LARGEST_PAGE);
    let now_ms = site.clock.epoch_ms();
    let columns = request.parameter("columns").is_some_and(|value| value == "true");
    // What was written since makes another result of the same words.
    let state = format!("{scope:?}/{}", site.org.rows.revision());
    let plain = Cursors::locator(base, page_rows, &text, &state);
    let cursor = match site.cursors.again(&plain, now_ms).filter(|_| !columns) {
        Some(cursor) => cursor,
        None => match query::run(&site.org, base.api, scope, &text, now_ms) {
            Err(error) => return Answer::soql_error(kind, &error),
            Ok(found) if columns => return column_metadata(kind, &found),
            Ok(found) => {
                // A result that depends on the day is another result tomorrow, and is asked for anew each time.
                let today = if found.depends_on_today { now_ms.to_string() } else { String::new() };
                let locator = Cursors::locator(base, page_rows, &text, &(state + &today));
                let short_percent = site.data.knobs().short_page_percent;
                site.cursors.keep(locator, found, base, (page_rows, short_percent), now_ms)
            }
        },
    };
    let object = cursor.found.object.clone();
    match site.cursors.page(&site.org, &cursor, 0) {
        Some(page) => Answer::ok(kind, page).about(&object),
        None => bad_locator(kind),
    }
}

fn bad_locator(kind: &'static str) -> Answer {
    Answer::error(kind, 400, "INVALID_QUERY_LOCATOR", "invalid query locator")
}

fn next_page(site: &Site, locator: &str) -> Answer {
    let parts = locator.rsplit_once('-').and_then(|(name, from)| Some((name, from.parse::<u64>().ok()?)));
    let now_ms = site.clock.epoch_ms();
    let Some((cursor, from)) = parts.and_then(|(name, from)| Some((site.cursors.get(name, now_ms)?, from)))
    else {
        return bad_locator("query_more");
    };
    script::between_pages(site, &cursor.found.object);
    match site.cursors.page(&site.org, &cursor, from) {
        Some(page) => Answer::ok("query_more", page).about(&cursor.found.object),
        None => bad_locator("query_more"),
    }
}

fn column_metadata(kind: &'static str, found: &query::Found) -> Answer {
    let column = |shown: &query::ColumnShown| {
        let name = shown.names.last().cloned().unwrap_or_default();
        let apex = match shown.kind {
            Some(Kind::Bool) => "Boolean",
            Some(Kind::Int) | None => "Integer",
            Some(Kind::Double) => "Double",
            Some(Kind::Date) => "Date",
            Some(Kind::DateTime) => "Datetime",
            Some(Kind::Id) => "Id",
            Some(_) => "String",
        };
        json!({
            "aggregate": shown.kind.is_none(), "apexType": apex, "booleanType": shown.kind == Some(Kind::Bool), "columnName": name,
            "custom": name.ends_with("__c"), "displayName": name, "foreignKeyName": null, "insertable": false, "joinColumns": [],
            "numberType": matches!(shown.kind, Some(Kind::Int | Kind::Double)),
            "textType": matches!(shown.kind, Some(Kind::Text | Kind::LongText | Kind::MultiPicklist)), "updatable": false,
        })
    };
    let mut columns: Vec<Value> = Vec::new();
    for shown in &found.columns {
        list_column(&mut columns, &shown.names, column(shown));
    }
    let body = json!({
        "columnMetadata": columns, "entityName": found.object, "groupBy": false, "idSelected": true,
        "keyPrefix": found.key_prefix,
    });
    Answer::json(kind, &body).about(&found.object)
}

/// Columns of a parent are listed below one entry for the relationship.
fn list_column(level: &mut Vec<Value>, names: &[String], column: Value) {
    let [relation, rest @ ..] = names else { return };
    if rest.is_empty() {
        level.push(column);
        return;
    }
    let known = level.iter().position(|entry| entry["columnName"] == **relation);
    let at = known.unwrap_or_else(|| {
        level.push(
            json!({ "aggregate": false, "columnName": relation, "displayName": relation, "joinColumns": [] }),
        );
        level.len() - 1
    });
    if let Some(inner) = level[at]["joinColumns"].as_array_mut() {
        list_column(inner, rest, column);
    }
}

/// One record by id; `fields` picks columns, else all that a page may show.
pub fn record(site: &Site, request: &Request, base: UrlBase, name: &str, id: &str) -> Answer {
    let Some(table) = tables::find(&site.org, name, base.api) else {
        return Answer::not_found("record").about(name);
    };
    let fields = request.parameter("fields");
    let fields: Option<Vec<&str>> = fields.as_deref().map(|list| list.split(',').map(str::trim).collect());
    let outputs = match outputs(site, table, fields.as_deref()) {
        Ok(outputs) => outputs,
        Err(error) => return Answer::soql_error("record", &error).about(name),
    };
    let Some(row) = table.row_of(&site.org, id, Scope::Live) else {
        if table.row_of(&site.org, id, Scope::All).is_some() {
            return Answer::error("record", 404, "ENTITY_IS_DELETED", "entity is deleted").about(name);
        }
        return no_record("record", id).about(name);
    };
    let mut out = Vec::new();
    render::record(&mut out, &site.org, base, table, row, &outputs);
    Answer::ok("record", out).about(name)
}

/// 404 for a record that is not there.
pub fn no_record(kind: &'static str, id: &str) -> Answer {
    if crate::ids::looks_like_id(id) {
        return Answer::not_found(kind);
    }
    let message = format!("Provided external ID field does not exist or is not accessible: {id}");
    Answer::error(kind, 404, "NOT_FOUND", &message)
}

fn outputs(
    site: &Site,
    table: Table,
    fields: Option<&[&str]>,
) -> Result<Vec<plan::Output>, crate::soql::SoqlError> {
    let resolver = plan::Resolver { org: &site.org, text: "", table, alias: None };
    let all: Vec<&str> = table.column_names(&site.org).into_iter().map(|(name, _)| name).collect();
    let mut outputs = Vec::new();
    for field in fields.unwrap_or(&all) {
        let parts = field.split('.').map(str::to_owned).collect();
        let path = resolver.path(&FieldPath { parts, at: 0 }).map_err(|_| {
            let message = format!("No such column '{field}' on sobject of type {}", table.name(&site.org));
            crate::soql::SoqlError::new("INVALID_FIELD", message)
        })?;
        plan::add_output(&mut outputs, &path);
    }
    Ok(outputs)
}

/// Records by id, in the order asked for, `null` for those that are not there.
pub fn collection(site: &Site, base: UrlBase, name: &str, ids: &[String], fields: &[String]) -> Answer {
    const KIND: &str = "collection";
    let Some(table) = tables::find(&site.org, name, Api::Data) else {
        return Answer::not_found(KIND).about(name);
    };
    if ids.len() > MOST_IDS {
        let message = format!("The limit for retrieve is {MOST_IDS} records at once.");
        return Answer::error(KIND, 400, "EXCEEDED_ID_LIMIT", &message).about(name);
    }
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let outputs = match outputs(site, table, Some(&fields)) {
        Ok(outputs) => outputs,
        Err(error) => return Answer::soql_error(KIND, &error).about(name),
    };
    let mut out = b"[".to_vec();
    for (at, id) in ids.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match table.row_of(&site.org, id, Scope::Live) {
            Some(row) => render::record(&mut out, &site.org, base, table, row, &outputs),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b']');
    Answer::ok(KIND, out).about(name)
}

fn limits(site: &Site) -> Answer {
    let (used, max) = site.api_usage();
    let remaining = max.saturating_sub(used);
    let (jobs, jobs_today) =
        (site.options.bulk.query_jobs_a_day, site.bulk.query_jobs_today(site.clock.epoch_ms()));
    let whole = |max: u64| json!({ "Max": max, "Remaining": max });
    let body = json!({
        "ConcurrentAsyncGetReportInstances": whole(200),
        "DailyApiRequests": { "Max": max, "Remaining": remaining },
        "DailyBulkApiBatches": whole(15_000),
        "DailyBulkV2QueryFileStorageMB": whole(976_562),
        "DailyBulkV2QueryJobs": { "Max": jobs, "Remaining": jobs.saturating_sub(jobs_today) },
        "DataStorageMB": whole(1_024),
        "FileStorageMB": whole(1_024),
    });
    Answer::json("limits", &body)
}

fn record_count(site: &Site, request: &Request) -> Answer {
    let asked = request.parameter("sObjects").filter(|list| !list.is_empty());
    let mut out = br#"{"sObjects":["#.to_vec();
    let mut push = |name: &str, count: u64| {
        if out.last() != Some(&b'[') {
            out.push(b',');
        }
        json::push(&mut out, &json!({ "count": count, "name": name }));
    };
    // History, Share, Feed and ChangeEvent rows are never counted, nor what cannot be queried.
    // Nor is code, of which there are no records.
    let counted = |object: &&crate::model::SObject| {
        object.queryable && object.associate_type.is_none() && object.name != "ApexClass"
    };
    match &asked {
        None => {
            let objects = site.org.model.objects.iter().filter(counted);
            objects.for_each(|object| push(&object.name, site.org.record_count(object)));
        }
        Some(names) => {
            let objects =
                names.split(',').filter_map(|name| site.org.model.object(name.trim())).filter(counted);
            objects.for_each(|object| push(&object.name, site.org.record_count(object)));
        }
    }
    out.extend_from_slice(b"]}");
    Answer::ok("record_count", out)
}
