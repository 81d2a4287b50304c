//! One question and its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::faults::Fault;
use crate::schema::{self, Spoil};

/// A question, read.
#[derive(Debug, Clone)]
pub struct Question {
    /// The model asked for.
    pub model: String,
    /// The first lead id in it.
    pub lead: Option<String>,
    /// Of its messages.
    pub fingerprint: u64,
    /// Tokens of it, by a rule of thumb.
    pub prompt_tokens: u64,
    /// Longest answer.
    pub max_tokens: u64,
    schema: Option<Arc<Value>>,
}

/// Why a question is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub param: Option<&'static str>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    model: Option<Value>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    temperature: Option<Value>,
    max_completion_tokens: Option<Value>,
    max_tokens: Option<Value>,
    stream: Option<bool>,
}

/// What a question says of the form of its answer.
type Format = Result<Option<Arc<Value>>, Invalid>;

/// Schemas seen, by their text: every question of a run brings the same.
#[derive(Debug, Default)]
pub struct Schemas(Mutex<HashMap<String, Format>>);

impl Schemas {
    fn read(&self, text: &str) -> Format {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = known.get(text) {
            return read.clone();
        }
        let read = read_format(text);
        known.insert(text.to_owned(), read.clone());
        read
    }
}

fn invalid<T>(message: impl Into<String>, param: &'static str) -> Result<T, Invalid> {
    Err(Invalid { message: message.into(), param: Some(param) })
}

fn read_format(text: &str) -> Format {
    let format: Value = serde_json::from_str(text).unwrap_or_default();
    match format["type"].as_str() {
        None if format.is_null() => Ok(None),
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Arc::new(json!({ "type": "object" })))),
        Some("json_schema") => {
            let name = format["json_schema"]["name"].as_str().unwrap_or_default();
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
                return invalid(
                    "Invalid 'response_format.json_schema.name'",
                    "response_format.json_schema.name",
                );
            }
            let schema = &format["json_schema"]["schema"];
            if format["json_schema"]["strict"] == json!(true)
                && let Some(complaint) = schema::complaint(schema)
            {
                let message = format!("Invalid schema for response_format '{name}': {complaint}");
                return invalid(message, "response_format");
            }
            Ok(Some(Arc::new(schema.clone())))
        }
        _ => invalid("Invalid value for 'response_format.type'", "response_format.type"),
    }
}

impl Question {
    /// Reads the body of `POST /v1/chat/completions`.
    ///
    /// # Errors
    /// What such an endpoint refuses with 400.
    pub fn read(body: &[u8], schemas: &Schemas) -> Result<Self, Invalid> {
        let Ok(wire) = serde_json::from_slice::<Wire<'_>>(body) else {
            let message = "We could not parse the JSON body of your request.".to_owned();
            return Err(Invalid { message, param: None });
        };
        let Some(Value::String(model)) = wire.model else {
            return invalid("you must provide a model parameter", "model");
        };
        let messages = wire.messages.map_or("", |messages| messages.get());
        let count = serde_json::from_str::<Vec<&RawValue>>(messages).map(|messages| messages.len());
        if !count.is_ok_and(|count| count > 0) {
            return invalid("Invalid 'messages': expected a non-empty array", "messages");
        }
        if let Some(temperature) = wire.temperature.filter(|temperature| !temperature.is_null())
            && !temperature.as_f64().is_some_and(|temperature| (0.0..=2.0).contains(&temperature))
        {
            return invalid("Invalid 'temperature': expected a number between 0 and 2", "temperature");
        }
        if wire.stream == Some(true) {
            return invalid("this simulated endpoint does not stream", "stream");
        }
        let schema = match wire.response_format {
            Some(format) => schemas.read(format.get())?,
            None => None,
        };
        let longest = wire.max_completion_tokens.or(wire.max_tokens).and_then(|longest| longest.as_u64());
        Ok(Self {
            lead: lead_in(body),
            fingerprint: fingerprint(messages.as_bytes()),
            prompt_tokens: (messages.len() as u64).div_ceil(4),
            max_tokens: longest.unwrap_or(1_000),
            schema,
            model,
        })
    }

    /// Its fingerprint as the log shows it.
    pub fn name(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }

    /// The answer: body, and the tokens that it took.
    pub fn answer(&self, created: u64, fault: Option<&Fault>) -> (Vec<u8>, u64) {
        let spoil = match fault {
            Some(Fault::WrongTypes) => Spoil::Types,
            Some(Fault::OutOfRange) => Spoil::Range,
            _ => Spoil::Nothing,
        };
        let mut content = match &self.schema {
            Some(schema) => schema::answer(schema, self.fingerprint, spoil).to_string(),
            None => format!("The question's fingerprint is {}.", self.name()),
        };
        let mut finish_reason = "stop";
        let mut refusal = Value::Null;
        match fault {
            Some(Fault::Prose) => {
                content = "Certainly! I would rate this lead rather highly, as its company is well known."
                    .to_owned();
            }
            Some(Fault::Half) => content.truncate(content.floor_char_boundary(content.len() / 2)),
            Some(Fault::Length) => {
                content.truncate(content.floor_char_boundary(content.len() / 2));
                finish_reason = "length";
            }
            Some(Fault::Filter) => {
                content.clear();
                finish_reason = "content_filter";
            }
            Some(Fault::Empty) => content.clear(),
            Some(Fault::Refusal) => refusal = json!("I'm sorry, I can't help with that."),
            _ => {}
        }
        let completion_tokens = (content.len() as u64).div_ceil(4).min(self.max_tokens);
        let content = if refusal.is_null() { json!(content) } else { Value::Null };
        let choice = json!({
            "index": 0,
            "message": { "role": "assistant", "content": content, "refusal": refusal },
            "logprobs": null,
            "finish_reason": finish_reason,
        });
        let choices = if fault == Some(&Fault::NoChoices) { json!([]) } else { json!([choice]) };
        let mut body = json!({
            "id": format!("chatcmpl-{}", self.name()),
            "object": "chat.completion",
            "created": created,
            "model": self.model,
            "choices": choices,
        });
        if fault != Some(&Fault::NoUsage) {
            body["usage"] = json!({
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": self.prompt_tokens + completion_tokens,
            });
        }
        (body.to_string().into_bytes(), completion_tokens)
    }
}

/// The first lead id in a body: `00Q` and 12 or 15 more letters and digits.
pub fn lead_in(body: &[u8]) -> Option<String> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric();
    let mut from = 0;
    while let Some(found) = body[from..].windows(3).position(|window| window == b"00Q") {
        let start = from + found;
        let end =
            body[start..].iter().position(|byte| !is_id(*byte)).map_or(body.len(), |length| start + length);
        let is_whole = start == 0 || !is_id(body[start - 1]);
        if is_whole && matches!(end - start, 15 | 18) {
            return String::from_utf8(body[start..end].to_vec()).ok();
        }
        from = start + 3;
    }
    None
}

fn fingerprint(bytes: &[u8]) -> u64 {
    // FNV-1a: the same on every machine and in every version.
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
