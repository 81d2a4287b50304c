//! Counts what each job still has on the line, and tells when it has run dry.
//!
//! Promises: children are counted before their parent is uncounted, so `live` reaches zero only when the
//! last item of the job has ended, whatever splits and merges happened on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use dashmap::DashMap;
use serde::Serialize;
use tokio::sync::Notify;

use crate::messages::JobId;

/// One job's counts. Cheap to share: every envelope of the job holds it.
#[derive(Debug)]
pub struct JobEntry {
    id: JobId,
    serial: u64,
    live: AtomicI64,
    admitted: AtomicU64,
    done: AtomicU64,
    dead: AtomicU64,
    cancelled_items: AtomicU64,
    cancelled: AtomicBool,
    changed: Notify,
}

/// What a job's counts were at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct JobCounts {
    /// Items on the line now.
    pub live: i64,
    /// Items that entered the line, children not counted.
    pub admitted: u64,
    /// Items that ended with no output of their own.
    pub done: u64,
    /// Items that ended as dead letters.
    pub dead: u64,
    /// Items dropped because the job was cancelled.
    pub cancelled: u64,
}

impl JobEntry {
    /// A job with nothing on the line.
    pub fn new(id: JobId) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id,
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            live: AtomicI64::new(0),
            admitted: AtomicU64::new(0),
            done: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            cancelled_items: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Tells this entry from every other of the process.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// An item enters the line. Call before the put, and [`JobEntry::withdraw`] if the put fails.
    pub fn admit(&self) {
        self.live.fetch_add(1, Ordering::AcqRel);
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes an [`JobEntry::admit`] back: the line would not have the item.
    pub fn withdraw(&self) {
        self.admitted.fetch_sub(1, Ordering::Relaxed);
        self.end(1);
    }

    /// `children` outputs are about to be put.
    pub(super) fn expect(&self, children: usize) {
        self.live.fetch_add(children as i64, Ordering::AcqRel);
    }

    /// An item passed its outputs on, or, with none, ended well.
    pub(super) fn acked(&self, leaf: bool) {
        if leaf {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        self.end(1);
    }

    /// An item became a dead letter.
    pub(super) fn died(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
        self.end(1);
    }

    /// An item of a cancelled job was dropped.
    pub(super) fn dropped(&self) {
        self.cancelled_items.fetch_add(1, Ordering::Relaxed);
        self.end(1);
    }

    pub(super) fn end(&self, items: usize) {
        let before = self.live.fetch_sub(items as i64, Ordering::AcqRel);
        debug_assert!(before >= items as i64, "an item ended that was never counted");
        if before == items as i64 {
            self.changed.notify_waiters();
        }
    }

    /// Drops the job's items at their next lease.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// The job was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// The counts now.
    pub fn counts(&self) -> JobCounts {
        JobCounts {
            live: self.live.load(Ordering::Acquire),
            admitted: self.admitted.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            dead: self.dead.load(Ordering::Relaxed),
            cancelled: self.cancelled_items.load(Ordering::Relaxed),
        }
    }

    /// Resolves when nothing of the job is on the line. A source must have finished admitting first.
    pub async fn ran_dry(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.live.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// All jobs of this process, by id.
#[derive(Debug, Default)]
pub struct JobLedger {
    jobs: DashMap<JobId, Arc<JobEntry>>,
}

impl JobLedger {
    /// The entry of a job, made when it is new.
    pub fn entry(&self, id: &JobId) -> Arc<JobEntry> {
        Arc::clone(self.jobs.entry(id.clone()).or_insert_with(|| JobEntry::new(id.clone())).value())
    }

    /// Forgets a job. Items still on the line keep their entry.
    pub fn forget(&self, id: &JobId) {
        self.jobs.remove(id);
    }

    /// Counts of every job, sorted by id.
    pub fn snapshot(&self) -> Vec<(JobId, JobCounts)> {
        let mut rows: Vec<_> =
            self.jobs.iter().map(|job| (job.key().clone(), job.value().counts())).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }

    /// Items on the line, all jobs together.
    pub fn live(&self) -> i64 {
        self.jobs.iter().map(|job| job.value().counts().live).sum()
    }
}
