//! The question that a model is asked about a lead, and the form that its answer must have.

use serde_json::{Value, json};

use super::domains::FreeMail;
use super::lead::Lead;
use super::settings::{LeadSettings, ModelSettings};

/// Changes whenever the question does, so that answers to an older one are not taken for answers to this.
pub const PROMPT_VERSION: &str = "penstock-lead-1";

/// What stays the same in the questions of a job.
pub struct Prompt {
    free_mail: FreeMail,
}

impl Prompt {
    /// The question as these settings put it.
    pub fn new(settings: &LeadSettings, model: &ModelSettings) -> Self {
        let _ = model;
        Self { free_mail: FreeMail::new(&settings.free_mail_domains) }
    }

    /// The body of a request to `/chat/completions` about a lead.
    pub fn request(&self, lead: &Lead) -> Value {
        let _ = (lead, &self.free_mail);
        json!({})
    }

    /// Stands for everything that the answer depends on: content asked about, prompt version, model, temperature. Not the
    /// lead's id: what holds for one holds for its twin.
    pub fn key(&self, lead: &Lead) -> [u8; 32] {
        let _ = lead;
        [0; 32]
    }

    /// Tokens of a question and of an answer of usual length, for a forecast.
    pub fn usual_tokens(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// Tokens to set aside for a request: an estimate of its question, and the longest answer it allows.
pub fn estimated_tokens(body: &Value) -> u64 {
    let _ = body;
    0
}
