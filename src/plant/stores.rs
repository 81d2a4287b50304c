//! The plant's stores: the journal, the cache and the library.
//!
//! Promises: a damaged store is put aside, told, counted and made anew; nothing of it is thrown away.

use std::sync::Arc;
use std::time::Duration;

use super::{Outside, PlantError};
use crate::actors::engine::Journal;
use crate::ai::Embedder as Model;
use crate::config::Config;
use crate::store::cache::{CacheOptions, CacheStore};
use crate::store::journal::{JournalMeter, SledJournal};
use crate::store::state_folder::{StateFolder, quarantine_database};
use crate::telemetry::Metrics;
use crate::vectors::{VectorStore, VectorStoreErrorKind};

pub(super) fn said_quarantined(
    metrics: &Metrics,
    store: &'static str,
    put_aside: Option<(std::path::PathBuf, String)>,
) {
    if let Some((aside, why)) = put_aside {
        tracing::error!(store, aside = %aside.display(), why, "a damaged store was put aside and is made anew");
        metrics.store_quarantines_total.with_label_values(&[store]).inc();
    }
}

pub(super) fn open_journal(
    config: &Config,
    state: &StateFolder,
    outside: &Outside,
    metrics: &Metrics,
) -> Result<Arc<dyn Journal>, PlantError> {
    let meter = JournalMeter {
        commits: metrics.journal_commits_total.clone(),
        fsync_seconds: metrics.store_fsync_seconds.with_label_values(&["journal"]),
    };
    let memory = config.engine.journal_memory_bytes.bytes();
    let opened =
        SledJournal::open(&state.journal(), memory, Arc::clone(&outside.disk), &outside.clock, meter)
            .map_err(|source| PlantError::Store { what: "journal", source })?;
    said_quarantined(metrics, "journal", opened.quarantined);
    Ok(Arc::new(opened.journal))
}

pub(super) fn open_cache(
    config: &Config,
    state: &StateFolder,
    outside: &Outside,
    metrics: &Metrics,
) -> Result<CacheStore, PlantError> {
    let options = CacheOptions {
        ttl: Duration::from_secs(config.cache.ttl_secs),
        bytes_max: config.cache.max_bytes.bytes(),
        memory_bytes: config.cache.memory_bytes.bytes(),
        zstd_level: config.cache.zstd_level,
    };
    let (cache, aside) =
        CacheStore::open(&state.cache(), options, Arc::clone(&outside.disk), outside.clock.clone())
            .map_err(|source| PlantError::Store { what: "cache", source })?;
    said_quarantined(metrics, "cache", aside);
    Ok(cache)
}

pub(super) fn open_library(
    state: &StateFolder,
    outside: &Outside,
    metrics: &Metrics,
    model: &dyn Model,
) -> Result<VectorStore, PlantError> {
    let path = state.library();
    let open = || VectorStore::open(&path, model.dimensions(), model.model_name());
    match open() {
        Err(error)
            if matches!(error.kind(), VectorStoreErrorKind::OtherVersion | VectorStoreErrorKind::Damaged) =>
        {
            let aside = quarantine_database(&path, &outside.clock)
                .map_err(|source| PlantError::Store { what: "library", source })?;
            said_quarantined(metrics, "vectors", Some((aside, error.to_string())));
            Ok(open()?)
        }
        Err(error) if error.kind() == VectorStoreErrorKind::OtherModel => {
            let aside = quarantine_database(&path, &outside.clock)
                .map_err(|source| PlantError::Store { what: "library", source })?;
            // Somebody wanted it, so it is neither an error nor counted as one.
            tracing::warn!(
                aside = %aside.display(),
                why = %error,
                "another model is set: the library was put aside, the next schema run embeds everything anew"
            );
            Ok(open()?)
        }
        opened => Ok(opened?),
    }
}
