//! Reads what a model answered, strictly: the answer has the agreed form or it is none, and the fault says which part is not.
//!
//! Promises: an endpoint that does not enforce the schema is noticed here. A fault names keys and numbers, never what the
//! model said: that is about a person.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field::{FieldMapping, LeadField};
use super::prompt::{BULLET_CHARS, BULLETS, proposed_fields};

/// Longest answer, in bytes: some hundred times what is asked for is a model that has lost its way.
const ANSWER_BYTES: usize = 32 << 10;
/// Most words of a sentence: more than twice what was asked for is no sentence, unless they are very short. Between the two it
/// is cut.
const BULLET_WORDS_READ: usize = 60;
/// Longest proposed text, as long as the longest field for it.
const VALUE_CHARS: usize = 255;

/// A model's answer in the agreed form, before code enforces anything.
#[derive(Clone, PartialEq)]
pub struct RawAnswer {
    /// 0 to 100.
    pub score: u8,
    /// Three to five sentences.
    pub bullets: Vec<String>,
    /// Fields that hold something wrong, with what they should hold.
    pub corrections: BTreeMap<LeadField, Value>,
    /// Fields that hold nothing, with what they probably hold.
    pub inferences: BTreeMap<LeadField, Value>,
}

impl std::fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawAnswer").field("score", &self.score).finish_non_exhaustive()
    }
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// Nothing, or blanks.
    #[error("the model answered nothing")]
    Empty,
    /// Far more than was asked for.
    #[error("the model answered {0} bytes, far more than was asked for")]
    TooLong(usize),
    /// Words, no JSON.
    #[error("the model answered in prose where one JSON object was asked for")]
    Prose,
    /// JSON with words before or behind.
    #[error("the model wrote prose around its JSON object")]
    ProseAround,
    /// JSON that stops in the middle.
    #[error("the model's JSON stops in the middle: `max_completion_tokens` may be too low")]
    CutOff,
    /// Something like JSON.
    #[error("the model's answer is no valid JSON, from line {line}, column {column} on")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// JSON, but a list or a bare value.
    #[error("the model answered {0} where an object was asked for")]
    NotAnObject(&'static str),
    /// A key is missing.
    #[error("the model's answer has no `{0}`")]
    MissingKey(&'static str),
    /// A key that nobody asked for.
    #[error("the model's answer has a key that was not asked for{}", in_backticks(.0))]
    ExtraKey(String),
    /// A value of another kind.
    #[error("`{key}` in the model's answer is {found}, not {wanted}")]
    WrongType {
        /// Where.
        key: String,
        /// What there is.
        found: &'static str,
        /// What should be.
        wanted: &'static str,
    },
    /// 88.5.
    #[error("`confidence_score` in the model's answer is {0}, which is no whole number")]
    ScoreNotWhole(String),
    /// 900.
    #[error("`confidence_score` in the model's answer is {0}, which is not between 0 and 100")]
    ScoreOutOfRange(String),
    /// Too few or too many sentences.
    #[error("`explanation_bullets` in the model's answer has {0} texts, not {min} to {max}", min = BULLETS.start(), max = BULLETS.end())]
    BulletCount(usize),
    /// A sentence of blanks.
    #[error("text {0} of `explanation_bullets` in the model's answer is empty")]
    BulletEmpty(usize),
    /// A sentence that is an essay.
    #[error(
        "text {at} of `explanation_bullets` in the model's answer has {words} words, far more than was asked for"
    )]
    BulletTooLong {
        /// Which, from 1.
        at: usize,
        /// How many words it has.
        words: usize,
    },
    /// A value that fits into no field.
    #[error("`{0}` in the model's answer is longer than the field")]
    ValueTooLong(String),
}

/// A key as a model wrote it is shown only when it looks like one.
fn in_backticks(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(": `{key}`") }
}

/// Reads the content of a model's message. Blanks around the object, and one fence of a code block, are allowed.
///
/// # Errors
/// See [`AnswerFault`].
pub fn read_answer(content: &str, fields: &FieldMapping) -> Result<RawAnswer, AnswerFault> {
    let content = without_fence(content.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'));
    if content.is_empty() {
        return Err(AnswerFault::Empty);
    }
    if content.len() > ANSWER_BYTES {
        return Err(AnswerFault::TooLong(content.len()));
    }
    let mut object = object_of(content)?;
    let mut take = |key: &'static str| object.remove(key).ok_or(AnswerFault::MissingKey(key));
    let score = score_of(&take("confidence_score")?)?;
    let bullets = bullets_of(take("explanation_bullets")?)?;
    let corrections = proposals_of("corrections", take("corrections")?, fields)?;
    let inferences = proposals_of("inferences", take("inferences")?, fields)?;
    if let Some(key) = object.keys().next() {
        return Err(AnswerFault::ExtraKey(shown(key)));
    }
    Ok(RawAnswer { score, bullets, corrections, inferences })
}

fn without_fence(content: &str) -> &str {
    let fenced = || {
        let inner = content.strip_prefix("```")?.strip_suffix("```")?;
        let inner = inner.strip_prefix("json").or_else(|| inner.strip_prefix("JSON")).unwrap_or(inner);
        (inner.starts_with(['\n', '\r', ' ', '{'])).then(|| inner.trim())
    };
    fenced().unwrap_or(content)
}

fn object_of(content: &str) -> Result<Map<String, Value>, AnswerFault> {
    if !content.starts_with(['{', '[', '"']) && content.parse::<f64>().is_err() {
        let is_value = matches!(content, "null" | "true" | "false");
        return Err(match (is_value, content.contains('{')) {
            (true, _) => AnswerFault::NotAnObject("a bare value"),
            (false, true) => AnswerFault::ProseAround,
            (false, false) => AnswerFault::Prose,
        });
    }
    let mut values = serde_json::Deserializer::from_str(content).into_iter::<Value>();
    let value = match values.next() {
        None => return Err(AnswerFault::Empty),
        Some(Err(error)) if error.is_eof() => return Err(AnswerFault::CutOff),
        Some(Err(error)) => {
            return Err(AnswerFault::NotJson { line: error.line(), column: error.column() });
        }
        Some(Ok(value)) => value,
    };
    if !content[values.byte_offset()..].trim().is_empty() {
        return Err(AnswerFault::ProseAround);
    }
    match value {
        Value::Object(object) => Ok(object),
        other => Err(AnswerFault::NotAnObject(kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shown(key: &str) -> String {
    let is_plain =
        key.len() <= 40 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if is_plain { key.to_owned() } else { String::new() }
}

fn wrong(key: impl Into<String>, value: &Value, wanted: &'static str) -> AnswerFault {
    AnswerFault::WrongType { key: key.into(), found: kind(value), wanted }
}

fn score_of(value: &Value) -> Result<u8, AnswerFault> {
    let Value::Number(number) = value else {
        return Err(wrong("confidence_score", value, "a whole number"));
    };
    let score = number.as_f64().unwrap_or(f64::NAN);
    if !(0.0..=100.0).contains(&score) {
        return Err(AnswerFault::ScoreOutOfRange(number.to_string()));
    }
    // 88.0 is a whole number to JSON Schema.
    if score.fract() != 0.0 {
        return Err(AnswerFault::ScoreNotWhole(number.to_string()));
    }
    Ok(score as u8)
}

fn bullets_of(value: Value) -> Result<Vec<String>, AnswerFault> {
    let Value::Array(texts) = value else {
        return Err(wrong("explanation_bullets", &value, "a list of texts"));
    };
    if !BULLETS.contains(&texts.len()) {
        return Err(AnswerFault::BulletCount(texts.len()));
    }
    let read = |(at, text): (usize, Value)| {
        let at = at + 1;
        let Value::String(text) = text else {
            return Err(wrong(format!("explanation_bullets[{at}]"), &text, "a text"));
        };
        match text.split_whitespace().count() {
            0 => Err(AnswerFault::BulletEmpty(at)),
            words if words > BULLET_WORDS_READ && text.chars().count() > BULLET_CHARS => {
                Err(AnswerFault::BulletTooLong { at, words })
            }
            _ => Ok(text.trim().to_owned()),
        }
    };
    texts.into_iter().enumerate().map(read).collect()
}

fn proposals_of(
    part: &'static str,
    value: Value,
    fields: &FieldMapping,
) -> Result<BTreeMap<LeadField, Value>, AnswerFault> {
    let Value::Object(mut object) = value else {
        return Err(wrong(part, &value, "an object"));
    };
    let mut proposals = BTreeMap::new();
    for (field, path) in proposed_fields(fields) {
        // A missing key proposes nothing, as null does: servers without a strict schema leave it out.
        let Some(value) = object.remove(&path) else { continue };
        let wanted = match (field, &value) {
            (_, Value::Null) => continue,
            (_, Value::String(text)) if text.trim().is_empty() => continue,
            (_, Value::String(text)) if text.chars().count() > VALUE_CHARS => {
                return Err(AnswerFault::ValueTooLong(format!("{part}.{path}")));
            }
            // A range in words is read later.
            (_, Value::String(_)) | (LeadField::EnrichedEmployees, Value::Number(_)) => None,
            (LeadField::EnrichedEmployees, _) => Some("a whole number or null"),
            _ => Some("a text or null"),
        };
        if let Some(wanted) = wanted {
            return Err(wrong(format!("{part}.{path}"), &value, wanted));
        }
        proposals.insert(field, value);
    }
    match object.keys().next() {
        Some(key) => Err(AnswerFault::ExtraKey(shown(key))),
        None => Ok(proposals),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
