//! A connection to a warehouse on a thread of its own.
//!
//! Promises: what is asked runs in order; a connection that broke is made anew before the next thing that is asked; a panic
//! of a driver ends the connection and not the process; whoever waits for an answer blocks no other task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use super::{Cancel, Warehouse, WarehouseError};

/// Makes a connection that is open ([`Warehouse::open`]).
pub type WarehouseFactory = Arc<dyn Fn() -> Result<Box<dyn Warehouse>, WarehouseError> + Send + Sync>;

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

struct Connection {
    factory: WarehouseFactory,
    open: Option<Box<dyn Warehouse>>,
    cancel: Arc<Mutex<Option<Arc<dyn Cancel>>>>,
}

/// A handle to the thread; the thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct WarehouseThread {
    work: Sender<Work>,
    cancel: Arc<Mutex<Option<Arc<dyn Cancel>>>>,
}

impl std::fmt::Debug for WarehouseThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WarehouseThread").field("waiting", &self.work.len()).finish_non_exhaustive()
    }
}

impl WarehouseThread {
    /// Starts the thread; it connects when it is first asked for something.
    ///
    /// # Errors
    /// When the operating system will not start a thread.
    pub fn start(name: &str, factory: WarehouseFactory) -> std::io::Result<Self> {
        // Unbounded in form only: whoever asks waits for the answer, and mailboxes bound who asks.
        let (work, waiting) = crossbeam_channel::unbounded::<Work>();
        let cancel = Arc::new(Mutex::new(None));
        let mut connection = Connection { factory, open: None, cancel: Arc::clone(&cancel) };
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok(work) = waiting.recv() {
                work(&mut connection);
            }
        })?;
        Ok(Self { work, cancel })
    }

    /// Runs `ask` on the thread and awaits what it says. Dropping the future does not stop it; [`Self::cancel`] does.
    ///
    /// # Errors
    /// Those of `ask`, of connecting, and [`WarehouseError::Engine`] for a panic.
    pub async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut dyn Warehouse) -> Result<T, WarehouseError> + Send + 'static,
    ) -> Result<T, WarehouseError> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            // Whoever asked may have gone, which is no error.
            drop(tell.send(connection.run(ask)));
        });
        self.work.send(work).map_err(|_| WarehouseError::Closed)?;
        told.await.unwrap_or(Err(WarehouseError::Closed))
    }

    /// Lets go of the connection, where there is one: engines tidy their files up then. The next thing that is asked connects
    /// anew.
    pub async fn disconnect(&self) {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            connection.let_go();
            // Whoever asked may have gone, which is no error.
            let _ = tell.send(());
        });
        if self.work.send(work).is_ok() {
            drop(told.await);
        }
    }

    /// Ends what the connection is doing.
    pub fn cancel(&self) {
        let handle = self.cancel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(handle) = handle {
            handle.cancel();
        }
    }
}

impl Connection {
    fn run<T>(
        &mut self,
        ask: impl FnOnce(&mut dyn Warehouse) -> Result<T, WarehouseError>,
    ) -> Result<T, WarehouseError> {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let warehouse = match &mut self.open {
                Some(open) => open,
                None => {
                    let open = (self.factory)()?;
                    *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = open.cancel_handle();
                    self.open.insert(open)
                }
            };
            ask(warehouse.as_mut())
        }));
        let (done, is_broken) = match done {
            Ok(done) => {
                let is_broken = done.as_ref().is_err_and(WarehouseError::ends_connection);
                (done, is_broken)
            }
            Err(_) => (Err(WarehouseError::Engine("its driver panicked".to_owned())), true),
        };
        if is_broken {
            self.let_go();
        }
        done
    }

    fn let_go(&mut self) {
        *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // A driver that panicked may do so again when it is let go.
        let open = self.open.take();
        drop(catch_unwind(AssertUnwindSafe(move || drop(open))));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::warehouse::contract::bench::Kept;
    use crate::warehouse::sqlite::{SqliteSettings, SqliteWarehouse};

    /// A thread with a real file, and how often it has connected.
    struct Rig {
        folder: TempDir,
        thread: WarehouseThread,
        connects: Arc<AtomicUsize>,
    }

    impl Rig {
        /// Of the attempts to connect, the first so many fail.
        fn new(failures: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let connects = Arc::new(AtomicUsize::new(0));
            let (path, count) = (folder.path().join("warehouse.db"), Arc::clone(&connects));
            let factory: WarehouseFactory = Arc::new(move || {
                if count.fetch_add(1, Ordering::SeqCst) < failures {
                    return Err(WarehouseError::Unreachable("not yet".to_owned()));
                }
                let mut warehouse = SqliteWarehouse::connect(&SqliteSettings::new(&path))?;
                warehouse.open("thread")?;
                Ok(Box::new(warehouse) as Box<dyn Warehouse>)
            });
            Self { folder, thread: WarehouseThread::start("warehouse-test", factory).unwrap(), connects }
        }

        fn connects(&self) -> usize {
            self.connects.load(Ordering::SeqCst)
        }
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.unwrap() })
    }

    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

    #[test]
    fn it_connects_when_it_is_first_asked_and_once() {
        let rig = Rig::new(0);
        assert_eq!(rig.connects(), 0);
        for _ in 0..3 {
            assert_eq!(wait(rig.thread.call(|warehouse| Ok(warehouse.caps().kind))).unwrap(), "sqlite");
        }
        assert_eq!(rig.connects(), 1);
    }

    #[test]
    fn what_is_asked_runs_in_order() {
        let rig = Rig::new(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let asked: Vec<_> = (0..20)
            .map(|number| {
                let order = Arc::clone(&order);
                rig.thread.call(move |_| {
                    order.lock().unwrap().push(number);
                    Ok(())
                })
            })
            .collect();
        wait(futures_util::future::join_all(asked));
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_connection_that_cannot_be_made_is_tried_again() {
        let rig = Rig::new(2);
        for attempt in 1..=2 {
            let told = wait(rig.thread.call(|_| Ok(())));
            assert!(matches!(told, Err(WarehouseError::Unreachable(_))), "{told:?}");
            assert_eq!(rig.connects(), attempt);
        }
        wait(rig.thread.call(|_| Ok(()))).unwrap();
    }

    #[test]
    fn a_connection_that_broke_is_made_anew() {
        let rig = Rig::new(0);
        for (number, broken) in
            [WarehouseError::Unreachable("x".to_owned()), WarehouseError::Unsure("x".to_owned())]
                .into_iter()
                .enumerate()
        {
            let told: Result<(), _> = wait(rig.thread.call(move |_| Err(broken)));
            assert!(told.is_err());
            // The lock of the first is free again, or this would fail.
            wait(rig.thread.call(|warehouse| warehouse.open("thread"))).unwrap();
            assert_eq!(rig.connects(), number + 2);
        }
    }

    #[test]
    fn a_connection_that_is_let_go_leaves_one_file_and_is_made_anew() {
        let rig = Rig::new(0);
        let log = rig.folder.path().join("warehouse.db-wal");
        wait(rig.thread.disconnect());
        assert_eq!(rig.connects(), 0, "there was none to let go");
        wait(rig.thread.call(|_| Ok(()))).unwrap();
        assert!(log.exists());
        wait(rig.thread.disconnect());
        assert!(!log.exists());
        wait(rig.thread.call(|_| Ok(()))).unwrap();
        assert_eq!(rig.connects(), 2);
    }

    #[test]
    fn an_error_of_what_was_asked_keeps_the_connection() {
        let rig = Rig::new(0);
        for _ in 0..2 {
            let told = wait(rig.thread.call(|warehouse| warehouse.query("SELEC", &mut Kept::default())));
            assert!(matches!(told, Err(WarehouseError::BadQuery(_))), "{told:?}");
        }
        assert_eq!(rig.connects(), 1);
    }

    #[test]
    fn a_panic_ends_the_connection_and_not_the_thread() {
        let rig = Rig::new(0);
        let told: Result<(), _> = wait(rig.thread.call(|_| panic!("as a driver may")));
        assert!(matches!(&told, Err(WarehouseError::Engine(why)) if why.contains("panicked")), "{told:?}");
        wait(rig.thread.call(|_| Ok(()))).unwrap();
        assert_eq!(rig.connects(), 2);
    }

    #[test]
    fn what_runs_is_told_to_stop_and_the_connection_goes_on() {
        let rig = Rig::new(0);
        let asked = rig.thread.call(|warehouse| warehouse.query(ENDLESS, &mut Kept::default()));
        let told = wait(async {
            let mut asked = std::pin::pin!(asked);
            loop {
                rig.thread.cancel();
                if let Ok(told) = tokio::time::timeout(Duration::from_millis(5), &mut asked).await {
                    return told;
                }
            }
        });
        assert!(matches!(told, Err(WarehouseError::Engine(_))), "{told:?}");
        wait(rig.thread.call(|_| Ok(()))).unwrap();
        assert_eq!(rig.connects(), 1);
    }

    #[test]
    fn nobody_waits_for_what_was_asked_and_it_is_done_all_the_same() {
        let rig = Rig::new(0);
        let path = rig.folder.path().join("done");
        let mut asked = Box::pin(rig.thread.call({
            let path = path.clone();
            move |_| std::fs::write(path, "").map_err(|error| WarehouseError::Engine(error.to_string()))
        }));
        // Asked for, and then forgotten before it can have been told.
        wait(async {
            futures_util::future::poll_immediate(&mut asked).await;
        });
        drop(asked);
        wait(rig.thread.call(|_| Ok(()))).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn the_thread_ends_with_its_last_handle() {
        let Rig { folder, thread, connects } = Rig::new(0);
        let other = thread.clone();
        wait(thread.call(|_| Ok(()))).unwrap();
        drop(thread);
        wait(other.call(|_| Ok(()))).unwrap();
        drop(other);
        wait(async {
            // The factory is let go of by the thread, as the last thing it does.
            while Arc::strong_count(&connects) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        drop(folder);
    }
}
