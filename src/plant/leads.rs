//! The plant's part for lead jobs: settings, the model's gate, the stores, and the jobs that are left from before.

use std::sync::Arc;

use super::stores::said_quarantined;
use super::{Outside, PlantError};
use crate::actors::engine::Engine;
use crate::actors::lead_asker::LeadAsker;
use crate::actors::lead_desk::LeadDesk;
use crate::actors::lead_job::{LeadJobParts, LeadJobs};
use crate::actors::model_gate::ModelGate;
use crate::ai::chat::ChatClient;
use crate::ai::website::{Bounds, WebsiteChecker};
use crate::leads::{FreeMail, LeadSettings};
use crate::salesforce::transport::{HttpSetupError, tls_config};
use crate::store::assessments::AssessmentStore;
use crate::store::state_folder::StateFolder;
use crate::telemetry::Metrics;

/// Opens what asks the model; `None` when none is configured.
pub(super) fn asker(
    settings: &LeadSettings,
    engine: &Engine,
    state: &StateFolder,
    outside: &Outside,
    metrics: &Metrics,
) -> Result<Option<Arc<LeadAsker>>, PlantError> {
    let Some(model) = settings.model.clone() else { return Ok(None) };
    let client = ChatClient::new(&model)?;
    let gate = ModelGate::new(&model, outside.clock.clone(), engine.watch_run_state());
    let path = state.leads().join("assessments.sqlite");
    let opened = AssessmentStore::open(&path, Arc::clone(&outside.disk), outside.clock.clone())?;
    said_quarantined(metrics, "assessments", opened.quarantined);
    let websites = match settings.check_websites {
        true => Some(website_checker(outside)?),
        false => None,
    };
    let domains = FreeMail::new(&settings.free_mail_domains);
    let asker = LeadAsker::new(model, domains, client, gate, opened.store, metrics.clone(), websites);
    Ok(Some(Arc::new(asker)))
}

fn website_checker(outside: &Outside) -> Result<WebsiteChecker, HttpSetupError> {
    let checker = WebsiteChecker::new(tls_config(None)?, Bounds::default(), outside.clock.clone());
    checker.map_err(HttpSetupError::Client)
}

/// The desk of the lead jobs, with those that are left from before.
pub(super) async fn desk(parts: LeadJobParts) -> LeadDesk {
    LeadDesk::new(LeadJobs::load(parts).await)
}
