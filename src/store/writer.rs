//! A thread of its own for a store that blocks, behind a bounded crossbeam channel.
//!
//! Promises: requests are served in order; one call of `serve` gets everything that waits, up to `most`, so that a store
//! can commit them together. A sender waits without blocking its thread while the channel is full.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::{Semaphore, oneshot};

/// The thread is gone, so the store is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct StoreClosed;

/// A request and where its answer goes.
pub struct Asked<Q, A> {
    /// What is asked.
    pub request: Q,
    room: Option<tokio::sync::OwnedSemaphorePermit>,
    answer: oneshot::Sender<A>,
}

impl<Q, A> Asked<Q, A> {
    /// Answers. Whoever asked may have gone, which is no error.
    pub fn answer(self, answer: A) {
        let _ = self.answer.send(answer);
    }
}

/// A handle to the thread; the thread ends when the last handle is dropped.
pub struct StoreThread<Q, A> {
    requests: Sender<Asked<Q, A>>,
    room: Arc<Semaphore>,
}

impl<Q, A> Clone for StoreThread<Q, A> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), room: Arc::clone(&self.room) }
    }
}

impl<Q, A> std::fmt::Debug for StoreThread<Q, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreThread").field("waiting", &self.requests.len()).finish_non_exhaustive()
    }
}

impl<Q: Send + 'static, A: Send + 'static> StoreThread<Q, A> {
    /// Starts the thread. `serve` is called with one to `most` requests and must answer each.
    ///
    /// # Errors
    /// When the operating system will not start a thread.
    pub fn start(
        name: &str,
        capacity: usize,
        most: usize,
        mut serve: impl FnMut(Vec<Asked<Q, A>>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (requests, waiting) = crossbeam_channel::bounded::<Asked<Q, A>>(capacity);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok(first) = waiting.recv() {
                let mut batch = vec![first];
                while batch.len() < most
                    && let Ok(next) = waiting.try_recv()
                {
                    batch.push(next);
                }
                for asked in &mut batch {
                    // Taken off the channel: its place is free again.
                    asked.room = None;
                }
                serve(batch);
            }
        })?;
        Ok(Self { requests, room: Arc::new(Semaphore::new(capacity)) })
    }

    /// Asks and awaits the answer.
    ///
    /// # Errors
    /// [`StoreClosed`] when the thread has ended.
    pub async fn ask(&self, request: Q) -> Result<A, StoreClosed> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_closed| StoreClosed)?;
        let (answer, answered) = oneshot::channel();
        match self.requests.try_send(Asked { request, room: Some(room), answer }) {
            Ok(()) => answered.await.map_err(|_gone| StoreClosed),
            Err(TrySendError::Disconnected(_)) => Err(StoreClosed),
            Err(TrySendError::Full(_)) => unreachable!("a permit stands for a place in the channel"),
        }
    }
}
