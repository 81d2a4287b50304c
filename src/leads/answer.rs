//! Reads what a model answered, strictly: the answer has the agreed form or it is none, and the fault says which part is not.

use std::collections::BTreeMap;

use serde_json::Value;

use super::field::{FieldMapping, LeadField};

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

/// What is wrong with an answer. Never says what the answer holds: it is about a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// Nothing came.
    #[error("the model answered nothing")]
    Empty,
}

/// Reads the content of a model's message.
///
/// # Errors
/// See [`AnswerFault`].
pub fn read_answer(content: &str, fields: &FieldMapping) -> Result<RawAnswer, AnswerFault> {
    let _ = (content, fields);
    Err(AnswerFault::Empty)
}
