//! What a person may decide about lead jobs. `config` fills it in; everything else only reads it.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::field::{FieldMapping, LeadField};
use super::rules::{ACQUISITION, ENRICHMENT};
use crate::model::OrgName;

/// Money in millionths of the currency that prices are given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

impl Money {
    /// From units of the currency; negative counts as nothing.
    pub fn from_units(units: f64) -> Self {
        Self((units.max(0.0) * 1e6).round() as u64)
    }

    /// In units of the currency.
    pub fn units(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl std::ops::Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::ops::AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), std::ops::Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4}", self.units())
    }
}

/// What a model's tokens cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Price {
    /// A million tokens of questions.
    pub prompt_per_million: Money,
    /// A million tokens of answers.
    pub completion_per_million: Money,
    /// Part of it that is paid in batch mode: 0.5 is half the price.
    pub batch_factor: f64,
}

/// How a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelMode {
    /// One request a lead, now.
    Direct,
    /// By the endpoint's Batch API: cheaper, within a day.
    Batch,
}

/// A model behind an OpenAI-compatible endpoint.
#[derive(Clone)]
pub struct ModelSettings {
    /// Address with the version, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// Its key; `None` sends none.
    pub api_key: Option<SecretString>,
    /// Name of the model.
    pub model: String,
    /// Direct or by batches.
    pub mode: ModelMode,
    /// 0 to 2.
    pub temperature: f64,
    /// Longest answer, in tokens.
    pub max_completion_tokens: u32,
    /// Whether the answer's schema has bounds of lengths, counts and numbers. Off by default: several services refuse them.
    pub schema_bounds: bool,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Requests allowed in a minute; `None`: what the endpoint's headers say, else no bound.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens allowed in a minute; `None` as above.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Requests under way at once.
    pub concurrency: NonZeroU32,
    /// Tries of one lead whose answer is of no use.
    pub attempts: NonZeroU32,
    /// What it costs.
    pub price: Price,
    /// Most that one job may spend; `None`: no bound.
    pub max_cost: Option<Money>,
    /// Pause between two looks at a batch.
    pub batch_poll: Duration,
    /// Certificates beside the built-in roots, PEM.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for ModelSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelSettings")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// What each score weighs in the confidence. They need not add up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScoreWeights {
    /// How complete is what the lead gave.
    pub acquisition: f64,
    /// How complete is what the enrichment added.
    pub enrichment: f64,
    /// How believable it is.
    pub coherence: f64,
}

impl Default for ScoreWeights {
    fn default() -> Self {
        Self { acquisition: 0.15, enrichment: 0.15, coherence: 0.70 }
    }
}

/// How lead jobs work.
#[derive(Debug, Clone)]
pub struct LeadSettings {
    /// The org; `None`: the first of the configuration.
    pub org: Option<OrgName>,
    /// Ids in one read (the seed's `BATCH_SIZE_SALESFORCE` and `BATCH_SIZE_VALIDATION`, which are one pass here).
    pub read_batch: usize,
    /// Leads in one item of the assessor (`BATCH_SIZE_AI`).
    pub assess_batch: usize,
    /// Ids above which a request over HTTP becomes a job (`LARGE_DATASET_THRESHOLD`).
    pub large_dataset_threshold: usize,
    /// Pause after each read (`BATCH_DELAY_MS`).
    pub read_pause: Duration,
    /// Pause after each item of the assessor (`AI_BATCH_DELAY_MS`).
    pub assess_pause: Duration,
    /// Longest wait for one answer of the org.
    pub call_timeout: Duration,
    /// Where each field stands.
    pub fields: FieldMapping,
    /// What each score weighs.
    pub weights: ScoreWeights,
    /// Employees above which a company is large, for the flags.
    pub large_company_employees: i64,
    /// Domains that count as free mail beside those that penstock knows.
    pub free_mail_domains: Vec<String>,
    /// Whether proposed websites are looked up. Off by default: it makes requests to addresses that a model wrote.
    pub check_websites: bool,
    /// Largest upload, in bytes.
    pub max_upload_bytes: u64,
    /// How long a finished job is kept.
    pub keep_jobs: Duration,
    /// The model; `None`: rules alone.
    pub model: Option<ModelSettings>,
}

impl LeadSettings {
    /// What holds for the leads of an org that lacks these fields: they stand nowhere, and a completeness of which the org has
    /// no field at all weighs nothing, so that the other scores still make a confidence.
    pub fn for_org(&self, left_out: &[LeadField]) -> Self {
        let mut settings = self.clone();
        for field in left_out {
            settings.fields.leave_out(*field);
        }
        let has_any =
            |fields: &[LeadField]| fields.iter().any(|field| settings.fields.path(*field).is_some());
        let (can_acquire, can_enrich) = (has_any(&ACQUISITION), has_any(&ENRICHMENT));
        let weights = &mut settings.weights;
        weights.acquisition = if can_acquire { weights.acquisition } else { 0.0 };
        weights.enrichment = if can_enrich { weights.enrichment } else { 0.0 };
        settings
    }
}

impl Default for LeadSettings {
    fn default() -> Self {
        Self {
            org: None,
            read_batch: 2_000,
            assess_batch: 50,
            large_dataset_threshold: 1_000,
            read_pause: Duration::ZERO,
            assess_pause: Duration::ZERO,
            call_timeout: Duration::from_secs(30),
            fields: FieldMapping::default(),
            weights: ScoreWeights::default(),
            large_company_employees: 100,
            free_mail_domains: Vec::new(),
            check_websites: false,
            max_upload_bytes: 256 << 20,
            keep_jobs: Duration::from_secs(30 * 86_400),
            model: None,
        }
    }
}
