//! Who waits for which batch: the way back from the gateway to the door.
//!
//! Promises: a client that is gone is known here at once, queued or running; an answer reaches the client that waits for it
//! or nobody; a batch that was begun is never begun again, whatever became of whoever began it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};

use crate::batch::answer::Answer;

/// What a client is told at the end.
#[derive(Debug)]
pub(super) struct Answered {
    /// The answer.
    pub answer: Answer,
    /// Whether it is that of an earlier run of the same key.
    pub replayed: bool,
}

/// Everybody who waits.
#[derive(Clone, Default)]
pub struct WaitingRoom(Arc<DashMap<Arc<str>, Arc<Waiting>>>);

impl std::fmt::Debug for WaitingRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaitingRoom").field("waiting", &self.0.len()).finish()
    }
}

impl WaitingRoom {
    /// Takes a seat for a batch. The seat is given up when it is dropped, and the batch with it.
    pub(super) fn enter(
        &self,
        batch_id: &Arc<str>,
        lines: Option<mpsc::UnboundedSender<Vec<u8>>>,
    ) -> (Seat, oneshot::Receiver<Answered>) {
        let (sender, receiver) = oneshot::channel();
        let waiting = Arc::new(Waiting {
            gone: Arc::default(),
            begun: AtomicBool::new(false),
            answer: Mutex::new(Some(sender)),
            lines,
        });
        self.0.insert(Arc::clone(batch_id), Arc::clone(&waiting));
        (Seat { room: self.clone(), batch_id: Arc::clone(batch_id), waiting }, receiver)
    }

    /// Whoever waits for this batch; `None` when nobody does.
    pub(super) fn find(&self, batch_id: &str) -> Option<Arc<Waiting>> {
        self.0.get(batch_id).map(|waiting| Arc::clone(&waiting))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One client that waits for one batch.
pub(super) struct Waiting {
    gone: Arc<AtomicBool>,
    begun: AtomicBool,
    answer: Mutex<Option<oneshot::Sender<Answered>>>,
    /// For the lines of a batch that is streamed.
    pub lines: Option<mpsc::UnboundedSender<Vec<u8>>>,
}

impl Waiting {
    /// Set once the client is gone.
    pub fn gone(&self) -> &Arc<AtomicBool> {
        &self.gone
    }

    /// Whether the client is gone.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Marks the batch as begun; false when it was before: then nobody knows what became of it.
    pub fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::AcqRel)
    }

    /// Answers, once.
    pub fn answer(&self, answered: Answered) {
        let sender = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Nobody is there any more: the client hung up.
            let _ = sender.send(answered);
        }
    }
}

/// A client's place; dropped, the client is gone.
pub(super) struct Seat {
    room: WaitingRoom,
    batch_id: Arc<str>,
    waiting: Arc<Waiting>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.waiting.gone.store(true, Ordering::Release);
        self.room.0.remove(&self.batch_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_that_is_given_up_tells_that_its_client_is_gone() {
        let room = WaitingRoom::default();
        let id: Arc<str> = Arc::from("01J");
        let (seat, _receiver) = room.enter(&id, None);
        let waiting = room.find("01J").unwrap();
        assert!(!waiting.is_gone() && room.len() == 1);
        drop(seat);
        assert!(waiting.is_gone() && room.is_empty() && room.find("01J").is_none());
    }

    #[test]
    fn a_batch_is_begun_once() {
        let room = WaitingRoom::default();
        let (_seat, _receiver) = room.enter(&Arc::from("01J"), None);
        let again = room.find("01J").unwrap();
        assert!(room.find("01J").unwrap().begin());
        assert!(!again.begin());
    }
}
