//! The sync-writer: makes effects, exactly once.
//!
//! Promises (*once*): an object's documents, their vectors and the note that this job wrote the object commit in one
//! transaction; writing it again changes nothing. A lead's outcome is written once: a second one is passed over. (*honest*)
//! What is counted as written is what the store said it wrote. The stores lie outside the actor, each on a thread of its
//! own; a restart costs the batch in hand.

use std::sync::Arc;

use super::embedder::store_error;
use super::engine::{Nothing, Output, Stage, StageCx, StageError};
use super::lead_intake::kept;
use super::lead_run::LeadRuns;
use super::schema_run::SchemaRuns;
use crate::messages::{LeadResults, ObjectBatch, WriteBatch};
use crate::telemetry::Metrics;
use crate::vectors::{LibraryStore, ObjectWrite};

/// See the module's promises.
#[derive(Debug, Clone)]
pub struct SyncWriter {
    store: LibraryStore,
    runs: SchemaRuns,
    lead_runs: LeadRuns,
    metrics: Metrics,
}

impl SyncWriter {
    /// A writer into `store`, and into the stores of the lead jobs.
    pub fn new(store: LibraryStore, runs: SchemaRuns, lead_runs: LeadRuns, metrics: Metrics) -> Self {
        Self { store, runs, lead_runs, metrics }
    }

    async fn objects(&self, batch: &ObjectBatch, cx: &StageCx) -> Result<(), StageError> {
        let objects = batch.objects.iter().map(|object| ObjectWrite {
            org: object.org.clone(),
            object: object.object.clone(),
            documents: object.documents.clone(),
        });
        let report = self.store.write(cx.header().job.as_str(), objects.collect()).await;
        let report = report.map_err(|error| store_error(&error))?;
        self.metrics.schema_objects_total.with_label_values(&["written"]).inc_by(report.objects);
        self.runs.note_written(cx.header(), &report);
        Ok(())
    }

    async fn leads(&self, leads: &LeadResults, cx: &StageCx) -> Result<(), StageError> {
        let run = self.lead_runs.of(cx.header());
        let run = run.ok_or_else(|| StageError::fatal("the job that these leads belonged to has ended"))?;
        run.store.write(leads.results.clone()).await.map_err(|error| kept(&error))?;
        run.left_line(leads.results.len());
        Ok(())
    }
}

impl Stage for SyncWriter {
    type In = WriteBatch;
    type Out = Nothing;
    const NAME: &'static str = "sync_writer";

    async fn run(&self, batch: Arc<WriteBatch>, cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        match &*batch {
            WriteBatch::Objects(batch) => self.objects(batch, cx).await?,
            WriteBatch::Leads(leads) => self.leads(leads, cx).await?,
        }
        Ok(Output::None)
    }
}
