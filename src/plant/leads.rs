//! The plant's part for lead jobs: settings, the model's gate, the stores, and the jobs that are left from before.

use std::sync::Arc;

use super::{Outside, PlantError};
use crate::actors::engine::{Capacity, Engine, StageConfig};
use crate::actors::lead_asker::LeadAsker;
use crate::actors::lead_desk::LeadDesk;
use crate::actors::lead_job::{LeadJobParts, LeadJobs};
use crate::actors::model_gate::ModelGate;
use crate::ai::chat::ChatClient;
use crate::config::Config;
use crate::leads::LeadSettings;
use crate::store::assessments::AssessmentStore;
use crate::store::state_folder::StateFolder;

/// Until `[actors.lead_intake]` says otherwise.
pub(super) const INTAKE: StageConfig =
    StageConfig { slots: 2, mailbox: Capacity { items: 64, bytes: 64 << 20 } };
/// Until `[actors.assessor]` says otherwise.
pub(super) const ASSESSOR: StageConfig =
    StageConfig { slots: 4, mailbox: Capacity { items: 64, bytes: 8 << 20 } };

/// How lead jobs work.
pub(super) fn settings(_config: &Config) -> LeadSettings {
    LeadSettings::default()
}

/// Opens what asks the model; `None` when none is configured.
pub(super) fn asker(
    settings: &Arc<LeadSettings>,
    engine: &Engine,
    state: &StateFolder,
    outside: &Outside,
) -> Result<Option<Arc<LeadAsker>>, PlantError> {
    let Some(model) = settings.model.clone() else { return Ok(None) };
    let client = ChatClient::new(&model)?;
    let gate = ModelGate::new(&model, outside.clock.clone(), engine.watch_run_state());
    let store = AssessmentStore::open(&state.leads().join("assessments.sqlite"), Arc::clone(&outside.disk))?;
    Ok(Some(Arc::new(LeadAsker::new(Arc::clone(settings), model, client, gate, store))))
}

/// The desk of the lead jobs, with those that are left from before.
pub(super) async fn desk(parts: LeadJobParts) -> LeadDesk {
    LeadDesk::new(LeadJobs::load(parts).await)
}
