//! The warehouse writer: makes parts of loads durable in the warehouse.
//!
//! Promises: an item is acked when its part is durable, or when its load is over (*durable*); a warehouse that is down or
//! locked holds parts up without spending attempts, for as long as a load may wait; a trouble that no retry mends ends that
//! load alone (*isolated*). A restart costs the parts in hand, which are staged again and count once.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Nothing, Output, Stage, StageCx, StageError};
use super::sync_pool::WarehousePool;
use super::sync_run::SyncLoads;
use crate::messages::SyncPart;
use crate::sync::PartReceipt;
use crate::warehouse::{PartSource, WarehouseError};

/// How long is waited for a warehouse that fails for a passing reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Pause before the next try.
    pub pause: Duration,
    /// Longest time of nothing but failures; the load then fails, and goes on when its object is next synced.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_secs(2), longest: Duration::from_secs(600) }
    }
}

/// See the module's promises.
#[derive(Debug, Clone)]
pub struct WarehouseWriter {
    pool: WarehousePool,
    loads: SyncLoads,
    patience: Patience,
}

impl WarehouseWriter {
    /// A writer for the loads in `loads`.
    pub fn new(pool: WarehousePool, loads: SyncLoads, patience: Patience) -> Self {
        Self { pool, loads, patience }
    }
}

impl Stage for WarehouseWriter {
    type In = SyncPart;
    type Out = Nothing;
    const NAME: &'static str = "warehouse_writer";

    async fn run(&self, item: Arc<SyncPart>, cx: &StageCx) -> Result<Output<Nothing>, StageError> {
        // A load that is over has no use for its parts: it committed without them, or will read them again.
        let Some(load) = self.loads.of(cx.header()).filter(|load| load.trouble().is_none()) else {
            return Ok(Output::None);
        };
        let Some(source) = item.source.clone() else {
            return Err(StageError::fatal("its rows went with the process that had read them"));
        };
        let (plan, part) = (Arc::clone(&load.plan), item.part);
        let of_stage = Arc::clone(&source);
        // The warehouse's time is not this handler's fault; the pool ends what never ends.
        let staged =
            cx.waiting(self.pool.call(move |warehouse| warehouse.stage(&plan, part, &of_stage))).await;
        match staged {
            Ok(receipt) => match miscounted(&source, receipt) {
                None => load.note_staged(receipt),
                Some(error) => load.fail(error),
            },
            Err(error) if error.is_transient() => {
                let down_for = load.note_down(cx.clock().elapsed(), &error.to_string());
                if down_for < self.patience.longest {
                    return Err(StageError::Throttled { after: self.patience.pause, why: error.to_string() });
                }
                load.fail(error);
            }
            Err(error) => load.fail(error),
        }
        Ok(Output::None)
    }
}

fn miscounted(source: &PartSource, receipt: PartReceipt) -> Option<WarehouseError> {
    let (what, expected) = match source {
        PartSource::Rows(chunk) => ("rows", chunk.rows() as u64),
        PartSource::File(file) => ("rows", file.rows),
        PartSource::Keys(chunk) => ("keys", chunk.rows() as u64),
    };
    (receipt.rows != expected).then_some(WarehouseError::OtherCount { what, expected, staged: receipt.rows })
}
