//! What holds for the leads of one org: the settings without the fields that it lacks, and the question that is made of them.
//!
//! Promises: scores, questions, the reading of answers and the head of the report all go by the same fields, whichever
//! process they are made in: what an org lacks is noted in the job's store.

use std::sync::Arc;

use super::lead_asker::LeadAsker;
use crate::leads::{LeadField, LeadSettings, Prompt};
use crate::store::lead_jobs::{LeadJobStore, LeadStoreError};

/// Note in a job's store: fields of the settings that the org lacks.
const LEFT_OUT_NOTE: &str = "left_out";

/// See the module's promises.
pub struct LeadTerms {
    /// The settings, with the fields and weights of the org.
    pub settings: LeadSettings,
    /// What stays the same in every question, where a model is asked.
    pub prompt: Option<Prompt>,
    left_out: Vec<LeadField>,
}

impl std::fmt::Debug for LeadTerms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadTerms").field("left_out", &self.left_out).finish_non_exhaustive()
    }
}

impl LeadTerms {
    /// The terms of an org that lacks these fields.
    pub fn new(settings: &LeadSettings, asker: Option<&LeadAsker>, left_out: &[LeadField]) -> Arc<Self> {
        let settings = settings.for_org(left_out);
        let prompt = asker.map(|asker| Prompt::new(&settings, asker.model()));
        Arc::new(Self { settings, prompt, left_out: left_out.to_vec() })
    }

    /// Fields that the org lacks.
    pub fn left_out(&self) -> &[LeadField] {
        &self.left_out
    }
}

/// Keeps in a job's store what the org lacks.
pub(super) async fn note_left_out(store: &LeadJobStore, fields: &[LeadField]) -> Result<(), LeadStoreError> {
    let keys: Vec<&str> = fields.iter().map(|field| field.key()).collect();
    store.note(LEFT_OUT_NOTE, &keys.join(" ")).await
}

/// What the org lacks, as the job's store says.
pub(super) async fn noted_left_out(store: &LeadJobStore) -> Result<Vec<LeadField>, LeadStoreError> {
    let keys = store.noted(LEFT_OUT_NOTE).await?.unwrap_or_default();
    Ok(keys.split(' ').filter_map(LeadField::by_key).collect())
}
