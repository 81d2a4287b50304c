//! What reads and writes a connection's socket, polled by the task that waits for its answers.
//!
//! Promises: a flight costs no task of its own and no message between threads; everything that was asked for goes out
//! before an answer is waited for; a server that went away while nothing was asked of it is noticed by the next look.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio_postgres::Socket;

use super::errors::failure;
use super::tls::Secured;

/// The library's half of a connection that must be polled for the other half to get answers.
pub(super) type Library = tokio_postgres::Connection<Socket, Secured<Socket>>;

/// Rounds without giving the thread away. More than one is rare: only what the runtime's budget stopped needs many.
const ROUNDS_MAX: usize = 8;

/// See the module's promises.
pub(super) struct Driver {
    /// `None`: the connection is over.
    library: Option<Box<Library>>,
    gate: Arc<Gate>,
    waker: Waker,
}

impl Driver {
    pub(super) fn new(library: Library) -> Self {
        let gate = Arc::new(Gate::default());
        Self { library: Some(Box::new(library)), waker: Waker::from(Arc::clone(&gate)), gate }
    }

    /// Reads what has come meanwhile. Whether the connection is still there.
    pub(super) fn is_open(&mut self) -> bool {
        self.turn(&mut Context::from_waker(Waker::noop()));
        self.library.is_some()
    }

    /// Polls all of them once, in order, so that each sends; then waits for one after the other. They wait for nothing but
    /// this connection, which answers in order.
    pub(super) async fn answers<T>(
        &mut self,
        mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>,
    ) -> Vec<T> {
        let mut outputs: Vec<Option<T>> = Vec::with_capacity(futures.len());
        let mut at = 0;
        poll_fn(|context| {
            // Whatever they wait for comes by a turn, and after each they are asked: nothing need wake them.
            let mut asked = Context::from_waker(Waker::noop());
            if outputs.is_empty() {
                outputs.extend(futures.iter_mut().map(|future| ready(future.as_mut().poll(&mut asked))));
            }
            self.gate.task.register(context.waker());
            for _ in 0..ROUNDS_MAX {
                self.gate.enter();
                let waker = self.waker.clone();
                self.turn(&mut Context::from_waker(&waker));
                while at < futures.len() {
                    if outputs[at].is_none() {
                        outputs[at] = ready(futures[at].as_mut().poll(&mut asked));
                    }
                    if outputs[at].is_none() {
                        break;
                    }
                    at += 1;
                }
                let quiet = self.gate.leave();
                if at == futures.len() {
                    return Poll::Ready(());
                }
                if quiet {
                    return Poll::Pending;
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        outputs.into_iter().flatten().collect()
    }

    /// Writes what is to be written, and reads what is there.
    fn turn(&mut self, context: &mut Context<'_>) {
        while let Some(library) = &mut self.library {
            match library.poll_message(context) {
                Poll::Pending => return,
                // Notices: the library keeps what counts.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(error = %failure(&error).native_code, "a connection broke");
                    self.library = None;
                }
                Poll::Ready(None) => self.library = None,
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Its client was dropped just before: it says good-bye, once the server has answered what it was asked.
        if let Some(library) = self.library.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(library);
        }
    }
}

fn ready<T>(polled: Poll<T>) -> Option<T> {
    match polled {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Wakes the task that waits, unless it is just polling: then it goes round once more instead of being scheduled.
#[derive(Default)]
struct Gate {
    state: AtomicU8,
    task: AtomicWaker,
}

/// Nobody polls.
const OUTSIDE: u8 = 0;
/// The task polls.
const INSIDE: u8 = 1;
/// The task polls, and has something to look at again.
const AGAIN: u8 = 2;

impl Gate {
    fn enter(&self) {
        self.state.store(INSIDE, Ordering::SeqCst);
    }

    /// Whether nothing has happened meanwhile.
    fn leave(&self) -> bool {
        self.state.swap(OUTSIDE, Ordering::SeqCst) == INSIDE
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let told = self.state.compare_exchange(INSIDE, AGAIN, Ordering::SeqCst, Ordering::SeqCst);
        if told == Err(OUTSIDE) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_that_polls_is_not_scheduled_but_goes_round() {
        let (gate, task) = (Arc::new(Gate::default()), Arc::new(Counted::default()));
        gate.task.register(&Waker::from(Arc::clone(&task)));
        gate.enter();
        gate.wake_by_ref();
        gate.wake_by_ref();
        assert!(!gate.leave(), "there is something to look at");
        assert_eq!(task.0.load(Ordering::SeqCst), 0);
        gate.enter();
        assert!(gate.leave());
        gate.wake_by_ref();
        assert_eq!(task.0.load(Ordering::SeqCst), 1, "who waits is woken");
    }
}
