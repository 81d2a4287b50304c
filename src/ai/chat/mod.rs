//! Asks a model behind an OpenAI-compatible endpoint: one question now ([`ChatClient::complete`]), or many by its Batch API
//! ([`ChatClient::submit`] and what follows it).
//!
//! Promises: an answer is read leniently, because servers leave out what the published description demands, but one that is
//! of no use is an error that says why and still tells what it cost. A refusal is told apart by its body before its status:
//! the account's money being spent arrives with the status of being too fast. The key is neither in an error nor in a log,
//! and neither questions nor answers are in anything's `Debug`.

mod answer;
mod batch_file;
mod batch_lines;
mod batches;
mod error;
#[cfg(test)]
mod tests;
mod upload;
mod wire;

use std::fmt;
use std::time::Duration;

pub use answer::{ChatAnswer, Usage};
pub use batch_file::{BatchFile, BatchFileWriter, BatchLimits, request_line};
pub use batch_lines::{BatchLine, BatchLines};
pub use batches::{BatchCounts, BatchState, BatchStatus, BatchTag, FileSeen};
pub use error::{ChatError, ChatSetupError, NextStep};
use reqwest::Method;
use serde_json::Value;
use wire::Wire;

use crate::leads::ModelSettings;
use crate::limiter::model::{ModelCallSeen, ModelOutcome, RatesSeen};

/// Longest answer to one question, in bytes: far more than any model writes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A client of one endpoint. Clones share their connections.
#[derive(Clone)]
pub struct ChatClient {
    wire: Wire,
    timeout: Duration,
}

impl fmt::Debug for ChatClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatClient").field("host", &self.wire.host()).finish_non_exhaustive()
    }
}

impl ChatClient {
    /// Prepares the connections; opens none.
    ///
    /// # Errors
    /// When the address is none, the certificates cannot be read, or the key holds what no header can carry.
    pub fn new(settings: &ModelSettings) -> Result<Self, ChatSetupError> {
        Ok(Self { wire: Wire::new(settings)?, timeout: settings.timeout })
    }

    /// Asks one question: `body` is that of `POST /chat/completions`.
    ///
    /// # Errors
    /// See [`ChatError`]; [`ChatError::next_step`] says what to do about each.
    pub async fn complete(&self, body: &Value) -> Result<ChatAnswer, ChatError> {
        let bytes =
            serde_json::to_vec(body).map_err(|error| ChatError::Request { why: error.to_string() })?;
        let request = self
            .wire
            .request(Method::POST, "chat/completions")
            .header("content-type", "application/json")
            .body(bytes)
            .timeout(self.timeout);
        let reply = self.wire.exchange(request, ANSWER_BYTES_MAX).await?;
        answer::read(&reply.body, reply.rates)
    }
}

/// What the limiter should know of a call.
pub fn call_seen(result: &Result<ChatAnswer, ChatError>) -> ModelCallSeen {
    let (outcome, usage, rates) = match result {
        Ok(answer) => (ModelOutcome::Answered, Some(answer.usage), answer.rates),
        Err(error) => (error.outcome(), error.usage(), error.rates()),
    };
    let tokens_used = usage.map(Usage::total).filter(|tokens| *tokens > 0);
    ModelCallSeen { outcome, tokens_used, rates }
}

impl ChatError {
    fn outcome(&self) -> ModelOutcome {
        match self {
            Self::Throttled { by, .. } => ModelOutcome::Throttled(*by),
            Self::QuotaSpent { .. } => ModelOutcome::QuotaSpent,
            Self::Failing { .. } | Self::Timeout { .. } | Self::Network { .. } => ModelOutcome::Failed,
            Self::BadAnswer { .. } => ModelOutcome::Answered,
            Self::Refused { .. }
            | Self::NotThere { .. }
            | Self::BadRequest { .. }
            | Self::NotRun { .. }
            | Self::File { .. }
            | Self::Request { .. } => ModelOutcome::Refused,
        }
    }

    fn rates(&self) -> RatesSeen {
        match self {
            Self::Throttled { rates, .. }
            | Self::QuotaSpent { rates, .. }
            | Self::Failing { rates, .. }
            | Self::BadAnswer { rates, .. } => **rates,
            _ => RatesSeen::default(),
        }
    }
}
