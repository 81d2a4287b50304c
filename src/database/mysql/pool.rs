//! Connections of one database, opened when they are needed and kept while they are good.
//!
//! Promises: no more than `connections` batches at a time; a connection that was lost, dropped in the middle or cancelled is
//! never used again; one that rested for long is asked whether it lives before a batch relies on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;
use crate::clock::{BoxFuture, SharedClock};
use crate::database::session::{Away, Lost, Session};
use crate::database::{Command, ConnectionsState, Reply};

/// A connection that rested for longer is asked before it is used.
const RESTED: Duration = Duration::from_secs(15);

/// Opening a connection may take so long.
const OPENING: Duration = Duration::from_secs(5);

/// Connections of one database.
pub struct Pool {
    opts: Opts,
    clock: SharedClock,
    merge: bool,
    places: Arc<Semaphore>,
    size: usize,
    /// Connections without a batch, and since when.
    idle: Mutex<Vec<(Connection, Duration)>>,
    /// Places whose connection could not be opened when it was last needed.
    failing: AtomicUsize,
}

impl Pool {
    /// A pool of at most `size` connections; opens none.
    pub fn new(opts: Opts, size: usize, merge: bool, clock: SharedClock) -> Arc<Self> {
        let size = size.max(1);
        Arc::new(Self {
            opts,
            clock,
            merge,
            places: Arc::new(Semaphore::new(size)),
            size,
            idle: Mutex::new(Vec::new()),
            failing: AtomicUsize::new(0),
        })
    }

    /// A place for one batch, as soon as there is one. It has no connection until [`Session::open`].
    pub async fn place(self: &Arc<Self>) -> MysqlSession {
        // The semaphore is never closed; without a permit a place is still a place.
        let permit = Arc::clone(&self.places).acquire_owned().await.ok();
        MysqlSession { pool: Arc::clone(self), connection: None, permit }
    }

    /// As [`Self::place`], but the place is waited for by [`Session::open`].
    pub fn session(self: &Arc<Self>) -> MysqlSession {
        MysqlSession { pool: Arc::clone(self), connection: None, permit: None }
    }

    /// What the connections do.
    pub fn state(&self) -> ConnectionsState {
        let idle = self.idle().len();
        let busy = self.size.saturating_sub(self.places.available_permits());
        ConnectionsState { idle, busy, down: self.size.saturating_sub(idle + busy) }
    }

    /// A connection that is good.
    ///
    /// # Errors
    /// What the driver says, for the log.
    pub async fn connection(&self) -> Result<Connection, String> {
        while let Some((mut connection, since)) = self.rested() {
            let rested = self.clock.elapsed().saturating_sub(since);
            if rested < RESTED || matches!(self.in_time(connection.conn.ping()).await, Ok(())) {
                return Ok(connection);
            }
        }
        let opening = async {
            let conn = Conn::new(self.opts.clone()).await?;
            Connection::prepare(conn, self.merge).await
        };
        self.in_time(opening).await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, mysql_async::Error>>,
    ) -> Result<T, String> {
        tokio::select! {
            result = work => result.map_err(|error| away_words(&error)),
            () = self.clock.sleep(OPENING) => Err("no answer in time".to_owned()),
        }
    }

    fn rested(&self) -> Option<(Connection, Duration)> {
        self.idle().pop()
    }

    /// Keeps a connection for the next batch, unless something is still open on it.
    pub(super) fn give_back(&self, connection: Connection) {
        if connection.is_free() {
            let now = self.clock.elapsed();
            self.idle().push((connection, now));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Connection, Duration)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection could not be opened, without anything that the address has.
fn away_words(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(server) => format!("the server refused with code {}", server.code),
        mysql_async::Error::Io(_) => "it cannot be reached".to_owned(),
        _ => "it did not answer as a MariaDB or MySQL server does".to_owned(),
    }
}

/// A place in the pool, for one batch.
pub struct MysqlSession {
    pool: Arc<Pool>,
    connection: Option<Connection>,
    permit: Option<OwnedSemaphorePermit>,
}

impl MysqlSession {
    /// The connection, once it is open.
    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("the session is open")
    }
}

impl Session for MysqlSession {
    async fn open(&mut self) -> Result<(), Away> {
        if self.permit.is_none() {
            // Never closed; without a permit a place is still a place.
            self.permit = Arc::clone(&self.pool.places).acquire_owned().await.ok();
        }
        if self.connection.is_none() {
            match self.pool.connection().await {
                Ok(connection) => {
                    self.pool.failing.store(0, Ordering::Relaxed);
                    self.connection = Some(connection);
                }
                Err(why) => {
                    // Told once for a row of failures.
                    if self.pool.failing.fetch_add(1, Ordering::Relaxed) == 0 {
                        tracing::warn!(%why, "no connection to the database");
                    }
                    return Err(Away);
                }
            }
        }
        Ok(())
    }

    async fn flight(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>, Lost> {
        let Some(connection) = &mut self.connection else { return Err(Lost { during_commit: false }) };
        let replies = connection.flight(commands).await;
        if replies.is_err() {
            self.connection = None;
        }
        replies
    }

    fn canceller(&self) -> BoxFuture<'static, ()> {
        let Some(connection) = &self.connection else { return Box::pin(async {}) };
        let id = connection.conn.id();
        let (opts, spent) = (self.pool.opts.clone(), Arc::clone(&connection.spent));
        Box::pin(async move {
            spent.store(true, Ordering::Release);
            let Ok(mut conn) = Conn::new(opts).await else { return };
            // A statement that is over already cannot be stopped: nothing to tell.
            let _ = conn.query_drop(format!("KILL QUERY {id}")).await;
            let _ = conn.disconnect().await;
        })
    }

    fn abandon(&mut self) -> Lost {
        match self.connection.take() {
            Some(connection) => connection.lost(),
            None => Lost { during_commit: false },
        }
    }

    fn rest(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }
}

impl Drop for MysqlSession {
    fn drop(&mut self) {
        self.rest();
    }
}
