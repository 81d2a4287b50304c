//! One session at Snowflake, and the lease that this daemon holds on the warehouse.
//!
//! Promises: a transaction that failed is over, or the connection is; a COMMIT without an answer is told as such. Snowflake
//! has no lock that outlives a statement, so that who writes is a row in a table: each connection has one, with an expiry by
//! Snowflake's own clock; another owner's row that has not expired is respected; a commit proves inside its transaction that
//! its row is still there. A daemon that was killed is let in again at once, because it is the same owner; another one waits
//! until the rows have expired.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::names::{Home, text};
use crate::clock::SharedClock;
use crate::sync::QueryColumn;
use crate::warehouse::adbc::AdbcConnection;
use crate::warehouse::{Cell, RowChunk, WarehouseError};

/// How long a lease lasts that is not renewed.
pub const LEASE: Duration = Duration::from_secs(15 * 60);
/// How long it lasts while a transaction runs, which may be long and renews nothing.
pub const COMMIT_LEASE: Duration = Duration::from_secs(60 * 60);
/// The table of the leases.
pub const OWNER_TABLE: &str = "_PENSTOCK_OWNER";

/// The owner, as a text, of the row that all commits lock; it never expires.
const COMMITS: &str = "'(commits)'";

/// Parameters of a session that an account may have set otherwise. Each alone, because a server that does not know one would
/// refuse all.
const PARAMETERS: [&str; 6] = [
    "AUTOCOMMIT = TRUE",
    // Locks last 12 hours if nothing is said.
    "LOCK_TIMEOUT = 900",
    "TIMEZONE = 'UTC'",
    "TIMESTAMP_INPUT_FORMAT = 'AUTO'",
    "DATE_INPUT_FORMAT = 'AUTO'",
    "TIME_INPUT_FORMAT = 'AUTO'",
];

/// A session.
#[derive(Debug)]
pub struct Session {
    /// The connection; errors that end it are noted when it is used through this.
    connection: AdbcConnection,
    /// Nothing can be asked of it any more.
    is_broken: bool,
    clock: SharedClockDebug,
    lease: Option<Lease>,
    table: String,
}

struct SharedClockDebug(SharedClock);

impl std::fmt::Debug for SharedClockDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedClock")
    }
}

#[derive(Debug, Clone)]
struct Lease {
    owner: String,
    /// Tells this connection's row from those of others of the same owner.
    session: String,
    renewed: Duration,
}

impl Session {
    /// A session on a connection that was just made.
    pub fn new(connection: AdbcConnection, home: &Home, clock: SharedClock) -> Self {
        let table = home.own(OWNER_TABLE).full();
        Self { connection, is_broken: false, clock: SharedClockDebug(clock), lease: None, table }
    }

    /// Sets the parameters of the session, as far as the server knows them.
    ///
    /// # Errors
    /// A connection that broke.
    pub fn set_parameters(&mut self) -> Result<(), WarehouseError> {
        for parameter in PARAMETERS {
            match self.execute(&format!("ALTER SESSION SET {parameter}")) {
                Err(error) if error.ends_connection() => return Err(error),
                Err(error) => tracing::debug!(parameter, %error, "a parameter of the session cannot be set"),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Ends what the connection is doing, from another thread.
    pub fn cancel_handle(&self) -> std::sync::Arc<dyn crate::warehouse::Cancel> {
        self.connection.cancel_handle()
    }

    fn noted<T>(&mut self, done: Result<T, WarehouseError>) -> Result<T, WarehouseError> {
        self.is_broken |= done.as_ref().is_err_and(WarehouseError::ends_connection);
        done
    }

    /// Runs a statement; the rows it changed, where Snowflake tells them.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn execute(&mut self, sql: &str) -> Result<Option<u64>, WarehouseError> {
        let done = self.connection.execute(sql);
        self.noted(done)
    }

    /// Runs a statement that changes rows; how many.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn change(&mut self, sql: &str) -> Result<u64, WarehouseError> {
        // Snowflake's driver tells the count beside the answer, which it has none of for such a statement.
        let untold = || WarehouseError::Engine("the driver does not tell how many rows changed".to_owned());
        self.execute(sql)?.ok_or_else(untold)
    }

    /// A short answer, whole.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn rows(&mut self, sql: &str) -> Result<(Vec<QueryColumn>, RowChunk), WarehouseError> {
        let done = self.connection.rows(sql);
        self.noted(done)
    }

    /// Reads an answer batch by batch; `head` gets its columns first.
    ///
    /// # Errors
    /// What Snowflake says, and those of `head` and `each`.
    pub fn read(
        &mut self,
        sql: &str,
        head: &mut dyn FnMut(&arrow_schema::Schema) -> Result<(), WarehouseError>,
        each: &mut dyn FnMut(&arrow_array::RecordBatch) -> Result<(), WarehouseError>,
    ) -> Result<(), WarehouseError> {
        let done = self.connection.read(sql, head, each);
        self.noted(done)
    }

    /// The first number of an answer.
    ///
    /// # Errors
    /// What Snowflake says.
    pub fn number(&mut self, sql: &str) -> Result<u64, WarehouseError> {
        let (_, rows) = self.rows(sql)?;
        Ok(rows.row(0).and_then(|row| number(row.cell(0))).unwrap_or(0))
    }

    /// Runs `work` in a transaction. What fails leaves nothing behind.
    ///
    /// # Errors
    /// Those of `work`; [`WarehouseError::Unsure`] when the answer to COMMIT was lost.
    pub fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, WarehouseError>,
    ) -> Result<T, WarehouseError> {
        self.execute("BEGIN")?;
        let done = match work(self) {
            Ok(done) => done,
            Err(error) => return Err(self.roll_back(error)),
        };
        match self.execute("COMMIT") {
            Ok(_) => Ok(done),
            Err(WarehouseError::Unreachable(message)) => Err(WarehouseError::Unsure(message)),
            // It was answered: with a refusal.
            Err(error) => Err(self.roll_back(error)),
        }
    }

    /// Ends a transaction that failed with `error`; the error that is to be told. A connection whose transaction cannot be
    /// ended is of no more use: the server ends it.
    pub fn roll_back(&mut self, error: WarehouseError) -> WarehouseError {
        if self.is_broken {
            return error;
        }
        match self.execute("ROLLBACK") {
            Ok(_) => error,
            Err(lost) => {
                self.is_broken = true;
                WarehouseError::Unreachable(format!("{error}; and ROLLBACK was not answered: {lost}"))
            }
        }
    }

    /// Takes the warehouse for `owner`, or renews what it has.
    ///
    /// # Errors
    /// [`WarehouseError::InUse`] when another owner has it.
    pub fn take(&mut self, owner: &str) -> Result<(), WarehouseError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        if self.lease.as_ref().is_some_and(|lease| lease.owner == owner) && self.renew(LEASE)? {
            return Ok(());
        }
        let table = self.table.clone();
        self.change(&format!(
            "INSERT INTO {table} (OWNER, SESSION, EXPIRES_AT) SELECT {COMMITS}, {COMMITS}, NULL \
             WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE OWNER = {COMMITS})"
        ))?;
        self.change(&format!("DELETE FROM {table} WHERE EXPIRES_AT <= CURRENT_TIMESTAMP()"))?;
        self.refuse_others(owner)?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let stamp = self.clock.0.wall().as_nanosecond();
        let lease = Lease {
            owner: owner.to_owned(),
            session: format!("{}-{stamp}-{serial}", std::process::id()),
            renewed: self.clock.0.elapsed(),
        };
        self.change(&format!(
            "INSERT INTO {table} (OWNER, SESSION, EXPIRES_AT) SELECT {}, {}, DATEADD(second, {}, CURRENT_TIMESTAMP())",
            text(owner),
            text(&lease.session),
            LEASE.as_secs()
        ))?;
        self.lease = Some(lease);
        // Two that come at once both see the other here, if not before; none of them stays.
        if let Err(error) = self.refuse_others(owner) {
            self.let_go();
            return Err(error);
        }
        Ok(())
    }

    fn refuse_others(&mut self, owner: &str) -> Result<(), WarehouseError> {
        let (_, rows) = self.rows(&format!(
            "SELECT OWNER, DATEDIFF(second, CURRENT_TIMESTAMP(), EXPIRES_AT) FROM {} \
             WHERE OWNER <> {} AND EXPIRES_AT > CURRENT_TIMESTAMP() ORDER BY EXPIRES_AT DESC LIMIT 1",
            self.table,
            text(owner)
        ))?;
        match rows.row(0).map(|row| (row.cell(0), number(row.cell(1)))) {
            Some((Cell::Text(other), left)) => Err(WarehouseError::InUse(format!(
                "it belongs to {other}, for {} s more unless that is renewed",
                left.unwrap_or(0)
            ))),
            _ => Ok(()),
        }
    }

    /// Makes the lease last so long from now; false when it is gone.
    fn renew(&mut self, last: Duration) -> Result<bool, WarehouseError> {
        let Some(lease) = self.lease.clone() else { return Ok(false) };
        let now = self.clock.0.elapsed();
        let renewed = self.change(&format!(
            "UPDATE {} SET EXPIRES_AT = DATEADD(second, {}, CURRENT_TIMESTAMP()) WHERE OWNER = {} AND SESSION = {}",
            self.table,
            last.as_secs(),
            text(&lease.owner),
            text(&lease.session)
        ))?;
        if let (1.., Some(lease)) = (renewed, &mut self.lease) {
            lease.renewed = now;
        }
        Ok(renewed > 0)
    }

    /// Renews the lease when a third of it is over; takes it anew when it is gone and nobody else has it.
    ///
    /// # Errors
    /// [`WarehouseError::InUse`] when another owner has it.
    pub fn keep(&mut self) -> Result<(), WarehouseError> {
        let Some(lease) = self.lease.clone() else { return Ok(()) };
        if self.clock.0.elapsed().saturating_sub(lease.renewed) < LEASE / 3 {
            return Ok(());
        }
        self.take(&lease.owner)
    }

    /// Makes the lease outlast a commit.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub fn keep_for_commit(&mut self) -> Result<(), WarehouseError> {
        let Some(lease) = self.lease.clone() else { return Ok(()) };
        if self.renew(COMMIT_LEASE)? {
            return Ok(());
        }
        self.lease = None;
        self.take(&lease.owner)?;
        self.renew(COMMIT_LEASE).map(drop)
    }

    /// Makes the lease as short as ever after a commit that failed, if that can be done.
    pub fn keep_no_longer(&mut self) {
        if self.is_broken {
            return;
        }
        if let Err(error) = self.renew(LEASE) {
            tracing::debug!(%error, "the lease on the warehouse stays long");
        }
    }

    /// Proves in a transaction that the warehouse is still ours. One row is locked until the transaction ends, the same for
    /// all, so that commits come one after another: also after one whose session was lost and which the server has not ended
    /// yet. What took long, the copying, is over by then.
    ///
    /// # Errors
    /// [`WarehouseError::InUse`] when it is not.
    pub fn prove(&mut self) -> Result<(), WarehouseError> {
        self.change(&format!("UPDATE {} SET EXPIRES_AT = NULL WHERE OWNER = {COMMITS}", self.table))?;
        if self.lease.is_none() || self.renew(LEASE)? {
            return Ok(());
        }
        Err(WarehouseError::InUse("the lease ran out before the commit".to_owned()))
    }

    /// Gives the lease back, if that can be done.
    pub fn let_go(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        if self.is_broken {
            return;
        }
        let sql = format!("DELETE FROM {} WHERE SESSION = {}", self.table, text(&lease.session));
        if let Err(error) = self.change(&sql) {
            tracing::debug!(%error, "the lease on the warehouse is left to expire");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A number that is not negative.
pub fn number(cell: Cell<'_>) -> Option<u64> {
    match cell {
        Cell::Int(value) => u64::try_from(value).ok(),
        Cell::Decimal(text) => text.parse().ok(),
        _ => None,
    }
}

/// A text, empty for null.
pub fn words(cell: Cell<'_>) -> &str {
    match cell {
        Cell::Text(text) => text,
        _ => "",
    }
}
