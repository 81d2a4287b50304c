//! Everything that requests share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batches::Batches;
use crate::chat::Schemas;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::limits::Gate;
use crate::log::Log;
use crate::options::Options;

/// The endpoint behind its socket.
#[derive(Debug)]
pub struct Site {
    /// What is asked.
    pub log: Log,
    /// Time.
    pub clock: Clock,
    /// Schemas seen.
    pub schemas: Schemas,
    /// The key that is accepted.
    pub api_key: Option<String>,
    /// Time from a question to its answer.
    pub latency: Mutex<Duration>,
    /// Limits in force.
    pub gate: Mutex<Gate>,
    /// Faults in force.
    pub faults: Mutex<Faults>,
    /// Files and batches.
    pub batches: Mutex<Batches>,
}

impl Site {
    /// By the options.
    pub fn new(options: Options) -> Self {
        let clock = Clock::start();
        let mut faults = Faults::default();
        faults.add(options.faults);
        Self {
            log: Log::default(),
            schemas: Schemas::default(),
            api_key: options.api_key,
            latency: Mutex::new(options.latency),
            gate: Mutex::new(Gate::new(options.limits, clock.real())),
            faults: Mutex::new(faults),
            batches: Mutex::new(Batches::new(options.batches)),
            clock,
        }
    }

    /// Real milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.clock.real().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A lock, whether or not somebody panicked with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
