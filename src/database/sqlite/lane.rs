//! The way from an awaiting task to a thread that blocks, and back.
//!
//! Promises: a batch that goes in comes back, also when the thread is gone: then it was given up. A sender waits without
//! blocking its thread while the channel is full.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::batch::run::{BatchRun, GiveUp, Step};
use crate::clock::SharedClock;
use crate::database::{Command, DatabaseOpenError, Reply};

/// What the threads need of a batch. A test puts a written sequence in its place.
pub(super) trait Flow: Send + 'static {
    /// See [`BatchRun::next`].
    fn next(&mut self, elapsed: Duration) -> Step;
    /// See [`BatchRun::accept`].
    fn accept(&mut self, replies: Vec<Reply>, elapsed: Duration);
    /// See [`BatchRun::lost`].
    fn lost(&mut self, during_commit: bool);
    /// See [`BatchRun::give_up`].
    fn give_up(&mut self, why: GiveUp);
}

impl Flow for BatchRun {
    fn next(&mut self, elapsed: Duration) -> Step {
        self.next(elapsed)
    }

    fn accept(&mut self, replies: Vec<Reply>, elapsed: Duration) {
        self.accept(replies, elapsed);
    }

    fn lost(&mut self, during_commit: bool) {
        self.lost(during_commit);
    }

    fn give_up(&mut self, why: GiveUp) {
        self.give_up(why);
    }
}

/// A batch on a thread.
pub(super) struct Job<F: Flow> {
    flow: Option<F>,
    answer: Option<oneshot::Sender<F>>,
    room: Option<OwnedSemaphorePermit>,
    /// When it was taken in.
    taken: Duration,
    /// A flight that was asked for and is not carried yet.
    pub(super) pending: Option<Vec<Command>>,
    /// Keys that it has in hand.
    pub(super) keys: Vec<String>,
}

impl<F: Flow> Job<F> {
    /// What is to be done next.
    pub(super) fn next(&mut self, now: Duration) -> Step {
        let elapsed = now.saturating_sub(self.taken);
        match (self.pending.take(), &mut self.flow) {
            (Some(flight), _) => Step::Flight(flight),
            (None, Some(flow)) => flow.next(elapsed),
            (None, None) => Step::Finished,
        }
    }

    /// Hands it the replies.
    pub(super) fn accept(&mut self, replies: Vec<Reply>, now: Duration) {
        let elapsed = now.saturating_sub(self.taken);
        if let Some(flow) = &mut self.flow {
            flow.accept(replies, elapsed);
        }
    }

    /// Tells it that its transaction is gone.
    pub(super) fn lost(&mut self) {
        if let Some(flow) = &mut self.flow {
            flow.lost(false);
        }
    }

    /// It is off the channel: its place there is free again.
    pub(super) fn leave_channel(&mut self) {
        self.room = None;
    }

    /// Gives it back: it is finished.
    pub(super) fn finish(mut self) {
        self.give_back();
    }

    fn give_back(&mut self) {
        if let (Some(flow), Some(answer)) = (self.flow.take(), self.answer.take()) {
            // Whoever asked may have gone, which is no error.
            let _ = answer.send(flow);
        }
    }
}

impl<F: Flow> Drop for Job<F> {
    fn drop(&mut self) {
        if let Some(flow) = &mut self.flow {
            // Only a thread that ends in the middle lets go of a job that is not finished.
            flow.lost(false);
            flow.give_up(GiveUp::DatabaseAway);
            self.give_back();
        }
    }
}

/// What a thread is asked.
pub(super) enum Asked<F: Flow> {
    /// To carry a batch.
    Batch(Job<F>),
    /// To read the tables again.
    Reload(oneshot::Sender<Result<(), DatabaseOpenError>>),
}

/// The sending end.
pub(super) struct Lane<F: Flow> {
    sender: Sender<Asked<F>>,
    room: Arc<Semaphore>,
    clock: SharedClock,
}

impl<F: Flow> Lane<F> {
    /// A lane on which so many may wait, and the end for its threads.
    pub(super) fn new(capacity: usize, clock: SharedClock) -> (Self, Receiver<Asked<F>>) {
        let capacity = capacity.max(1);
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        (Self { sender, room: Arc::new(Semaphore::new(capacity)), clock }, receiver)
    }

    /// Has a thread carry the batch.
    pub(super) async fn carry(&self, flow: F) -> F {
        let taken = self.clock.elapsed();
        let room = Arc::clone(&self.room).acquire_owned().await.ok();
        let (answer, answered) = oneshot::channel();
        let job =
            Job { flow: Some(flow), answer: Some(answer), room, taken, pending: None, keys: Vec::new() };
        if let Err(TrySendError::Full(asked) | TrySendError::Disconnected(asked)) =
            self.sender.try_send(Asked::Batch(job))
        {
            // The thread is gone (a permit stands for a place). Dropped, the job gives itself up and comes back.
            drop(asked);
        }
        match answered.await {
            Ok(flow) => flow,
            Err(_) => unreachable!("a job answers when it is finished and when it is dropped"),
        }
    }

    /// Has the thread read the tables again; `None` when it is gone.
    pub(super) async fn reload(&self) -> Option<Result<(), DatabaseOpenError>> {
        let _room = self.room.acquire().await.ok()?;
        let (answer, answered) = oneshot::channel();
        self.sender.try_send(Asked::Reload(answer)).ok()?;
        answered.await.ok()
    }
}
