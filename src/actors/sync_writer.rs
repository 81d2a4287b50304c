//! The sync-writer: makes effects, exactly once.
//!
//! Promises (*once*): an object's documents, their vectors and the note that this job wrote the object commit in one
//! transaction; writing it again changes nothing. (*honest*) What is counted as written is what the store said it wrote.
//! The store lies outside the actor, on a thread of its own; a restart costs the batch in hand.

use std::sync::Arc;

use super::embedder::store_error;
use super::engine::{Nothing, Output, Stage, StageCx, StageError};
use super::schema_run::SchemaRuns;
use crate::messages::WriteBatch;
use crate::telemetry::Metrics;
use crate::vectors::{LibraryStore, ObjectWrite};

/// See the module's promises.
#[derive(Debug, Clone)]
pub struct SyncWriter {
    store: LibraryStore,
    runs: SchemaRuns,
    metrics: Metrics,
}

impl SyncWriter {
    /// A writer into `store`.
    pub fn new(store: LibraryStore, runs: SchemaRuns, metrics: Metrics) -> Self {
        Self { store, runs, metrics }
    }
}

impl Stage for SyncWriter {
    type In = WriteBatch;
    type Out = Nothing;
    const NAME: &'static str = "sync_writer";

    async fn run(&self, batch: Arc<WriteBatch>, cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        let objects = batch.objects.iter().map(|object| ObjectWrite {
            org: object.org.clone(),
            object: object.object.clone(),
            documents: object.documents.clone(),
        });
        let report = self.store.write(cx.header().job.as_str(), objects.collect()).await;
        let report = report.map_err(|error| store_error(&error))?;
        self.metrics.schema_objects_total.with_label_values(&["written"]).inc_by(report.objects);
        self.runs.note_written(cx.header(), &report);
        Ok(Output::None)
    }
}
