//! Why there is no usable answer, told apart by the body before the status, and what to do about each.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::answer::Usage;
use crate::limiter::model::{RatesSeen, ThrottledBy};
use crate::salesforce::transport::HttpSetupError;

/// Longest part of an endpoint's words that is passed on.
const WORDS_MAX: usize = 200;

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ChatSetupError {
    /// The address is none.
    #[error("`{base_url}` is no address of a model endpoint; write it like `https://api.openai.com/v1`")]
    BaseUrl {
        /// As it was given.
        base_url: String,
    },
    /// The key cannot be sent.
    #[error(
        "the key of the model endpoint holds characters that no header can carry; it may end with a line break"
    )]
    Key,
    /// The file of certificates cannot be read.
    #[error("read the certificates in `{path}`")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// TLS or the network library refused their settings.
    #[error(transparent)]
    Http(#[from] HttpSetupError),
}

/// What to do about a [`ChatError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Ask again once the limiter lets it go; this was no attempt.
    Wait,
    /// Ask again; this was an attempt.
    TryAgain,
    /// Asking this question again changes nothing: its lead is failed.
    GiveUp,
    /// No question will be answered before a person changes something.
    Stop,
}

/// A question without a usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChatError {
    /// Too fast for the endpoint.
    #[error("the model endpoint turned the request away for its rate (429)")]
    Throttled {
        /// Which limit.
        by: ThrottledBy,
        /// What the headers said.
        rates: Box<RatesSeen>,
    },
    /// The account's money is spent.
    #[error("the model endpoint says that the account's quota is spent; add credit or raise its limit")]
    QuotaSpent {
        /// What the headers said.
        rates: Box<RatesSeen>,
    },
    /// The key is not accepted, or may not do this.
    #[error(
        "the model endpoint refused the key ({status}{}); check `api_key` and what it may do",
        in_words(code)
    )]
    Refused {
        /// 401 or 403.
        status: u16,
        /// The endpoint's own short word for it.
        code: Option<String>,
    },
    /// No such model or address.
    #[error("the model endpoint knows no such thing (404: {message}); check `model` and `base_url`")]
    NotThere {
        /// In the endpoint's words.
        message: String,
    },
    /// The endpoint failed by itself.
    #[error("the model endpoint failed ({status}: {message})")]
    Failing {
        /// Status from 500 up, or one that means the same.
        status: u16,
        /// In the endpoint's words.
        message: String,
        /// What the headers said.
        rates: Box<RatesSeen>,
    },
    /// No whole answer in time. It may have been paid for.
    #[error("no answer from the model endpoint `{host}` in time")]
    Timeout {
        /// Scheme, host and port.
        host: String,
    },
    /// No connection, or a broken one. An answer may have been paid for.
    #[error("no answer from the model endpoint `{host}`: {what}")]
    Network {
        /// Scheme, host and port.
        host: String,
        /// In a few words.
        what: &'static str,
        /// What the network library said.
        #[source]
        source: Option<Arc<reqwest::Error>>,
    },
    /// An answer, paid for and of no use.
    #[error("{why}")]
    BadAnswer {
        /// A sentence for a person.
        why: String,
        /// What it took all the same.
        usage: Usage,
        /// What the headers said.
        rates: Box<RatesSeen>,
    },
    /// The endpoint does not take this question.
    #[error("the model endpoint refused the request ({status}: {message})")]
    BadRequest {
        /// Its status.
        status: u16,
        /// In the endpoint's words.
        message: String,
    },
    /// A question of a batch was never asked: the batch expired or was cancelled before it.
    #[error("the batch ended before this request ({code})")]
    NotRun {
        /// The endpoint's word for it.
        code: String,
    },
    /// A file for the endpoint cannot be read here.
    #[error("read `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The request could not be built.
    #[error("the request to the model endpoint could not be built: {why}")]
    Request {
        /// Why.
        why: String,
    },
}

fn in_words(code: &Option<String>) -> String {
    code.as_ref().map(|code| format!(": {code}")).unwrap_or_default()
}

impl ChatError {
    /// What to do about it.
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::Throttled { .. } | Self::QuotaSpent { .. } => NextStep::Wait,
            Self::Failing { .. }
            | Self::Timeout { .. }
            | Self::Network { .. }
            | Self::BadAnswer { .. }
            | Self::NotRun { .. } => NextStep::TryAgain,
            Self::BadRequest { .. } | Self::Request { .. } => NextStep::GiveUp,
            Self::Refused { .. } | Self::NotThere { .. } | Self::File { .. } => NextStep::Stop,
        }
    }

    /// Whether an answer may have been made, and be charged, that nobody has seen or that does not say what it took.
    pub fn may_be_charged(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            // Where no connection was made, no question was asked.
            Self::Network { source, .. } => source.as_ref().is_none_or(|error| !error.is_connect()),
            Self::BadAnswer { usage, .. } => usage.total() == 0,
            _ => false,
        }
    }

    /// What it took, where the endpoint said so.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::BadAnswer { usage, .. } => Some(*usage),
            _ => None,
        }
    }
}

/// What an endpoint's error body says, in whichever of the usual shapes.
#[derive(Default)]
struct Said {
    message: String,
    code: String,
    kind: String,
}

impl Said {
    fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        match body.get("error") {
            Some(Value::String(message)) => Some(Self { message: message.clone(), ..Self::default() }),
            Some(Value::Object(error)) => Some(Self {
                message: text(error.get("message")),
                code: text(error.get("code")),
                kind: text(error.get("type")),
            }),
            _ => {
                let message = text(body.get("message").or_else(|| body.get("detail")));
                let code = text(body.get("code"));
                (!message.is_empty() || !code.is_empty()).then_some(Self {
                    message,
                    code,
                    kind: String::new(),
                })
            }
        }
    }

    fn names(&self, word: &str) -> bool {
        self.code.eq_ignore_ascii_case(word) || self.kind.eq_ignore_ascii_case(word)
    }

    fn throttled_by(&self) -> ThrottledBy {
        let message = self.message.to_ascii_lowercase();
        let says = |words: [&str; 2]| words.iter().any(|word| message.contains(word));
        if self.names("tokens") || says(["tokens per", "(tpm)"]) {
            ThrottledBy::Tokens
        } else if self.names("requests") || says(["requests per", "(rpm)"]) {
            ThrottledBy::Requests
        } else {
            ThrottledBy::Unknown
        }
    }
}

/// Whether a body with a good status is an error in disguise.
pub(super) fn is_error_body(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct OnlyError {
        error: Option<serde::de::IgnoredAny>,
        choices: Option<serde::de::IgnoredAny>,
        object: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<OnlyError>(body)
        .is_ok_and(|read| read.error.is_some() && read.choices.is_none() && read.object.is_none())
}

/// What a refusal means.
pub(super) fn classify(status: u16, body: &[u8], rates: RatesSeen, key: Option<&str>) -> ChatError {
    let said = Said::read(body).unwrap_or_default();
    let rates = Box::new(rates);
    const SPENT: [&str; 4] =
        ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance"];
    if status == 402 || SPENT.iter().any(|word| said.names(word)) {
        return ChatError::QuotaSpent { rates };
    }
    const FAST: [&str; 3] = ["rate_limit_exceeded", "rate_limit_error", "RateLimitReached"];
    if status == 429 || FAST.iter().any(|word| said.names(word)) {
        return ChatError::Throttled { by: said.throttled_by(), rates };
    }
    let message = || {
        let words = if said.message.is_empty() { "no reason given" } else { &said.message };
        tidy(words, key)
    };
    const FAILING: [&str; 3] = ["server_error", "overloaded_error", "internal_error"];
    let says_so = status < 300 && FAILING.iter().any(|word| said.names(word));
    if status >= 500 || matches!(status, 408 | 409 | 425) || says_so {
        return ChatError::Failing { status, message: message(), rates };
    }
    match status {
        // Its words repeat part of the key: only the code is passed on.
        401 | 403 => {
            let is_word = |code: &String| {
                !code.is_empty()
                    && code.len() <= 64
                    && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            ChatError::Refused { status, code: Some(said.code).filter(is_word) }
        }
        404 => ChatError::NotThere { message: message() },
        _ => ChatError::BadRequest { status, message: message() },
    }
}

/// An endpoint's words, short, on one line, and without anything that looks like a key.
pub(super) fn tidy(words: &str, key: Option<&str>) -> String {
    let words = match key {
        Some(key) if key.len() >= 4 => words.replace(key, "***"),
        _ => words.to_owned(),
    };
    let mut out = String::new();
    for word in words.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        let bare = word.trim_start_matches(|c: char| !c.is_alphanumeric());
        out.push_str(if bare.starts_with("sk-") || bare.starts_with("Bearer") { "***" } else { word });
        if out.len() > WORDS_MAX {
            let end = out.floor_char_boundary(WORDS_MAX);
            out.truncate(end);
            out.push_str("...");
            break;
        }
    }
    out
}
