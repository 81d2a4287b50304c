//! The gate for long requests: too many of them at once, and the next request is turned away.
//!
//! Only requests that have been running for a while count; short ones are never limited.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Requests under way, by number, with the real milliseconds of their arrival.
#[derive(Debug, Default)]
pub struct Gate {
    running: Mutex<BTreeMap<u64, u64>>,
}

/// A request under way; ends with its answer.
pub struct InFlight {
    gate: Arc<Gate>,
    seq: u64,
}

impl Gate {
    /// Lets request `seq` in unless `most` requests have been running for `long_ms` or more at `now_ms`.
    pub fn enter(self: &Arc<Self>, seq: u64, now_ms: u64, long_ms: u64, most: usize) -> Option<InFlight> {
        let mut running = self.running();
        let long = running.values().filter(|&&since| now_ms.saturating_sub(since) >= long_ms).count();
        if long >= most {
            return None;
        }
        running.insert(seq, now_ms);
        Some(InFlight { gate: self.clone(), seq })
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gate.running().remove(&self.seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_have_lasted_count_and_an_ended_one_makes_room() {
        let gate = Arc::new(Gate::default());
        let mut held: Vec<InFlight> =
            (0..5).map(|seq| gate.enter(seq, seq, 20_000, 2).expect("none of them is old")).collect();
        assert!(gate.enter(5, 20_000, 20_000, 2).is_some(), "one is 20 s old, the next 1 ms short of it");
        assert!(gate.enter(6, 20_001, 20_000, 2).is_none());
        held.remove(0);
        assert!(gate.enter(7, 20_001, 20_000, 2).is_some());
    }
}
