//! The embedder: gives every changed document its vector.
//!
//! Promises: a document whose content hash the store holds is not embedded again. The model is shared and loaded once; a
//! restart costs the batch in hand.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Output, Stage, StageCx, StageError};
use super::fetcher::chain;
use crate::ai::Embedder as Model;
use crate::messages::write::EmbeddedObject;
use crate::messages::{ObjectBatch, SealedTexts, WriteBatch};
use crate::model::EmbeddedDocument;
use crate::telemetry::Metrics;
use crate::vectors::{LibraryStore, LibraryStoreError};

/// See the module's promises.
#[derive(Clone)]
pub struct Embedder {
    model: Arc<dyn Model>,
    store: LibraryStore,
    metrics: Metrics,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("model", &self.model.model_name()).finish_non_exhaustive()
    }
}

impl Embedder {
    /// An embedder by `model`; `store` knows what need not be embedded.
    pub fn new(model: Arc<dyn Model>, store: LibraryStore, metrics: Metrics) -> Self {
        Self { model, store, metrics }
    }
}

impl Stage for Embedder {
    type In = SealedTexts;
    type Out = WriteBatch;
    const NAME: &'static str = "embedder";

    async fn run(&self, texts: Arc<SealedTexts>, cx: &StageCx) -> Result<Output<WriteBatch>, StageError> {
        let Some(first) = texts.objects.first() else { return Ok(Output::None) };
        let names = texts.objects.iter().map(|object| object.object.clone()).collect();
        let stored =
            self.store.content_hashes(first.org.clone(), names).await.map_err(|error| store_error(&error))?;
        let (model, metrics) = (Arc::clone(&self.model), self.metrics.clone());
        let embedded = cx.blocking(move || {
            let mut changed: HashSet<(usize, usize)> = HashSet::new();
            let mut to_embed: Vec<&str> = Vec::new();
            for (at, object) in texts.objects.iter().enumerate() {
                for (nth, document) in object.documents.iter().enumerate() {
                    let known = stored.get(at).and_then(|hashes| hashes.get(&document.id));
                    if known != Some(&document.content_hash) {
                        changed.insert((at, nth));
                        to_embed.push(document.embedding_text.as_deref().unwrap_or(&document.text));
                    }
                }
            }
            let mut vectors = model.embed(&to_embed)?.into_iter();
            let (mut embedded, mut unchanged) = (0, 0);
            let objects = texts.objects.iter().enumerate().map(|(at, object)| EmbeddedObject {
                org: object.org.clone(),
                object: object.object.clone(),
                documents: object
                    .documents
                    .iter()
                    .enumerate()
                    .map(|(nth, document)| {
                        let vector = if changed.contains(&(at, nth)) {
                            embedded += 1;
                            vectors.next()
                        } else {
                            unchanged += 1;
                            None
                        };
                        EmbeddedDocument { document: document.clone(), vector }
                    })
                    .collect(),
            });
            let batch = WriteBatch::Objects(ObjectBatch { objects: objects.collect() });
            metrics.embed_texts_total.with_label_values(&["embedded"]).inc_by(embedded);
            metrics.embed_texts_total.with_label_values(&["unchanged"]).inc_by(unchanged);
            Ok::<_, crate::ai::EmbedError>(batch)
        });
        embedded.await.map(Output::One).map_err(|error| StageError::retry(chain(&error)))
    }
}

/// A full disk holds the work up without spending attempts; anything else is tried again.
pub(super) fn store_error(error: &LibraryStoreError) -> StageError {
    const WHILE_DISK_IS_FULL: Duration = Duration::from_secs(2);
    if error.is_disk_full() {
        tracing::error!(error = chain(error), "work waits until there is room");
        return StageError::Throttled { after: WHILE_DISK_IS_FULL, why: chain(error) };
    }
    StageError::retry(chain(error))
}
