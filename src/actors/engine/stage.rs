//! What a stage is: its input, its output, its work, and how it says that the work failed.
//!
//! Writing a stage takes three steps: a type that implements [`Stage`] (or [`BatchStage`]), a factory that builds it
//! from what is durable, and a call of [`super::Engine::stage`] that states its size and names its outlet. The engine
//! does the rest: leases, attempts, restarts, dead letters, freezing, metrics. `examples/three_stages.rs` is whole.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::board::{SlotBoard, Suspended};
use crate::clock::SharedClock;
use crate::messages::{Header, Item, Waybill};

/// What a stage puts downstream for one input (or one batch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<T> {
    /// The item ends here, done.
    None,
    /// It goes on under the same id.
    One(T),
    /// It splits: the children's ids are the parent's plus their index.
    Many(Vec<T>),
}

/// Why a stage's work failed, and what the engine does about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// May work later: one attempt is spent, and the item is tried again after `after` (or the engine's backoff).
    #[error("{why}")]
    Retry {
        /// Pause before the next attempt; `None` leaves it to the engine.
        after: Option<Duration>,
        /// What went wrong.
        why: String,
    },
    /// Somebody downstream asked us to wait: no attempt is spent.
    #[error("{why}")]
    Throttled {
        /// Pause before the next try.
        after: Duration,
        /// Who asked.
        why: String,
    },
    /// Will never work: the item goes to the dead letters now.
    #[error("{why}")]
    Fatal {
        /// What is wrong with it.
        why: String,
    },
}

impl StageError {
    /// A retry with the engine's own backoff.
    pub fn retry(why: impl Into<String>) -> Self {
        Self::Retry { after: None, why: why.into() }
    }

    /// A fatal error.
    pub fn fatal(why: impl Into<String>) -> Self {
        Self::Fatal { why: why.into() }
    }
}

/// One step of the line, one item at a time.
///
/// Several slots call `run` on the same value concurrently, on one thread: interior state needs no locks, but no
/// borrow may be held over an await. After a panic the value is thrown away and the factory builds a new one, so keep
/// nothing in it that cannot be rebuilt.
pub trait Stage: 'static {
    /// What comes in.
    type In: Item;
    /// What goes out.
    type Out: Item;
    /// The actor's name in config, metrics, status and logs.
    const NAME: &'static str;

    /// Does the work for one item.
    ///
    /// A panic costs the item one attempt and the stage its incarnation. Hanging past the handler timeout does the same,
    /// unless `cx` said that it waits for a permit.
    fn run(
        &self,
        item: Arc<Self::In>,
        cx: &StageCx,
    ) -> impl Future<Output = Result<Output<Self::Out>, StageError>>;
}

/// When a batch is sealed: at whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Members.
    pub items: usize,
    /// Bytes of the members together.
    pub bytes: u64,
    /// Time since the first member was leased.
    pub age: Duration,
}

/// One step of the line, many items at a time. One accepted output acks all its members.
///
/// A failure that names no culprit (a panic, a fatal error) does not charge the members: each is tried again alone, so a
/// poison item costs itself and not its neighbours.
pub trait BatchStage: 'static {
    /// What comes in.
    type In: Item;
    /// What goes out.
    type Out: Item;
    /// The actor's name in config, metrics, status and logs.
    const NAME: &'static str;

    /// Does the work for the sealed members, in the order of their arrival.
    fn run(
        &self,
        members: Vec<Arc<Self::In>>,
        cx: &StageCx,
    ) -> impl Future<Output = Result<Output<Self::Out>, StageError>>;
}

/// What a handler may use of the engine while it works on one item.
#[derive(Clone)]
pub struct StageCx {
    pub(super) waybill: Arc<Waybill>,
    pub(super) tools: Rc<SlotTools>,
}

/// What a slot lends to every handler that it runs.
pub(super) struct SlotTools {
    pub board: Arc<SlotBoard>,
    pub runtime: Handle,
    pub clock: SharedClock,
    /// Retires the incarnation that this slot is of, and says why.
    pub retire: Box<dyn Fn(String)>,
}

impl std::fmt::Debug for StageCx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageCx").field("header", self.header()).finish_non_exhaustive()
    }
}

impl StageCx {
    /// The header of the item in hand; of a batch, its first member's.
    pub fn header(&self) -> &Header {
        &self.waybill.header
    }

    /// The engine's clock.
    pub fn clock(&self) -> &SharedClock {
        &self.tools.clock
    }

    /// Says that the work goes on: the handler's timeout starts anew.
    pub fn progress(&self) {
        self.tools.board.progress(self.tools.clock.elapsed());
    }

    /// Awaits something that is not this handler's fault, such as a permit: its timeout does not run meanwhile.
    pub async fn waiting<F: Future>(&self, wait: F) -> F::Output {
        let _suspended = self.suspender().suspend();
        wait.await
    }

    /// A handle by which code that does not know this handler can stop its timeout while it waits.
    pub fn suspender(&self) -> Suspender {
        Suspender { board: Arc::clone(&self.tools.board), clock: self.tools.clock.clone() }
    }

    /// Ends this incarnation: what it was built from (a connection, say) is of no more use. The other slots finish what
    /// they hold, this one what it holds, and the factory builds the next incarnation at once.
    ///
    /// Counted as `connection`, and not charged to the restart budget: whatever stays away for hours costs an actor its
    /// incarnations and never the daemon its work.
    pub fn retire(&self, why: impl Into<String>) {
        (self.tools.retire)(why.into());
    }

    /// Runs I/O on the process's own threads, so that one stage's sockets never wait for another stage's work. Dropped
    /// with the handler: an abandoned call stops.
    ///
    /// A panic inside reaches the handler, and so is charged to the item.
    pub async fn io<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut task = AbortOnDrop(self.tools.runtime.spawn(work));
        match (&mut task.0).await {
            Ok(output) => output,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only an abort is left, and only our own drop aborts.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }

    /// Runs work that keeps a processor busy, or blocks, off the stages' thread. It cannot be stopped half-way.
    pub async fn blocking<F, R>(&self, work: F) -> R
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        match self.tools.runtime.spawn_blocking(work).await {
            Ok(output) => output,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }
}

/// See [`StageCx::suspender`].
#[derive(Clone)]
pub struct Suspender {
    board: Arc<SlotBoard>,
    clock: SharedClock,
}

impl std::fmt::Debug for Suspender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suspender").finish_non_exhaustive()
    }
}

impl Suspender {
    /// The handler's timeout does not run while what is returned lives.
    pub fn suspend(&self) -> Suspended {
        self.board.suspend(self.clock.clone())
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
