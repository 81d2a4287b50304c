//! Reads what an endpoint answers to one question.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::error::{ChatError, tidy};
use crate::limiter::model::RatesSeen;

/// Tokens of one question and its answer, as the endpoint counted them; zero where it did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the question.
    pub prompt_tokens: u64,
    /// Tokens of the answer, those of thinking included.
    pub completion_tokens: u64,
}

impl Usage {
    /// Both together.
    pub fn total(self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// A model's answer to one question.
#[derive(Clone, PartialEq, Eq)]
pub struct ChatAnswer {
    /// What it said: not yet known to be JSON.
    pub content: String,
    /// What it took.
    pub usage: Usage,
    /// What the headers said of the limits.
    pub rates: RatesSeen,
    /// The model's name as the endpoint gives it; often more exact than the one asked for.
    pub model: Option<String>,
}

impl fmt::Debug for ChatAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatAnswer").field("usage", &self.usage).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
pub(super) struct WireUsage {
    // Those of a whole batch are called input and output.
    #[serde(alias = "input_tokens", deserialize_with = "lenient")]
    prompt_tokens: u64,
    #[serde(alias = "output_tokens", deserialize_with = "lenient")]
    completion_tokens: u64,
}

impl From<WireUsage> for Usage {
    fn from(usage: WireUsage) -> Self {
        Self { prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens }
    }
}

/// What is not of the expected type counts as not said.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Reads the body of an answer with a good status.
///
/// # Errors
/// [`ChatError::BadAnswer`], with what it cost all the same.
pub(super) fn read(body: &[u8], rates: RatesSeen) -> Result<ChatAnswer, ChatError> {
    let Ok(completion) = serde_json::from_slice::<Completion>(body) else {
        // What it cost may still be told beside what cannot be read.
        let usage = usage_within(body);
        let why = match serde_json::from_slice::<Value>(body) {
            Ok(_) => "the endpoint's answer is not a chat completion",
            Err(_) if body.is_empty() => "the endpoint's answer is empty",
            Err(_) => "the endpoint's answer is not JSON",
        };
        return Err(ChatError::BadAnswer { why: why.to_owned(), usage, rates: Box::new(rates) });
    };
    let usage = completion.usage.map(Usage::from).unwrap_or_default();
    let model = completion.model;
    content_of(completion.choices)
        .map(|content| ChatAnswer { content, usage, rates, model })
        .map_err(|why| ChatError::BadAnswer { why, usage, rates: Box::new(rates) })
}

fn usage_within(body: &[u8]) -> Usage {
    #[derive(Deserialize)]
    struct OnlyUsage {
        #[serde(default, deserialize_with = "lenient")]
        usage: Option<WireUsage>,
    }
    serde_json::from_slice::<OnlyUsage>(body)
        .ok()
        .and_then(|read| read.usage)
        .map(Usage::from)
        .unwrap_or_default()
}

fn content_of(choices: Vec<Choice>) -> Result<String, String> {
    let choice = choices.into_iter().next().ok_or("the endpoint's answer holds no choice")?;
    let message = choice.message.ok_or("the endpoint's answer holds no message")?;
    if let Some(refusal) = message.refusal.filter(|refusal| !refusal.trim().is_empty()) {
        return Err(format!("the model refused: {}", tidy(&refusal, None)));
    }
    // A server that says no reason has finished.
    match choice.finish_reason.as_deref().unwrap_or("stop") {
        "stop" => {}
        "length" => {
            return Err(
                "the model's answer was cut off for its length; raise `max_completion_tokens`".to_owned()
            );
        }
        "content_filter" => return Err("the endpoint's content filter held the answer back".to_owned()),
        other => {
            return Err(format!("the model ended with `{}` instead of an answer", tidy(other, None)));
        }
    }
    match message.content {
        Value::String(content) if !content.trim().is_empty() => Ok(content),
        Value::String(_) | Value::Null => Err("the model answered nothing".to_owned()),
        // Some servers give the parts that the text is made of.
        Value::Array(parts) => {
            let text: String = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            if text.trim().is_empty() { Err("the model answered nothing".to_owned()) } else { Ok(text) }
        }
        _ => Err("the model's answer is not text".to_owned()),
    }
}
