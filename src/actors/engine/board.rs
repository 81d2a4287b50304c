//! What a watcher on another thread may see of a stage without asking it.
//!
//! A stage whose thread is blocked answers no message, so the watchdog reads these atomics instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::mailbox::LeaseId;
use crate::clock::SharedClock;

/// One slot: idle, working since some moment, or waiting for something that is not its fault.
#[derive(Debug, Default)]
pub struct SlotBoard {
    /// 0 is idle; otherwise milliseconds since the clock's start, plus one, of the last sign of progress.
    busy_since: AtomicU64,
    suspended: AtomicU64,
    lease: AtomicU64,
}

impl SlotBoard {
    pub(super) fn begin(&self, lease: LeaseId, now: Duration) {
        self.lease.store(lease.pack(), Ordering::Relaxed);
        self.busy_since.store(stamp(now), Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.busy_since.store(0, Ordering::Release);
    }

    pub(super) fn progress(&self, now: Duration) {
        self.busy_since.store(stamp(now), Ordering::Release);
    }

    pub(super) fn suspend(self: &Arc<Self>, clock: SharedClock) -> Suspended {
        self.suspended.fetch_add(1, Ordering::AcqRel);
        Suspended { slot: Arc::clone(self), clock }
    }

    /// The lease in hand, if it has shown no progress for longer than `timeout`.
    pub(super) fn overdue(&self, now: Duration, timeout: Duration) -> Option<LeaseId> {
        let since = self.busy_since.load(Ordering::Acquire);
        if since == 0 || self.suspended.load(Ordering::Acquire) > 0 {
            return None;
        }
        let idle = (now.as_millis() as u64 + 1).saturating_sub(since);
        (Duration::from_millis(idle) > timeout).then(|| LeaseId::unpack(self.lease.load(Ordering::Relaxed)))
    }
}

fn stamp(now: Duration) -> u64 {
    now.as_millis() as u64 + 1
}

/// While it lives, the slot's timeout does not run.
pub struct Suspended {
    slot: Arc<SlotBoard>,
    clock: SharedClock,
}

impl std::fmt::Debug for Suspended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suspended").finish_non_exhaustive()
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        self.slot.progress(self.clock.elapsed());
        self.slot.suspended.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_slot_is_overdue_only_without_progress_and_never_while_it_waits() {
        let clock = ManualClock::new();
        let slot = Arc::new(SlotBoard::default());
        let lease = LeaseId { place: 3, turn: 9 };
        assert_eq!(slot.overdue(SECOND * 9, SECOND), None, "idle");
        slot.begin(lease, Duration::ZERO);
        assert_eq!(slot.overdue(SECOND, SECOND), None, "within its time");
        assert_eq!(slot.overdue(SECOND * 2, SECOND), Some(lease));
        slot.progress(SECOND * 2);
        assert_eq!(slot.overdue(SECOND * 2, SECOND), None, "progressed");
        let suspended = slot.suspend(clock.clone());
        assert_eq!(slot.overdue(SECOND * 99, SECOND), None, "waits for a permit");
        clock.advance(SECOND * 99);
        drop(suspended);
        assert_eq!(slot.overdue(SECOND * 99, SECOND), None, "its time starts anew after the wait");
        assert_eq!(slot.overdue(SECOND * 101, SECOND), Some(lease));
    }
}
