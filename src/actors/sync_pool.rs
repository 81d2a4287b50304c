//! The connections to one warehouse, lent to whoever has something to ask.
//!
//! Promises: never more connections than the engine takes writers, and never more than were allowed; whoever asks first is
//! served first; a connection that is lent comes back whatever becomes of the asker; a statement that never ends is
//! cancelled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};

use crate::clock::SharedClock;
use crate::warehouse::{Caps, Warehouse, WarehouseError, WarehouseFactory, WarehouseThread};

/// Longest that one thing asked of the warehouse may take. A commit of millions of rows takes minutes.
const LONGEST: Duration = Duration::from_secs(3_600);

/// See the module's promises. Clones are the same.
#[derive(Clone)]
pub struct WarehousePool(Arc<Inner>);

struct Inner {
    name: String,
    factory: WarehouseFactory,
    clock: SharedClock,
    most: usize,
    idle: Mutex<Vec<WarehouseThread>>,
    room: Semaphore,
    caps: OnceCell<Caps>,
}

impl std::fmt::Debug for WarehousePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WarehousePool").field("name", &self.0.name).finish_non_exhaustive()
    }
}

/// A connection on loan.
struct Lent<'p> {
    pool: &'p Inner,
    thread: Option<WarehouseThread>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
    }
}

impl WarehousePool {
    /// A pool of at most `connections` connections; none is made before something is asked.
    pub fn new(name: &str, factory: WarehouseFactory, connections: usize, clock: SharedClock) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            factory,
            clock,
            most: connections.max(1),
            idle: Mutex::default(),
            // One, until the engine has said how many writers it takes.
            room: Semaphore::new(1),
            caps: OnceCell::new(),
        }))
    }

    /// What the engine can do. Connects if nobody has.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn caps(&self) -> Result<Caps, WarehouseError> {
        let caps = self.0.caps.get_or_try_init(|| async {
            let caps = self.0.lend(|warehouse| Ok(warehouse.caps())).await?;
            self.0.room.add_permits(self.0.most.min(caps.connections_max).saturating_sub(1));
            Ok(caps)
        });
        caps.await.copied()
    }

    /// What the engine can do, where somebody has asked for it before.
    pub fn caps_known(&self) -> Option<Caps> {
        self.0.caps.get().copied()
    }

    /// Lets go of every connection that nobody works with.
    pub async fn disconnect(&self) {
        let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for thread in idle {
            thread.disconnect().await;
        }
    }

    /// Runs `ask` on a connection and awaits what it says.
    ///
    /// # Errors
    /// Those of `ask` and of connecting.
    pub async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut dyn Warehouse) -> Result<T, WarehouseError> + Send + 'static,
    ) -> Result<T, WarehouseError> {
        self.caps().await?;
        self.0.lend(ask).await
    }
}

impl Inner {
    async fn lend<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut dyn Warehouse) -> Result<T, WarehouseError> + Send + 'static,
    ) -> Result<T, WarehouseError> {
        let _room = self.room.acquire().await.map_err(|_closed| WarehouseError::Closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let thread = match idle {
            Some(thread) => thread,
            None => {
                let started = WarehouseThread::start("warehouse", Arc::clone(&self.factory));
                started.map_err(|error| WarehouseError::Engine(format!("start its thread: {error}")))?
            }
        };
        let lent = Lent { pool: self, thread: Some(thread.clone()) };
        let call = thread.call(ask);
        tokio::pin!(call);
        let answer = tokio::select! {
            answer = &mut call => answer,
            () = self.clock.sleep(LONGEST) => {
                tracing::error!(warehouse = self.name, "a statement did not end within an hour and is cancelled");
                thread.cancel();
                call.await
            }
        };
        drop(lent);
        answer
    }
}
