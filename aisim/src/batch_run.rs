//! The questions of a batch: whether they are ones, and what is answered.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::refusal_of;
use crate::chat::{Question, lead_in};
use crate::log::LogEntry;
use crate::site::{Site, lock};

/// Most questions in a batch.
const LINES_MAX: usize = 50_000;
/// Largest file of a batch.
const BYTES_MAX: usize = 200_000_000;
#[derive(Deserialize)]
struct Line<'a> {
    custom_id: String,
    method: String,
    url: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// A batch whose questions are to be answered.
pub struct Asked<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its file.
    pub content: &'a Bytes,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
}

/// What is wrong with a file, as the endpoint describes it.
pub fn complaint(code: &str, message: &str, line: Option<usize>) -> Value {
    json!({ "code": code, "message": message, "param": null, "line": line })
}

fn lines(content: &Bytes) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace))
}

/// Questions in a file, and what is wrong with it.
pub fn check(content: &Bytes, endpoint: &str) -> (usize, Vec<Value>) {
    let mut complaints = Vec::new();
    if content.len() > BYTES_MAX {
        complaints.push(complaint("file_too_large", "The file is larger than 200 MB.", None));
    }
    let mut seen = HashSet::new();
    let mut total = 0;
    for (at, line) in lines(content).enumerate() {
        total += 1;
        let wrong = match serde_json::from_slice::<Line<'_>>(line) {
            Err(_) => Some(("invalid_json_line", "This line is not parseable as valid JSON.")),
            Ok(line) if !seen.insert(line.custom_id.clone()) => Some((
                "duplicate_custom_id",
                "The custom_id for this request is a duplicate of another request.",
            )),
            Ok(line) if line.method != "POST" => Some(("invalid_method", "The method must be POST.")),
            Ok(line) if line.url != endpoint => {
                Some(("mismatched_endpoint", "The url does not match the batch endpoint."))
            }
            Ok(_) => None,
        };
        if let Some((code, message)) = wrong {
            complaints.push(complaint(code, message, Some(at + 1)));
        }
    }
    if total > LINES_MAX {
        complaints.push(complaint("too_many_requests", "A batch takes 50,000 requests.", None));
    }
    if total == 0 {
        complaints.push(complaint("empty_file", "The input file is empty.", None));
    }
    complaints.truncate(100);
    (total, complaints)
}

/// What became of a batch.
#[derive(Default)]
pub struct Run {
    /// Lines of answers.
    pub output: Vec<u8>,
    /// Lines of errors.
    pub errors: Vec<u8>,
    /// Questions answered.
    pub completed: usize,
    /// Questions refused.
    pub failed: usize,
    /// Tokens of questions and answers.
    pub usage: (u64, u64),
}

/// Answers the first `done` questions of a batch; the others end with `code`.
pub fn run(site: &Site, batch: &Asked<'_>, done: usize, code: &str) -> Run {
    let mut run = Run::default();
    let mut answers = Vec::new();
    let created = batch.created_at;
    for (at, raw) in lines(batch.content).enumerate() {
        let Ok(line) = serde_json::from_slice::<Line<'_>>(raw) else { continue };
        let id = format!("batch_req_{}_{at}", batch.id);
        if at >= done {
            let message = "This request could not be executed before the batch ended.";
            let error = json!({ "code": code, "message": message });
            let line = json!({ "id": id, "custom_id": line.custom_id, "response": null, "error": error });
            write(&mut run.errors, &line);
            continue;
        }
        let lead = lead_in(raw);
        let faults = lock(&site.faults).strike("POST", "chat", lead.as_deref());
        let fault = faults.into_iter().next();
        let question = Question::read(line.body.get().as_bytes(), &site.schemas);
        let mut entry = LogEntry {
            seq: 0,
            at_ms: site.elapsed_ms(),
            request: "POST /v1/chat/completions".to_owned(),
            lead,
            batch: Some(batch.id.to_owned()),
            question: question.as_ref().ok().map(Question::name),
            status: 200,
            fault: fault.as_ref().map(|fault| fault.name().to_owned()),
            prompt_tokens: 0,
            completion_tokens: 0,
            sent_whole: true,
            ended_ms: Some(site.elapsed_ms()),
        };
        let refused = match &question {
            Ok(_) => fault.as_ref().and_then(|fault| refusal_of(fault, None)),
            Err(invalid) => {
                let error = json!({
                    "message": invalid.message, "type": "invalid_request_error", "param": invalid.param,
                    "code": null,
                });
                Some((400, json!({ "error": error })))
            }
        };
        let response = |status: u16, body: &RawValue| {
            let response = json!({ "status_code": status, "request_id": format!("req_{at}"), "body": body });
            json!({ "id": id, "custom_id": line.custom_id, "response": response, "error": null })
        };
        match (question, refused) {
            (Ok(question), None) => {
                let (body, completion_tokens) = question.answer(created, fault.as_ref());
                entry.prompt_tokens = question.prompt_tokens;
                entry.completion_tokens = completion_tokens;
                run.completed += 1;
                run.usage.0 += question.prompt_tokens;
                run.usage.1 += completion_tokens;
                let body =
                    RawValue::from_string(String::from_utf8_lossy(&body).into_owned()).unwrap_or_default();
                answers.push(response(200, &body));
            }
            (_, refused) => {
                let (status, body) = refused.unwrap_or((500, json!({})));
                entry.status = status;
                run.failed += 1;
                let body = RawValue::from_string(body.to_string()).unwrap_or_default();
                write(&mut run.errors, &response(status, &body));
            }
        }
        site.log.push(entry);
    }
    // In another order than asked: whoever joins by place is found out.
    answers.iter().rev().for_each(|answer| write(&mut run.output, answer));
    run
}

fn write(out: &mut Vec<u8>, line: &Value) {
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}
