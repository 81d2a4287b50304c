//! The figures that the engine counts for one actor, where they happen.
//!
//! Handles only: the catalogue in [`crate::telemetry`] names and registers them; tests use [`Meter::detached`].

use std::collections::BTreeMap;

use prometheus::{Counter, Histogram, HistogramOpts, IntCounter, IntGauge};

/// How an item left a stage's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Passed on or ended well.
    Done,
    /// Goes back for another attempt.
    Retried,
    /// Became a dead letter.
    Dead,
    /// Answered after its lease had been revoked: nothing happened.
    Fenced,
    /// Dropped because its job was cancelled.
    Cancelled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Done, Self::Retried, Self::Dead, Self::Fenced, Self::Cancelled];

    /// Label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Dead => "dead",
            Self::Fenced => "fenced",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartReason {
    /// A handler panicked; its item is the culprit.
    Panic,
    /// A handler, a service or a thread showed no progress in time.
    Stuck,
    /// It died without a culprit: in its start, a timer, its factory.
    Died,
    /// Somebody asked for it.
    Requested,
}

impl RestartReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Panic, Self::Stuck, Self::Died, Self::Requested];

    /// Label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Stuck => "stuck",
            Self::Died => "died",
            Self::Requested => "requested",
        }
    }
}

/// The prometheus handles of one actor.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each is documented in docs/metrics.md under penstock_actor_<name>")]
pub struct Meter {
    pub mailbox_messages: IntGauge,
    pub mailbox_bytes: IntGauge,
    pub mailbox_capacity_messages: IntGauge,
    pub mailbox_capacity_bytes: IntGauge,
    pub messages: BTreeMap<Outcome, IntCounter>,
    pub done: IntCounter,
    pub handle_seconds: Histogram,
    pub mailbox_wait_seconds: Histogram,
    pub blocked_seconds: Counter,
    pub restarts: BTreeMap<RestartReason, IntCounter>,
    pub redeliveries: IntCounter,
    pub in_flight: IntGauge,
    pub incarnation: IntGauge,
    pub dead_letters: IntCounter,
}

impl Meter {
    /// Handles that no registry knows.
    ///
    /// # Panics
    /// Never: the names are fixed and valid.
    pub fn detached() -> Self {
        let counter = || IntCounter::new("detached_total", "detached").expect("a fixed, valid name");
        let gauge = || IntGauge::new("detached", "detached").expect("a fixed, valid name");
        let histogram = || {
            Histogram::with_opts(HistogramOpts::new("detached_seconds", "detached"))
                .expect("a fixed, valid name")
        };
        let messages: BTreeMap<_, _> = Outcome::ALL.into_iter().map(|outcome| (outcome, counter())).collect();
        Self {
            mailbox_messages: gauge(),
            mailbox_bytes: gauge(),
            mailbox_capacity_messages: gauge(),
            mailbox_capacity_bytes: gauge(),
            done: messages[&Outcome::Done].clone(),
            messages,
            handle_seconds: histogram(),
            mailbox_wait_seconds: histogram(),
            blocked_seconds: Counter::new("detached_blocked_seconds_total", "detached")
                .expect("a fixed, valid name"),
            restarts: RestartReason::ALL.into_iter().map(|reason| (reason, counter())).collect(),
            redeliveries: counter(),
            in_flight: gauge(),
            incarnation: gauge(),
            dead_letters: counter(),
        }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.messages[&outcome].inc();
    }

    pub(crate) fn restarted(&self, reason: RestartReason) {
        self.restarts[&reason].inc();
    }

    /// Restarts so far, all reasons together.
    pub fn restarts_total(&self) -> u64 {
        self.restarts.values().map(IntCounter::get).sum()
    }
}
