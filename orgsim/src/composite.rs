//! `/composite`, `/composite/batch` and `/composite/sobjects/X`: many questions in one request.
//! What is below `/composite/graph` is in [`crate::graph`].

use crate::{
    afflict::afflicted,
    answer::{Answer, Note},
    body::Body,
    dml::resources::{self, transaction},
    graph, json,
    query::render::UrlBase,
    rest::{self, Request},
    site::Site,
    writes,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

const MOST_SUBREQUESTS: usize = 25;
/// Of the subrequests of one composite so many may be queries or collections.
const MOST_QUERIES: usize = 5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompositeBody {
    #[serde(default)]
    all_or_none: bool,
    composite_request: Vec<Subrequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subrequest {
    pub method: String,
    pub url: String,
    pub reference_id: String,
    #[serde(default)]
    pub body: Option<Value>,
    #[serde(default)]
    http_headers: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchBody {
    #[serde(default)]
    halt_on_error: bool,
    batch_requests: Vec<BatchRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchRequest {
    method: String,
    url: String,
    #[serde(default)]
    rich_input: Option<Value>,
}

#[derive(Deserialize)]
struct CollectionBody {
    ids: Vec<String>,
    fields: Vec<String>,
}

/// Answers what is below `/composite`.
pub fn answer(site: &Site, request: &Request, base: UrlBase, rest: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("POST", [] | ["batch" | "graph"]) if request.depth > 0 => Answer::error(
            "composite",
            400,
            "INVALID_INPUT",
            "A composite resource can't be nested in another one",
        ),
        ("POST", []) => composite(site, request),
        ("POST", ["batch"]) => batch(site, request),
        ("POST", ["graph"]) => graph::answer(site, request),
        ("POST" | "PATCH" | "DELETE", ["sobjects"]) => resources::collection(site, request, None),
        ("PATCH", ["sobjects", name, field]) => resources::collection(site, request, Some((*name, *field))),
        ("POST", ["sobjects", name]) => match serde_json::from_slice::<CollectionBody>(&request.body) {
            Ok(body) => rest::collection(site, base, name, &body.ids, &body.fields),
            Err(error) => parse_error("collection", &error),
        },
        ("GET", ["sobjects", name]) => {
            let list = |name: &str| -> Vec<String> {
                let text = request.parameter(name).unwrap_or_default();
                text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
            };
            rest::collection(site, base, name, &list("ids"), &list("fields"))
        }
        (_, [] | ["batch" | "graph" | "sobjects"] | ["sobjects", _] | ["sobjects", _, _]) => {
            Answer::method_not_allowed("composite")
        }
        _ => Answer::not_found("composite"),
    }
}

pub fn parse_error(kind: &'static str, error: &serde_json::Error) -> Answer {
    let message = format!("The request body can't be parsed: {error}");
    Answer::error(kind, 400, "JSON_PARSER_ERROR", &message)
}

fn composite(site: &Site, request: &Request) -> Answer {
    const KIND: &str = "composite";
    let body: CompositeBody = match serde_json::from_slice(&request.body) {
        Ok(body) => body,
        Err(error) => return parse_error(KIND, &error),
    };
    let refuse = |message: String| Answer::error(KIND, 400, "INVALID_INPUT", &message);
    let subrequests = body.composite_request;
    if subrequests.len() > MOST_SUBREQUESTS {
        return refuse(format!("Limit of {MOST_SUBREQUESTS} reached for operations in a composite request"));
    }
    let queries = subrequests.iter().filter(|sub| is_query_or_collection(&sub.url)).count();
    if queries > MOST_QUERIES {
        return refuse(format!(
            "Limit of {MOST_QUERIES} reached for query and sObject collection operations in a composite request"
        ));
    }
    if let Some(twice) = used_twice(&subrequests) {
        return refuse(format!("The reference id '{twice}' is used more than once"));
    }
    let mut note = Note { kind: KIND, subrequests: subrequests.len() as u64, ..Note::default() };
    let answers = if body.all_or_none {
        transaction(site, request.gated, || {
            let answers = in_order(site, request, subrequests, true, &mut note);
            let keep = !answers.iter().any(|(_, answer)| answer.is_error());
            (answers, keep)
        })
    } else {
        in_order(site, request, subrequests, false, &mut note)
    };
    let mut out = Body::from(br#"{"compositeResponse":"#.to_vec());
    append_answers(&mut out, answers);
    out.push(b"}".to_vec());
    Answer { note, ..Answer::ok(KIND, out) }
}

/// A reference id that two subrequests share.
pub fn used_twice(subrequests: &[Subrequest]) -> Option<&str> {
    let mut seen = std::collections::HashSet::new();
    subrequests.iter().map(|sub| sub.reference_id.as_str()).find(|reference| !seen.insert(*reference))
}

fn rolled_back() -> Answer {
    let message = "The transaction was rolled back since another operation in the same transaction failed.";
    Answer::error("other", 400, "PROCESSING_HALTED", message)
}

/// Answers subrequests one after the other; `all_or_none` stops at the first that fails and gives back nothing
/// but refusals, the caller rolls back.
pub fn in_order(
    site: &Site,
    request: &Request,
    subrequests: Vec<Subrequest>,
    all_or_none: bool,
    note: &mut Note,
) -> Vec<(String, Answer)> {
    let refers = |sub: &Subrequest| {
        sub.url.contains("@{") || sub.body.as_ref().is_some_and(|body| body.to_string().contains("@{"))
    };
    let needs_results = subrequests.iter().any(refers);
    let mut results: HashMap<String, Value> = HashMap::new();
    let mut answers: Vec<(String, Answer)> = Vec::new();
    let mut halted = false;
    for sub in subrequests {
        let filled = with_references(&sub.url, &results)
            .and_then(|url| Ok((url, sub.body.as_ref().map(|body| filled_in(body, &results)).transpose()?)));
        let answer = if halted {
            rolled_back()
        } else {
            match filled {
                Ok((url, body)) if url.starts_with("/services/data/") => {
                    let header = |name: &str| {
                        sub.http_headers
                            .iter()
                            .find(|(key, _)| key.eq_ignore_ascii_case(name))
                            .map(|(_, v)| v.clone())
                    };
                    let inner = Request {
                        method: sub.method.to_ascii_uppercase(),
                        target: url,
                        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
                        if_modified_since: header("If-Modified-Since"),
                        depth: request.depth + 1,
                        gated: request.gated || all_or_none,
                        ..Request::default()
                    };
                    part(site, &inner)
                }
                Ok(_) => Answer::error(
                    "other",
                    400,
                    "INVALID_INPUT",
                    "The url of a subrequest must start with /services/data/",
                ),
                Err(reference) => {
                    let message = format!("Invalid reference specified. No value for {reference} found");
                    Answer::error("other", 400, "PROCESSING_HALTED", &message)
                }
            }
        };
        if all_or_none && answer.is_error() && !halted {
            halted = true;
            answers.iter_mut().for_each(|(_, earlier)| *earlier = rolled_back());
        }
        take_note(note, &answer.note);
        if needs_results && !answer.is_error() {
            let value = serde_json::from_slice(&answer.body.clone().plain()).unwrap_or_default();
            results.insert(sub.reference_id.clone(), value);
        }
        answers.push((sub.reference_id, answer));
    }
    answers
}

/// Appends `[..]` with an entry per subrequest.
pub fn append_answers(out: &mut Body, answers: Vec<(String, Answer)>) {
    out.push(b"[".to_vec());
    for (at, (reference, answer)) in answers.into_iter().enumerate() {
        out.push(if at > 0 { b",{\"body\":".to_vec() } else { b"{\"body\":".to_vec() });
        append_or_null(out, answer.body);
        let headers: serde_json::Map<String, Value> =
            answer.headers.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let mut tail = b",\"httpHeaders\":".to_vec();
        json::push(&mut tail, &headers);
        json::field(&mut tail, "httpStatusCode", &answer.status);
        json::field(&mut tail, "referenceId", &reference);
        tail.push(b'}');
        out.push(tail);
    }
    out.push(b"]".to_vec());
}

fn append_or_null(out: &mut Body, body: Body) {
    if body.is_empty() {
        out.push(b"null".to_vec());
    } else {
        out.append(body);
    }
}

fn take_note(all: &mut Note, one: &Note) {
    all.objects.extend(one.objects.iter().cloned());
    all.described.extend(one.described.iter().cloned());
    all.delay_ms += one.delay_ms;
}

fn is_query_or_collection(url: &str) -> bool {
    let path = url.split('?').next().unwrap_or_default();
    path.split('/').any(|part| part.eq_ignore_ascii_case("query") || part.eq_ignore_ascii_case("queryAll"))
        || path.contains("/composite/sobjects")
}

/// Replaces every `@{ref.field.field}` by a value of an earlier answer.
fn with_references(url: &str, results: &HashMap<String, Value>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = url;
    while let Some(start) = rest.find("@{") {
        let Some(end) = rest[start..].find('}') else { return Err(rest[start..].to_owned()) };
        let reference = &rest[start + 2..start + end];
        let pointer: String = reference
            .replace('[', ".")
            .replace(']', "")
            .split('.')
            .skip(1)
            .map(|part| format!("/{part}"))
            .collect();
        let name = reference.split(['.', '[']).next().unwrap_or_default();
        let value = results.get(name).and_then(|value| value.pointer(&pointer));
        let text = match value {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => return Err(format!("@{{{reference}}}")),
        };
        out.push_str(&rest[..start]);
        out.push_str(&text);
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// A body with the references in its texts filled in.
fn filled_in(body: &Value, results: &HashMap<String, Value>) -> Result<Value, String> {
    Ok(match body {
        Value::String(text) => Value::from(with_references(text, results)?),
        Value::Array(items) => {
            items.iter().map(|item| filled_in(item, results)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Value::Object(members) => {
            let filled = members.iter().map(|(name, value)| Ok((name.clone(), filled_in(value, results)?)));
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn batch(site: &Site, request: &Request) -> Answer {
    const KIND: &str = "composite_batch";
    let body: BatchBody = match serde_json::from_slice(&request.body) {
        Ok(body) => body,
        Err(error) => return parse_error(KIND, &error),
    };
    if body.batch_requests.len() > MOST_SUBREQUESTS {
        let message = format!("batchRequests cannot have more than {MOST_SUBREQUESTS} elements");
        return Answer::error(KIND, 400, "LIMIT_EXCEEDED", &message);
    }
    let count = body.batch_requests.len() as u64;
    let mut note = Note { kind: KIND, subrequests: count, counted: Some(count), ..Note::default() };
    let mut has_errors = false;
    let mut results = Body::default();
    for (at, sub) in body.batch_requests.into_iter().enumerate() {
        let answer = if has_errors && body.halt_on_error {
            let message = "Batch processing halted per request";
            Answer::error("other", 412, "BATCH_PROCESSING_HALTED", message)
        } else if sub.url.trim_start_matches('/').starts_with("services/") {
            Answer::not_found("other")
        } else {
            let inner = Request {
                method: sub.method.to_ascii_uppercase(),
                target: format!("/services/data/{}", sub.url.trim_start_matches('/')),
                body: sub.rich_input.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default(),
                depth: request.depth + 1,
                ..Request::default()
            };
            part(site, &inner)
        };
        has_errors |= answer.is_error();
        take_note(&mut note, &answer.note);
        let head = json!(answer.status);
        results.push(
            format!("{}{{\"statusCode\":{head},\"result\":", if at > 0 { "," } else { "" }).into_bytes(),
        );
        append_or_null(&mut results, answer.body);
        results.push(b"}".to_vec());
    }
    let mut out = Body::from(format!("{{\"hasErrors\":{has_errors},\"results\":[").into_bytes());
    out.append(results);
    out.push(b"]}".to_vec());
    Answer { note, ..Answer::ok(KIND, out) }
}

/// One subrequest, with the faults that may meet it.
fn part(site: &Site, request: &Request) -> Answer {
    let early = writes::strike_early(site, &request.method, request.path(), &request.body, true);
    let answer = early.answer(|| rest::answer(site, request));
    let faults = early.with_late(site, &request.method, request.path(), &answer);
    faults.iter().fold(answer, afflicted)
}
