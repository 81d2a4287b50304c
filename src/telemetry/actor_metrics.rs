//! One actor's series, looked up once: on the hot path a count is one atomic addition.

use prometheus::{Counter, Histogram, IntCounter, IntGauge};

use super::metrics::Instruments;

macro_rules! label_values {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$value_meta:meta])* $variant:ident = $value:literal ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$value_meta])* $variant ),* }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $value ),* }
            }
        }
    };
}

label_values! {
    /// How an item left an actor's hands.
    pub enum MessageOutcome {
        /// Its output was accepted downstream.
        Done = "done",
        /// It goes round again.
        Retried = "retried",
        /// It was given up.
        Dead = "dead",
        /// Its answer came after its lease was lost.
        Fenced = "fenced",
        /// It was dropped because its job was cancelled.
        Cancelled = "cancelled",
    }
}

label_values! {
    /// What ended an incarnation.
    pub enum RestartReason {
        /// A panic while it worked on an item.
        Panic = "panic",
        /// No progress within the handler's timeout.
        Stuck = "stuck",
        /// A death without a culprit.
        Died = "died",
        /// Someone asked for it.
        Requested = "requested",
        /// A connection that it was built on is gone; asked for by the actor itself, never charged to the restart budget.
        Connection = "connection",
    }
}

label_values! {
    /// Why an item is handed out again.
    pub enum RedeliveryReason {
        /// The stage asked for another attempt.
        Retry = "retry",
        /// The org or a model said "later".
        Throttled = "throttled",
        /// The attempt panicked.
        Panic = "panic",
        /// The attempt made no progress in time.
        Stuck = "stuck",
        /// The incarnation ended through no fault of the item.
        Bystander = "bystander",
    }
}

label_values! {
    /// What an actor is doing.
    pub enum ActorState {
        /// At work or waiting for it.
        Running = "running",
        /// Between two incarnations.
        Restarting = "restarting",
        /// A handler makes no progress.
        Stuck = "stuck",
        /// Past its restart budget.
        Degraded = "degraded",
        /// Not started, drained or ended.
        Stopped = "stopped",
    }
}

/// Counts up at birth and down when dropped, so that a gauge cannot drift over a panic or an early return.
#[derive(Debug)]
pub struct Counted {
    gauge: IntGauge,
    by: i64,
}

impl Counted {
    /// Adds `by` to the gauge for as long as this lives.
    pub fn new(gauge: &IntGauge, by: i64) -> Self {
        gauge.add(by);
        Self { gauge: gauge.clone(), by }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.sub(self.by);
    }
}

/// Handles to one actor's series; a clone is another handle to the same.
#[derive(Debug, Clone)]
pub struct ActorMetrics {
    /// Items held: waiting, in hand, or waiting for downstream.
    pub mailbox_messages: IntGauge,
    /// Their bytes.
    pub mailbox_bytes: IntGauge,
    /// Items that may be held.
    pub mailbox_capacity_messages: IntGauge,
    /// Bytes that may be held.
    pub mailbox_capacity_bytes: IntGauge,
    /// Seconds of work on an item or batch.
    pub handle_seconds: Histogram,
    /// Seconds an item waited to be leased.
    pub mailbox_wait_seconds: Histogram,
    /// Seconds spent waiting for room downstream.
    pub blocked_seconds: Counter,
    /// Items given up.
    pub dead_letters: IntCounter,
    /// Items in hand.
    pub in_flight: IntGauge,
    /// Number of the incarnation at work.
    pub incarnation: IntGauge,
    messages: Vec<IntCounter>,
    restarts: Vec<IntCounter>,
    redeliveries: Vec<IntCounter>,
    states: Vec<IntGauge>,
}

impl ActorMetrics {
    pub(super) fn new(all: &Instruments, actor: &str) -> Self {
        let one = [actor];
        let counters = |vec: &prometheus::IntCounterVec, values: &mut dyn Iterator<Item = &'static str>| {
            values.map(|value| vec.with_label_values(&[actor, value])).collect::<Vec<_>>()
        };
        let made = Self {
            mailbox_messages: all.actor_mailbox_messages.with_label_values(&one),
            mailbox_bytes: all.actor_mailbox_bytes.with_label_values(&one),
            mailbox_capacity_messages: all.actor_mailbox_capacity_messages.with_label_values(&one),
            mailbox_capacity_bytes: all.actor_mailbox_capacity_bytes.with_label_values(&one),
            handle_seconds: all.actor_handle_seconds.with_label_values(&one),
            mailbox_wait_seconds: all.actor_mailbox_wait_seconds.with_label_values(&one),
            blocked_seconds: all.actor_blocked_seconds_total.with_label_values(&one),
            dead_letters: all.actor_dead_letters_total.with_label_values(&one),
            in_flight: all.actor_in_flight.with_label_values(&one),
            incarnation: all.actor_incarnation.with_label_values(&one),
            messages: counters(
                &all.actor_messages_total,
                &mut MessageOutcome::ALL.iter().map(|value| value.as_str()),
            ),
            restarts: counters(
                &all.actor_restarts_total,
                &mut RestartReason::ALL.iter().map(|value| value.as_str()),
            ),
            redeliveries: counters(
                &all.actor_redeliveries_total,
                &mut RedeliveryReason::ALL.iter().map(|value| value.as_str()),
            ),
            states: ActorState::ALL
                .iter()
                .map(|state| all.actor_state.with_label_values(&[actor, state.as_str()]))
                .collect(),
        };
        made.set_state(ActorState::Stopped);
        made
    }

    /// Handles that no registry knows, for tests and examples.
    pub fn detached() -> Self {
        let registry = prometheus::Registry::new();
        Self::new(
            &Instruments::register(&registry).expect("the catalogue's names are valid and differ"),
            "detached",
        )
    }

    /// Restarts so far, all reasons together.
    pub fn restarts_total(&self) -> u64 {
        self.restarts.iter().map(IntCounter::get).sum()
    }

    /// Counts an item as in hand for as long as the guard lives.
    pub fn in_hand(&self) -> Counted {
        Counted::new(&self.in_flight, 1)
    }

    /// Items resolved with this outcome.
    pub fn messages(&self, outcome: MessageOutcome) -> &IntCounter {
        &self.messages[outcome as usize]
    }

    /// Incarnations that ended for this reason.
    pub fn restarts(&self, reason: RestartReason) -> &IntCounter {
        &self.restarts[reason as usize]
    }

    /// Items handed out again for this reason.
    pub fn redeliveries(&self, reason: RedeliveryReason) -> &IntCounter {
        &self.redeliveries[reason as usize]
    }

    /// Says which state the actor is in: 1 for this one, 0 for the others.
    pub fn set_state(&self, now: ActorState) {
        for state in ActorState::ALL {
            self.states[*state as usize].set(i64::from(*state == now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn an_actor_is_in_one_state_at_a_time() {
        let metrics = Metrics::new();
        let actor = metrics.actor("toy");
        for now in ActorState::ALL {
            actor.set_state(*now);
            let text = metrics.render();
            let ones: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with("penstock_actor_state{actor=\"toy\"") && line.ends_with(" 1"))
                .collect();
            let expected = format!("penstock_actor_state{{actor=\"toy\",state=\"{}\"}} 1", now.as_str());
            assert_eq!(ones, [expected]);
        }
    }

    #[test]
    fn what_is_in_hand_is_counted_down_even_by_a_panic() {
        let actor = Metrics::new().actor("toy");
        let held = actor.in_hand();
        let inner = actor.clone();
        let panicked = std::thread::spawn(move || {
            let _held = inner.in_hand();
            assert_eq!(inner.in_flight.get(), 2);
            panic!("on purpose");
        });
        panicked.join().expect_err("it panicked");
        assert_eq!(actor.in_flight.get(), 1);
        drop(held);
        assert_eq!(actor.in_flight.get(), 0);
    }

    #[test]
    fn each_handle_counts_its_own_label() {
        let metrics = Metrics::new();
        let actor = metrics.actor("toy");
        actor.messages(MessageOutcome::Fenced).inc();
        actor.restarts(RestartReason::Requested).inc_by(2);
        actor.redeliveries(RedeliveryReason::Bystander).inc_by(3);
        let text = metrics.render();
        for line in [
            "penstock_actor_messages_total{actor=\"toy\",outcome=\"fenced\"} 1",
            "penstock_actor_messages_total{actor=\"toy\",outcome=\"done\"} 0",
            "penstock_actor_restarts_total{actor=\"toy\",reason=\"requested\"} 2",
            "penstock_actor_redeliveries_total{actor=\"toy\",reason=\"bystander\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
    }
}
