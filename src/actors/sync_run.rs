//! A load under way in this process: which of its parts are durable, and whether it can still come to a good end.
//!
//! Promises: a part counts once, however often it is staged; the first trouble that no retry mends ends its load, and no other
//! (*isolated*). Everything here can be had again from the journal and the warehouse.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;

use crate::messages::{Header, JobId};
use crate::sync::{KEYS_FROM, LoadPlan, PartNumber, PartReceipt, SPARED_FROM};
use crate::warehouse::WarehouseError;

/// The engine's job for a load's parts.
pub fn job_of(plan: &LoadPlan) -> JobId {
    JobId::new(&format!("sync-{}", plan.id))
}

/// The loads of this process, by job. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct SyncLoads(Arc<DashMap<JobId, Arc<SyncLoad>>>);

impl SyncLoads {
    pub(super) fn begin(&self, plan: Arc<LoadPlan>) -> Arc<SyncLoad> {
        let job = job_of(&plan);
        let load = Arc::new(SyncLoad {
            plan,
            parts: Mutex::default(),
            trouble: OnceLock::new(),
            troubled: Notify::new(),
            down_since: Mutex::default(),
            staged_rows: AtomicU64::new(0),
        });
        self.0.insert(job, Arc::clone(&load));
        load
    }

    pub(super) fn end(&self, plan: &LoadPlan) {
        self.0.remove(&job_of(plan));
    }

    /// The load that an item belongs to; `None` once it is over.
    pub(super) fn of(&self, header: &Header) -> Option<Arc<SyncLoad>> {
        self.0.get(&header.job).map(|load| Arc::clone(load.value()))
    }
}

/// See the module's promises.
#[derive(Debug)]
pub struct SyncLoad {
    pub(super) plan: Arc<LoadPlan>,
    parts: Mutex<BTreeMap<PartNumber, u64>>,
    trouble: OnceLock<Arc<WarehouseError>>,
    troubled: Notify,
    /// Since when, by the clock's count, the warehouse has failed at every try, and what it said last.
    down_since: Mutex<Option<(Duration, String)>>,
    staged_rows: AtomicU64,
}

impl SyncLoad {
    /// A part is durable.
    pub(super) fn note_staged(&self, receipt: PartReceipt) {
        self.note_up();
        let mut parts = self.lock_parts();
        parts.insert(receipt.part, receipt.rows);
        let rows = rows_of(&parts);
        self.staged_rows.store(rows, Ordering::Relaxed);
    }

    /// What the warehouse has already.
    pub(super) fn know_staged(&self, receipts: &[PartReceipt]) {
        let mut parts = self.lock_parts();
        *parts = receipts.iter().map(|receipt| (receipt.part, receipt.rows)).collect();
        self.staged_rows.store(rows_of(&parts), Ordering::Relaxed);
    }

    /// Every part that is durable.
    pub(super) fn receipts(&self) -> Vec<PartReceipt> {
        self.lock_parts().iter().map(|(part, rows)| PartReceipt { part: *part, rows: *rows }).collect()
    }

    /// Rows that are durable, keys not counted.
    pub(super) fn staged_rows(&self) -> u64 {
        self.staged_rows.load(Ordering::Relaxed)
    }

    /// Whether some keys of the window are durable.
    pub(super) fn has_keys(&self) -> bool {
        self.lock_parts().range(PartNumber(KEYS_FROM)..PartNumber(SPARED_FROM)).next().is_some()
    }

    /// Rows in parts below `part`.
    pub(super) fn staged_before(&self, part: PartNumber) -> u64 {
        self.lock_parts().range(..part).map(|(_, rows)| rows).sum()
    }

    /// The load cannot go on; the first trouble is the one that is told.
    pub(super) fn fail(&self, trouble: WarehouseError) {
        // The first one stands.
        let _ = self.trouble.set(Arc::new(trouble));
        self.troubled.notify_waiters();
    }

    pub(super) fn trouble(&self) -> Option<Arc<WarehouseError>> {
        self.trouble.get().cloned()
    }

    /// Resolves with the trouble, when there is some.
    pub(super) async fn failed(&self) -> Arc<WarehouseError> {
        loop {
            let troubled = self.troubled.notified();
            tokio::pin!(troubled);
            troubled.as_mut().enable();
            if let Some(trouble) = self.trouble() {
                return trouble;
            }
            troubled.await;
        }
    }

    /// The warehouse failed for a passing reason at `now`; returns for how long it has done nothing else.
    pub(super) fn note_down(&self, now: Duration, why: &str) -> Duration {
        let mut down = self.down_since.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, last) = down.get_or_insert_with(|| (now, String::new()));
        why.clone_into(last);
        now.saturating_sub(*since)
    }

    pub(super) fn note_up(&self) {
        *self.down_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the load waits for, while the warehouse fails.
    pub(super) fn waits(&self) -> Option<String> {
        let down = self.down_since.lock().unwrap_or_else(PoisonError::into_inner);
        down.as_ref().map(|(_, why)| why.clone())
    }

    fn lock_parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<PartNumber, u64>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rows_of(parts: &BTreeMap<PartNumber, u64>) -> u64 {
    parts.range(..PartNumber(KEYS_FROM)).map(|(_, rows)| rows).sum()
}

#[cfg(test)]
pub(super) fn plan_for_tests() -> LoadPlan {
    use crate::sync::{ColumnType, DeletePolicy, LoadId, LoadMode, TableColumn, TableLayout};
    let column = |name: &str, kind| TableColumn { field: name.to_owned(), name: name.to_owned(), kind };
    LoadPlan {
        id: LoadId::new(1, 1),
        org: "demo".parse().unwrap(),
        object: "Lead".parse().unwrap(),
        table: "lead".parse().unwrap(),
        mode: LoadMode::Upsert,
        layout: TableLayout {
            columns: vec![column("Id", ColumnType::Id), column("SystemModstamp", ColumnType::DateTime)],
            key: 0,
            stamp: Some(1),
            deleted: None,
            deleted_column: "IsDeleted".to_owned(),
        },
        deletes: DeletePolicy::Flag,
        from: None,
        to: None,
        schema_version: 1,
        stage: None,
        is_filtered: false,
        origin: None,
        ousts: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Arc<SyncLoad> {
        SyncLoads::default().begin(Arc::new(plan_for_tests()))
    }

    fn receipt(part: u32, rows: u64) -> PartReceipt {
        PartReceipt { part: PartNumber(part), rows }
    }

    #[test]
    fn a_part_that_is_staged_twice_counts_once_and_keys_are_no_rows() {
        let load = load();
        for part in [
            receipt(0, 10),
            receipt(1_000, 5),
            receipt(0, 10),
            receipt(KEYS_FROM, 99),
            receipt(SPARED_FROM, 7),
        ] {
            load.note_staged(part);
        }
        assert_eq!(load.staged_rows(), 15);
        assert!(load.has_keys());
        assert_eq!(load.staged_before(PartNumber(1_000)), 10);
    }

    #[tokio::test]
    async fn the_first_trouble_is_told_to_whoever_asks_before_or_after() {
        let load = load();
        let early = tokio::spawn({
            let load = Arc::clone(&load);
            async move { load.failed().await.to_string() }
        });
        tokio::task::yield_now().await;
        load.fail(WarehouseError::Full("no inodes".to_owned()));
        load.fail(WarehouseError::Closed);
        assert!(early.await.unwrap().contains("no inodes"));
        assert!(load.failed().await.to_string().contains("no inodes"));
    }

    #[test]
    fn the_time_that_the_warehouse_is_down_begins_with_the_first_failure_and_ends_with_a_success() {
        let load = load();
        let secs = Duration::from_secs;
        assert_eq!(load.note_down(secs(5), "locked"), secs(0));
        assert_eq!(load.note_down(secs(9), "locked still"), secs(4));
        assert_eq!(load.waits().as_deref(), Some("locked still"));
        load.note_staged(receipt(0, 1));
        assert_eq!((load.waits(), load.note_down(secs(20), "again")), (None, secs(0)));
    }
}
