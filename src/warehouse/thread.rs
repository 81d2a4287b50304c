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
            *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = None;
            // A driver that panicked may do so again when it is let go.
            let open = self.open.take();
            drop(catch_unwind(AssertUnwindSafe(move || drop(open))));
        }
        done
    }
}
