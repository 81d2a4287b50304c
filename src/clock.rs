//! Time from outside: the only place that reads the wall clock.
//!
//! Everything that waits, paces or stamps takes a [`Clock`], so that a test's hours pass in no time and
//! a seed replays a failure. [`SystemClock`] is the real one; [`ManualClock`] moves when told.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Time since this clock was made; never goes back.
    fn elapsed(&self) -> Duration;
    /// The wall clock, for stamps that leave the process.
    fn wall(&self) -> jiff::Timestamp;
    /// Resolves once `elapsed()` has reached `at`; at once if it has already.
    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()>;

    /// Resolves `after` from now.
    fn sleep(&self, after: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.elapsed().saturating_add(after))
    }
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    born: Instant,
}

impl SystemClock {
    /// A shared handle; time counts from here.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    pub fn shared() -> SharedClock {
        Arc::new(Self { born: Instant::now() })
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.born.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let deadline = tokio::time::Instant::from_std(self.born + at);
        Box::pin(tokio::time::sleep_until(deadline))
    }
}

/// A clock that a test moves by hand.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Duration>,
    start: jiff::Timestamp,
}

impl ManualClock {
    /// A clock that stands at zero; its wall time is 2026-01-01T00:00:00Z.
    pub fn new() -> Arc<Self> {
        let start = jiff::Timestamp::from_second(1_767_225_600).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Arc::new(Self { now: watch::Sender::new(Duration::ZERO), start })
    }

    /// Moves time forward and wakes whoever waited for it.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }
}

impl Clock for ManualClock {
    fn elapsed(&self) -> Duration {
        *self.now.borrow()
    }

    fn wall(&self) -> jiff::Timestamp {
        let passed = jiff::SignedDuration::try_from(self.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
        self.start.checked_add(passed).unwrap_or(jiff::Timestamp::MAX)
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            // The sender lives in the clock; a dropped clock never reaches `at`, which is what a stopped clock means.
            if now.wait_for(|now| *now >= at).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
