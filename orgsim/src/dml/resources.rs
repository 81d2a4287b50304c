//! The REST resources that write: records, records by external id, and collections of up to 200 of them.

use super::{Operation, RowError, WriteResult, write::member, write_within};
use crate::{
    answer::Answer,
    body::Body,
    model::SObject,
    query::{Scope, render::UrlBase},
    rest::{self, Request},
    site::Site,
    tables::Table,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Records one collection request may write.
const MOST_RECORDS: usize = 200;
/// Kinds of object one collection request may mix.
const MOST_CHUNKS: usize = 10;
/// Resource in the journal.
const KIND: &str = "dml";

type Record = Map<String, Value>;

/// Runs `work` so that nobody sees it half done; when its second part is false nothing of it stays.
/// `gated` says that the caller is inside a transaction already.
pub fn transaction<T>(site: &Site, gated: bool, work: impl FnOnce() -> (T, bool)) -> T {
    let _alone = (!gated).then(|| site.data.enter_alone());
    let savepoint = site.org.rows.begin(!gated);
    let (result, keep) = work();
    site.org.rows.finish(savepoint, keep);
    result
}

/// The HTTP status that goes with an error code.
fn status_of(code: &str) -> u16 {
    match code {
        "NOT_FOUND" | "ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY" => 404,
        "INSUFFICIENT_ACCESS_OR_READONLY" => 403,
        _ => 400,
    }
}

fn refused(errors: &[RowError], object: &str) -> Answer {
    let status = errors.first().map_or(400, |error| status_of(error.status_code));
    let list: Vec<Value> = errors
        .iter()
        .map(|error| json!({ "message": error.message, "errorCode": error.status_code, "fields": error.fields }))
        .collect();
    Answer::with_status(KIND, status, Value::from(list).to_string().into_bytes()).about(object)
}

fn parsed(request: &Request) -> Result<Record, Answer> {
    serde_json::from_slice(&request.body).map_err(|error| {
        let message = format!("The HTTP entity body can't be parsed: {error}");
        Answer::error(KIND, 400, "JSON_PARSER_ERROR", &message)
    })
}

fn object<'a>(site: &'a Site, name: &str) -> Result<&'a SObject, Answer> {
    site.org.model.object(name).ok_or_else(|| Answer::not_found(KIND).about(name))
}

fn no_content(object: &str) -> Answer {
    Answer::with_status(KIND, 204, Body::default()).about(object)
}

/// `POST /sobjects/X`.
pub fn create(site: &Site, request: &Request, base: UrlBase, name: &str) -> Answer {
    let made = || -> Result<Answer, Answer> {
        let object = object(site, name)?;
        if !object.createable {
            return Err(Answer::method_not_allowed(KIND).about(&object.name));
        }
        let result = write_within(site, object, &Operation::Insert, &parsed(request)?);
        let Some(id) = result.id.as_ref().filter(|_| result.is_success()) else {
            return Err(refused(&result.errors, &object.name));
        };
        let mut answer = Answer::with_status(KIND, 201, result.to_json(false).to_string().into_bytes());
        answer.headers.push(("Location", format!("{}/sobjects/{}/{id}", base.path(), object.name)));
        Ok(answer.about(&object.name))
    };
    made().unwrap_or_else(|answer| answer)
}

/// `PATCH` and `DELETE` of `/sobjects/X/id`.
pub fn change(site: &Site, request: &Request, name: &str, id: &str) -> Answer {
    let changed = || -> Result<Answer, Answer> {
        let object = object(site, name)?;
        let mut record = Record::new();
        let operation = if request.method == "DELETE" {
            Operation::Delete
        } else {
            record = parsed(request)?;
            if member(&record, "Id").is_some() {
                let message = "The Id field should not be specified in the sobject data.";
                return Err(Answer::error(KIND, 400, "INVALID_FIELD", message).about(&object.name));
            }
            Operation::Update
        };
        record.insert("Id".to_owned(), Value::from(id));
        let result = write_within(site, object, &operation, &record);
        match result.errors.as_slice() {
            [] => Ok(no_content(&object.name)),
            [only]
                if matches!(only.status_code, "MALFORMED_ID" | "INVALID_CROSS_REFERENCE_KEY")
                    && (only.fields.is_empty() || only.fields == ["Id"])
                    && !is_there(site, object, id) =>
            {
                Err(rest::no_record(KIND, id).about(&object.name))
            }
            errors => Err(refused(errors, &object.name)),
        }
    };
    changed().unwrap_or_else(|answer| answer)
}

fn is_there(site: &Site, object: &SObject, id: &str) -> bool {
    site.org
        .position(&object.name)
        .is_some_and(|at| Table::Object(at).row_of(&site.org, id, Scope::All).is_some())
}

/// `/sobjects/X/Field/value`: a record by its external id; PATCH makes it when there is none.
pub fn by_external_id(
    site: &Site,
    request: &Request,
    base: UrlBase,
    (name, field, value): (&str, &str, &str),
) -> Answer {
    let work = || -> Result<Answer, Answer> {
        let object = object(site, name)?;
        let about = |answer: Answer| answer.about(&object.name);
        let value = percent_decoded(value);
        let at = site.org.position(&object.name).unwrap_or(usize::MAX);
        let known = site.org.field_position(at, field).filter(|&field| object.fields[field].external_id);
        if matches!(request.method.as_str(), "PATCH" | "POST") {
            let mut record = parsed(request)?;
            // The value in the path counts; repeating it in the body is refused, as the org does.
            if !field.eq_ignore_ascii_case("Id") && member(&record, field).is_some() {
                let message = format!("The {field} field should not be specified in the sobject data.");
                return Err(about(Answer::error(KIND, 400, "INVALID_FIELD", &message)));
            }
            let rows = known.map(|field| site.org.rows.find(at, object, field, &value)).unwrap_or_default();
            if rows.len() > 1 {
                return Err(about(several(site, base, at, object, &rows)));
            }
            record.insert(field.to_owned(), Value::from(value));
            let operation = Operation::Upsert { external_id_field: field.to_owned() };
            let result = write_within(site, object, &operation, &record);
            if !result.is_success() {
                return Err(refused(&result.errors, &object.name));
            }
            let status = if result.created { 201 } else { 200 };
            return Ok(about(Answer::with_status(
                KIND,
                status,
                result.to_json(true).to_string().into_bytes(),
            )));
        }
        let Some(key) = known else {
            let message = format!("Provided external ID field does not exist or is not accessible: {field}");
            return Err(about(Answer::error(KIND, 404, "NOT_FOUND", &message)));
        };
        match site.org.rows.find(at, object, key, &value).as_slice() {
            [] => Err(about(Answer::not_found(KIND))),
            [row] => {
                let id = site.org.rows.id_of(at, object, *row).unwrap_or_default();
                Ok(match request.method.as_str() {
                    "DELETE" => change(site, request, name, &id),
                    _ => rest::record(site, request, base, name, &id),
                })
            }
            rows => Err(about(several(site, base, at, object, rows))),
        }
    };
    work().unwrap_or_else(|answer| answer)
}

/// 300: the records that share an external id.
fn several(site: &Site, base: UrlBase, at: usize, object: &SObject, rows: &[u64]) -> Answer {
    let ids = rows.iter().filter_map(|&row| site.org.rows.id_of(at, object, row));
    let urls: Vec<String> = ids.map(|id| format!("{}/sobjects/{}/{id}", base.path(), object.name)).collect();
    Answer::with_status(KIND, 300, Value::from(urls).to_string().into_bytes())
}

fn percent_decoded(text: &str) -> String {
    // A plus stands for itself in a path.
    let escaped = text.replace('+', "%2B");
    form_urlencoded::parse(escaped.as_bytes()).next().map_or_else(String::new, |(key, value)| {
        if value.is_empty() { key.into_owned() } else { format!("{key}={value}") }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CollectionBody {
    #[serde(default)]
    all_or_none: bool,
    records: Vec<Record>,
}

/// One record of a collection on its way.
struct Part {
    object: Option<usize>,
    type_name: String,
    record: Record,
}

/// `POST`, `PATCH`, `DELETE` of `/composite/sobjects`, and `PATCH /composite/sobjects/X/Field`.
pub fn collection(site: &Site, request: &Request, upsert: Option<(&str, &str)>) -> Answer {
    const KIND: &str = "collection_dml";
    let operation = match (request.method.as_str(), upsert) {
        ("POST", None) => Operation::Insert,
        ("PATCH", None) => Operation::Update,
        ("DELETE", None) => Operation::Delete,
        ("PATCH", Some((_, field))) => Operation::Upsert { external_id_field: field.to_owned() },
        _ => return Answer::method_not_allowed(KIND),
    };
    let (all_or_none, parts) = match asked_for(site, request, &operation, upsert) {
        Ok(asked) => asked,
        Err(answer) => return Answer { note: Answer::not_found(KIND).note, ..answer },
    };
    let chunks = 1 + parts.windows(2).filter(|pair| pair[0].type_name != pair[1].type_name).count();
    if chunks > MOST_CHUNKS {
        let message = format!("The records cannot be split into more than {MOST_CHUNKS} chunks by type");
        return Answer::error(KIND, 400, "INVALID_INPUT", &message);
    }
    let write_all =
        || -> Vec<WriteResult> { parts.iter().map(|part| written(site, part, &operation)).collect() };
    let results = if all_or_none {
        transaction(site, request.gated, || {
            let results = write_all();
            let keep = results.iter().all(WriteResult::is_success);
            (results, keep)
        })
    } else {
        let _reading = (!request.gated).then(|| site.data.enter());
        write_all()
    };
    let failed = all_or_none && results.iter().any(|result| !result.is_success());
    let is_upsert = upsert.is_some();
    let entries: Vec<Value> = results
        .iter()
        .map(|result| if failed && result.is_success() { rolled_back() } else { result.clone() })
        .map(|result| result.to_json(is_upsert))
        .collect();
    let mut answer = Answer::json(KIND, &Value::from(entries));
    for part in parts {
        if !answer.note.objects.contains(&part.type_name) {
            answer = answer.about(&part.type_name);
        }
    }
    answer
}

fn rolled_back() -> WriteResult {
    let message =
        "Record rolled back because not all records were valid and the request was using AllOrNone header";
    WriteResult::refused(RowError::of("ALL_OR_NONE_OPERATION_ROLLED_BACK", message, &[]))
}

fn written(site: &Site, part: &Part, operation: &Operation) -> WriteResult {
    match part.object {
        Some(at) => write_within(site, &site.org.model.objects[at], operation, &part.record),
        None if *operation == Operation::Delete => {
            let id = part.record.get("Id").and_then(Value::as_str).unwrap_or_default();
            WriteResult::refused(RowError::of("MALFORMED_ID", format!("bad id {id}"), &[]))
        }
        None => {
            let message = format!("sObject type '{}' is not supported.", part.type_name);
            WriteResult::refused(RowError::of("INVALID_TYPE", message, &[]))
        }
    }
}

fn asked_for(
    site: &Site,
    request: &Request,
    operation: &Operation,
    upsert: Option<(&str, &str)>,
) -> Result<(bool, Vec<Part>), Answer> {
    let refuse = |code: &str, message: &str| Err(Answer::error(KIND, 400, code, message));
    let too_many = || {
        let message =
            format!("record limit reached. cannot submit more than {MOST_RECORDS} records into this call");
        refuse("EXCEEDED_MAX_SIZE_REQUEST", &message)
    };
    if *operation == Operation::Delete {
        let ids = request.parameter("ids").unwrap_or_default();
        let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
        if ids.len() > MOST_RECORDS {
            return too_many();
        }
        if ids.is_empty() {
            return refuse("INVALID_INPUT", "The ids parameter is required");
        }
        let all_or_none =
            request.parameter("allOrNone").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let part = |id: &&str| {
            let object = id.get(..3).and_then(|prefix| {
                let same = |object: &SObject| object.key_prefix.as_deref() == Some(prefix);
                site.org.model.objects.iter().position(same)
            });
            let type_name = object.map_or_else(String::new, |at| site.org.model.objects[at].name.clone());
            let record = Record::from_iter([("Id".to_owned(), Value::from(*id))]);
            Part { object, type_name, record }
        };
        return Ok((all_or_none, ids.iter().map(part).collect()));
    }
    let body: CollectionBody = match serde_json::from_slice(&request.body) {
        Ok(body) => body,
        Err(error) => {
            return refuse("JSON_PARSER_ERROR", &format!("The request body can't be parsed: {error}"));
        }
    };
    if body.records.len() > MOST_RECORDS {
        return too_many();
    }
    let mut parts = Vec::new();
    for record in body.records {
        let type_name = record.get("attributes").and_then(|attributes| attributes["type"].as_str());
        let Some(type_name) = type_name.or(upsert.map(|(name, _)| name)).map(str::to_owned) else {
            return refuse("INVALID_INPUT", "The sObject type of a record is missing: attributes.type");
        };
        if let Some((name, _)) = upsert.filter(|(name, _)| !name.eq_ignore_ascii_case(&type_name)) {
            let message = format!("The sObject type `{type_name}` differs from `{name}` in the URL");
            return refuse("INVALID_INPUT", &message);
        }
        parts.push(Part { object: site.org.position(&type_name), type_name, record });
    }
    Ok((body.all_or_none, parts))
}
