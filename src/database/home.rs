//! Threads on which the sessions of a database run.
//!
//! Promises: a session, its socket and the work between its flights stay on one thread, so that a reply costs no hop from
//! thread to thread; whoever asked for the work may be anywhere, and may go away: then it stops. A panic in it reaches
//! whoever waits.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Sessions mostly wait, and what they wait for has its own threads or its own machine.
const THREADS_MAX: usize = 8;

/// See the module's promises. Dropped, its threads end, and with them what is left on them.
pub(super) struct Home {
    threads: Vec<Thread>,
    next: AtomicUsize,
}

struct Thread {
    runtime: Handle,
    /// Dropped: the thread ends.
    _stay: oneshot::Sender<()>,
}

impl Home {
    /// Starts them: one for every two processors.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start() -> std::io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..(processors / 2).clamp(1, THREADS_MAX)).map(|_| Thread::start());
        Ok(Self { threads: threads.collect::<Result<_, _>>()?, next: AtomicUsize::new(0) })
    }

    /// Runs the work on one of them. Dropped, the work is dropped too.
    pub(super) async fn run<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut task = Stopped(self.threads[turn % self.threads.len()].runtime.spawn(work));
        match (&mut task.0).await {
            Ok(output) => output,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a thread that ends is left, and it ends with the daemon.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }
}

impl Thread {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stay, gone) = oneshot::channel();
        let handle = runtime.handle().clone();
        let work = move || {
            // Nothing is ever sent.
            let _ = runtime.block_on(gone);
        };
        thread::Builder::new().name("sessions".to_owned()).spawn(work)?;
        Ok(Self { runtime: handle, _stay: stay })
    }
}

/// Work that stops when nobody waits for it.
struct Stopped<T>(JoinHandle<T>);

impl<T> Drop for Stopped<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn work_runs_elsewhere_and_its_panic_comes_back() {
        let home = Home::start().expect("threads");
        let here = thread::current().id();
        assert_ne!(home.run(async { thread::current().id() }).await, here);
        let panicked = tokio::spawn(async move { home.run(async { panic!("on purpose") }).await });
        assert!(panicked.await.expect_err("it panics").is_panic());
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_stops() {
        let home = Home::start().expect("threads");
        let held = Arc::new(());
        let mine = Arc::clone(&held);
        let work = home.run(async move {
            let _mine = mine;
            std::future::pending::<()>().await;
        });
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), work).await;
        assert!(waited.is_err(), "it waits for ever");
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
