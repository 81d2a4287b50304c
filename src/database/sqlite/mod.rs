//! SQLite: a file in the daemon's own hands.
//!
//! Promises: one daemon to a file; one thread writes it, in groups that share a COMMIT; batches that only read run beside
//! it on connections that refuse to write; what is answered as kept is on the disk.
//!
//! | module | what it does |
//! | --- | --- |
//! | `lane` | the way from a task to a thread and back |
//! | `writer` | the thread that writes, with group commit |
//! | `reader` | threads that only read |
//! | `carrier` | one connection: statements, rows, savepoints, keys |
//! | `cells`, `errors` | values and errors of SQLite as ours |
//! | `introspect`, `statements` | what the file and the config say of tables and named statements |
//! | `file_lock` | one daemon to a file |

mod carrier;
mod cells;
mod errors;
mod file_lock;
mod introspect;
mod lane;
mod reader;
mod shared;
mod statements;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::thread;

use rusqlite::Connection;

use self::carrier::{Carrier, Purpose};
use self::file_lock::{FileLock, NotLocked};
use self::lane::Lane;
use self::reader::Reader;
pub use self::shared::GroupListener;
use self::shared::Shared;
use self::writer::Writer;
use super::{ConnectionsState, Database, DatabaseOpenError, DatabaseSettings};
use crate::batch::catalogue::{Catalogue, DatabaseKind};
use crate::batch::run::BatchRun;
use crate::clock::{BoxFuture, SharedClock};

/// A SQLite file that is open. Its threads end when it is dropped and what they have in hand is done.
pub struct SqliteDatabase {
    shared: Arc<Shared>,
    writes: Lane<BatchRun>,
    reads: Lane<BatchRun>,
    threads: usize,
    alive: Arc<()>,
}

impl std::fmt::Debug for SqliteDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteDatabase").field("name", self.shared.database()).finish_non_exhaustive()
    }
}

impl SqliteDatabase {
    /// Opens the file, making it and running `init_sql` where there is nothing yet. Blocks: for the start of the daemon.
    /// `on_group` is told how many batches shared a COMMIT, after each.
    ///
    /// # Errors
    /// When the file cannot be used, another process has it, or settings do not fit its tables.
    pub fn open(
        settings: DatabaseSettings,
        clock: SharedClock,
        on_group: Option<Arc<GroupListener>>,
    ) -> Result<Self, DatabaseOpenError> {
        let database = Arc::clone(&settings.name);
        let refused = |why: String| DatabaseOpenError::Setting { database: Arc::clone(&database), why };
        let away = |why: String| DatabaseOpenError::Away { database: Arc::clone(&database), why };
        let path =
            settings.path.as_deref().ok_or_else(|| refused("`path` is missing: the file".to_owned()))?;
        let lock = FileLock::take(path).map_err(|error| match error {
            NotLocked::Held(holder) => {
                DatabaseOpenError::InUse { database: Arc::clone(&database), path: path.to_owned(), holder }
            }
            NotLocked::Unusable(lock_path, error) => {
                away(format!("its lock file `{}` cannot be used: {error}", lock_path.display()))
            }
        })?;
        let lock = Arc::new(lock);

        let unusable = |error: rusqlite::Error| away(format!("`{}` cannot be used: {error}", path.display()));
        let writer = Carrier::open(path, Purpose::Write, Arc::clone(&clock)).map_err(unusable)?;
        let journal: String =
            writer.connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(unusable)?;
        if !journal.eq_ignore_ascii_case("wal") {
            return Err(away(format!(
                "`{}` cannot have a write-ahead log (it has `{journal}`): put it on a local disk",
                path.display()
            )));
        }
        if let Some(sql) = &settings.init_sql {
            make_tables(&writer.connection, sql)
                .map_err(|error| refused(format!("`init_sql` failed and nothing of it was kept: {error}")))?;
        }
        writer.make_key_table().map_err(unusable)?;

        let shared = Shared::new(
            Arc::clone(&database),
            settings.catalogue,
            settings.statements,
            on_group,
            &writer.connection,
        )?;
        let shared = Arc::new(shared);
        let alive = Arc::new(());

        let (writes, inbox) = Lane::new(settings.queue_depth, Arc::clone(&clock));
        let writer =
            Writer::new(writer, Arc::clone(&shared), Arc::clone(&clock), settings.group_commit, inbox);
        let held = (Arc::clone(&lock), Arc::clone(&alive));
        start("penstock-sqlite-write", move || {
            writer.work();
            drop(held);
        })
        .map_err(|error| away(format!("a thread cannot be started: {error}")))?;

        let (reads, inbox) = Lane::new(settings.queue_depth, Arc::clone(&clock));
        let readers = settings.connections.max(1);
        for _ in 0..readers {
            let carrier = Carrier::open(path, Purpose::Read, Arc::clone(&clock)).map_err(unusable)?;
            let reader = Reader {
                carrier,
                shared: Arc::clone(&shared),
                clock: Arc::clone(&clock),
                inbox: inbox.clone(),
            };
            let held = (Arc::clone(&lock), Arc::clone(&alive));
            start("penstock-sqlite-read", move || {
                reader.work();
                drop(held);
            })
            .map_err(|error| away(format!("a thread cannot be started: {error}")))?;
        }
        Ok(Self { shared, writes, reads, threads: readers + 1, alive })
    }
}

/// Runs the text in one transaction when the file has no table yet.
fn make_tables(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let made = connection
        .query_row(
            "SELECT count(*) FROM main.sqlite_schema WHERE name NOT LIKE 'penstock\\_%' ESCAPE '\\'
               AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            [],
            |row| row.get::<_, i64>(0),
        )
        .and_then(|tables| if tables == 0 { connection.execute_batch(sql) } else { Ok(()) })
        .and_then(|()| connection.execute_batch("COMMIT"));
    if made.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    made
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(|_detached| ())
}

impl Database for SqliteDatabase {
    fn name(&self) -> &Arc<str> {
        self.shared.database()
    }

    fn kind(&self) -> DatabaseKind {
        DatabaseKind::Sqlite
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.shared.catalogue()
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), DatabaseOpenError>> {
        Box::pin(async move {
            self.writes.reload().await.unwrap_or_else(|| {
                Err(DatabaseOpenError::Away {
                    database: Arc::clone(self.shared.database()),
                    why: "the thread that writes it has ended".to_owned(),
                })
            })
        })
    }

    fn run(&self, batch: BatchRun) -> BoxFuture<'_, BatchRun> {
        let lane = if batch.is_read_only() { &self.reads } else { &self.writes };
        Box::pin(lane.carry(batch))
    }

    fn state(&self) -> ConnectionsState {
        // Each thread holds one, and so does this.
        let up = (Arc::strong_count(&self.alive) - 1).min(self.threads);
        let busy = self.shared.busy().min(up);
        ConnectionsState { idle: up - busy, busy, down: self.threads - up }
    }
}
