//! What a slot puts off while it goes from item to item without waiting.
//!
//! Telling upstream of each credit that came back, and the meter of each duration, costs as much as all else that the
//! engine does for an item; a putter that is woken for one credit also finds room for one item only. So both are told
//! when the slot's turn ends: before it waits for anything, and at the latest after [`ITEMS`] items or [`SPENT`] in
//! handlers. Nothing is lost with a slot: dropped, it tells; should its thread block for good, [`Mailbox::revoke`] tells.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use prometheus::local::LocalHistogram;

use super::mailbox::Mailbox;
use crate::telemetry::{ActorMetrics, MessageOutcome};

/// Most items of one turn.
const ITEMS: u64 = 64;

/// Most time that the handlers of one turn may take together, the last one's excess aside.
const SPENT: Duration = Duration::from_millis(1);

/// See the module's promises.
pub(super) struct Turn<T: 'static> {
    inbox: Arc<dyn Mailbox<T>>,
    waits: LocalHistogram,
    handles: LocalHistogram,
    done: IntCounter,
    passed_on: Cell<u64>,
    spent: Cell<Duration>,
}

impl<T> Turn<T> {
    pub fn new(inbox: Arc<dyn Mailbox<T>>, meter: &ActorMetrics) -> Self {
        let (waits, handles) = (meter.mailbox_wait_seconds.local(), meter.handle_seconds.local());
        let done = meter.messages(MessageOutcome::Done).clone();
        Self { inbox, waits, handles, done, passed_on: Cell::default(), spent: Cell::default() }
    }

    /// An item had waited so long in the mailbox.
    pub fn waited(&self, wait: Duration) {
        self.waits.observe(wait.as_secs_f64());
    }

    /// A handler took so long.
    pub fn handled(&self, took: Duration) {
        self.handles.observe(took.as_secs_f64());
        self.spent.set(self.spent.get() + took);
    }

    /// An item has passed on to the next stage, and is done here.
    pub fn passed_on(&self) {
        self.passed_on.set(self.passed_on.get() + 1);
    }

    /// An item has passed on, or ended, and the slot goes to the next one.
    pub fn goes_on(&self) {
        if self.handles.get_sample_count() >= ITEMS || self.spent.get() >= SPENT {
            self.end();
        }
    }

    /// Tells everybody.
    pub fn end(&self) {
        self.spent.set(Duration::ZERO);
        self.done.inc_by(self.passed_on.take());
        self.waits.flush();
        self.handles.flush();
        self.inbox.end_turn();
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        self.end();
    }
}
