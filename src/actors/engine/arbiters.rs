//! The threads that actors live on: one arbiter for the stages, one for the services and the supervisor.
//!
//! An arbiter's thread that blocks cannot be killed. Its heartbeat goes stale, the supervisor abandons it, and the
//! actors are rebuilt on a new one; the old thread is left to itself and counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::runtime::Handle;

use crate::clock::SharedClock;

/// What an arbiter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArbiterKind {
    /// Stages.
    Stages,
    /// Services and the supervisor.
    Control,
}

const KINDS: usize = 2;
const BEAT: Duration = Duration::from_millis(100);

struct Cell {
    handle: ArbiterHandle,
    generation: u64,
    heartbeat: Arc<AtomicU64>,
}

/// The present arbiters, made when first asked for.
pub(crate) struct Arbiters {
    clock: SharedClock,
    runtime: Handle,
    system: Mutex<Option<System>>,
    cells: Mutex<[Option<Cell>; KINDS]>,
    abandoned: AtomicUsize,
}

impl Arbiters {
    pub fn new(clock: SharedClock, runtime: Handle) -> Self {
        Self {
            clock,
            runtime,
            system: Mutex::new(System::try_current()),
            cells: Mutex::new([None, None]),
            abandoned: AtomicUsize::new(0),
        }
    }

    /// Where the next actor of this kind starts, and that arbiter's generation.
    pub fn handle(&self, kind: ArbiterKind) -> (ArbiterHandle, u64) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = cells[kind as usize].get_or_insert_with(|| self.make(0));
        (cell.handle.clone(), cell.generation)
    }

    fn make(&self, generation: u64) -> Cell {
        if let Some(system) = self.system.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            // The supervisor may ask from a thread that actix does not know.
            System::set_current(system);
        }
        let handle = Arbiter::new().handle();
        let heartbeat = Arc::new(AtomicU64::new(self.now_ms()));
        let (beat, clock) = (Arc::clone(&heartbeat), self.clock.clone());
        handle.spawn(async move {
            loop {
                beat.store(clock.elapsed().as_millis() as u64, Ordering::Release);
                clock.sleep(BEAT).await;
            }
        });
        Cell { handle, generation, heartbeat }
    }

    fn now_ms(&self) -> u64 {
        self.clock.elapsed().as_millis() as u64
    }

    /// The arbiter of this kind has not turned for `timeout`.
    pub fn is_blocked(&self, kind: ArbiterKind, timeout: Duration) -> bool {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells[kind as usize].as_ref().is_some_and(|cell| {
            self.now_ms().saturating_sub(cell.heartbeat.load(Ordering::Acquire)) > timeout.as_millis() as u64
        })
    }

    /// Leaves the blocked thread to itself and makes a new arbiter. Returns how many were abandoned in all.
    pub fn abandon(&self, kind: ArbiterKind) -> usize {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = cells[kind as usize].as_ref().map_or(0, |cell| cell.generation + 1);
        cells[kind as usize] = Some(self.make(generation));
        self.abandoned.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Ends the arbiters' threads.
    pub fn stop(&self) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for cell in cells.iter_mut().filter_map(Option::take) {
            cell.handle.stop();
        }
    }

    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}
