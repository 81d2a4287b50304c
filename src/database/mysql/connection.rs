//! One connection: commands in, replies out, one statement after the other.
//!
//! Promises: every value is bound; nothing runs outside the transaction that the batch believes it is in: once the server
//! has undone a transaction by itself (a deadlock), everything up to the `Rollback` fails as the deadlock did, so that no
//! statement commits on its own, nor does one outside of a transaction; a command after one that failed is not tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value as Wire};

use super::error::{Failure, failure, plain, undoes_transaction};
use super::operation::alike_creates;
use super::value::encode_parameter;
use crate::batch::catalogue::ColumnType;
use crate::batch::sql::Statement;
use crate::batch::sql::mysql::Flavor;
use crate::batch::value::Value;
use crate::database::session::Lost;
use crate::database::{Command, DbError, DbErrorCode, Isolation, Reply, TransactionSettings};

/// What the server is, as it says itself when the connection opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Which server.
    pub flavor: Flavor,
    /// Whether a lock that was not had in time undoes the whole transaction.
    pub undoes_on_lock_timeout: bool,
}

/// An open connection.
pub struct Connection {
    pub(super) conn: Conn,
    pub(super) server: Server,
    merge: bool,
    /// Time limits as they were last set, so that they are only set again when they change.
    limits: Option<(Duration, Duration, Duration)>,
    state: State,
    /// The lock of the idempotency key that this transaction holds.
    pub(super) key_lock: Option<String>,
    /// A cancellation was sent for it, which may come late and hit whatever runs then.
    pub(super) spent: Arc<AtomicBool>,
}

/// What the connection is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    InTransaction,
    /// The server has undone the transaction; we have not been told to yet.
    Undone(DbErrorCode),
    /// A flight is on its way, or was dropped there.
    InFlight {
        commit_sent: bool,
    },
}

/// Result of one step.
pub(super) type Done<T> = Result<T, Failure>;

impl Connection {
    /// Takes a connection that the driver just opened, and makes it ours. `merge`: neighbouring creates may become one
    /// statement.
    ///
    /// # Errors
    /// The driver's.
    pub async fn prepare(mut conn: Conn, merge: bool) -> Result<Self, mysql_async::Error> {
        // One statement that both servers know; the modes of the server stay, as triggers and named statements may
        // count on them.
        conn.query_drop(
            "SET NAMES utf8mb4, time_zone = '+00:00', autocommit = 1, \
             sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO')",
        )
        .await?;
        let (version, undoes): (String, i64) =
            conn.query_first("SELECT VERSION(), @@innodb_rollback_on_timeout").await?.unwrap_or_default();
        let flavor = if version.contains("MariaDB") { Flavor::MariaDb } else { Flavor::Mysql };
        let server = Server { flavor, undoes_on_lock_timeout: undoes != 0 };
        Ok(Self {
            conn,
            server,
            merge,
            limits: None,
            state: State::Free,
            key_lock: None,
            spent: Arc::default(),
        })
    }

    /// Whether a batch may be given it: no transaction is open and no answer is awaited.
    pub fn is_free(&self) -> bool {
        self.state == State::Free && self.key_lock.is_none() && !self.spent.load(Ordering::Acquire)
    }

    /// What is known of a flight that was dropped.
    pub fn lost(&self) -> Lost {
        Lost { during_commit: matches!(self.state, State::InFlight { commit_sent: true }) }
    }

    /// Carries commands in order; a reply for each.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn flight(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>, Lost> {
        let mut replies = Vec::with_capacity(commands.len());
        let mut failed = false;
        // Up to here creates are not merged: together they failed, and the one that is to blame is looked for.
        let mut one_by_one = 0;
        while let Some(command) = commands.get(replies.len()) {
            if failed {
                replies.push(Reply::NotRun);
                continue;
            }
            let here = replies.len();
            let before = self.state;
            if here >= one_by_one && before == State::InTransaction && self.merges() {
                let alike = alike_creates(&commands[here..]);
                if alike.len() > 1 {
                    self.state = State::InFlight { commit_sent: false };
                    let merged = self.create_together(&alike).await;
                    match merged {
                        Ok(parts) => {
                            self.state = before;
                            replies.extend(parts.into_iter().map(Reply::Rows));
                            continue;
                        }
                        Err(Failure::Statement(error)) => {
                            self.state = self.state_after_failure(command, before, error.code);
                            one_by_one = here + alike.len();
                            continue;
                        }
                        Err(Failure::Lost) => return Err(Lost { during_commit: false }),
                    }
                }
            }
            let commit_sent = matches!(command, Command::Commit);
            self.state = State::InFlight { commit_sent };
            let (reply, after) = match self.carry(command, before).await {
                Ok(reply) => (reply, state_after(command, before)),
                Err(Failure::Statement(error)) => {
                    let after = self.state_after_failure(command, before, error.code);
                    (Reply::Failed(error), after)
                }
                // The state stays: the connection is not to be used again.
                Err(Failure::Lost) => return Err(Lost { during_commit: commit_sent }),
            };
            self.state = after;
            failed = matches!(reply, Reply::Failed(_));
            replies.push(reply);
        }
        Ok(replies)
    }

    /// Whether creates may become one statement: only where it answers their rows in their order.
    fn merges(&self) -> bool {
        self.merge && self.server.flavor == Flavor::MariaDb
    }

    async fn carry(&mut self, command: &Command, state: State) -> Done<Reply> {
        if let State::Undone(code) = state
            && !matches!(command, Command::Rollback)
        {
            return Err(Failure::Statement(plain(code, "undone")));
        }
        match (command, state) {
            // START TRANSACTION would commit what is open, and anything else would commit at once.
            (Command::Begin(_), State::InTransaction) => {
                return Err(refused(DbErrorCode::Other, "in a transaction"));
            }
            (Command::Begin(_) | Command::Rollback, _) | (_, State::InTransaction) => {}
            _ => return Err(refused(DbErrorCode::Other, "no transaction")),
        }
        match command {
            Command::Begin(settings) => self.begin(settings).await?,
            Command::TakeKey { scope, fingerprint } => return self.take_key(scope, fingerprint).await,
            Command::KeepAnswer { scope, answer } => self.keep_answer(scope, answer).await?,
            Command::DropKey { scope } => self.drop_key(scope).await?,
            Command::Run(operation) => return self.operation(operation).await.map(Reply::Rows),
            Command::Savepoint => self.text("SAVEPOINT penstock").await?,
            Command::RollbackToSavepoint => self.text("ROLLBACK TO SAVEPOINT penstock").await?,
            Command::ReleaseSavepoint => self.text("RELEASE SAVEPOINT penstock").await?,
            // There are no deferred constraints: everything is judged by its own statement.
            Command::CheckConstraints => {}
            Command::Commit => {
                self.text("COMMIT").await?;
                self.release_key().await;
            }
            Command::Rollback => {
                self.text("ROLLBACK").await?;
                self.release_key().await;
            }
        }
        Ok(Reply::Done)
    }

    async fn begin(&mut self, settings: &TransactionSettings) -> Done<()> {
        let mut sql = String::new();
        let limits = (settings.statement_timeout, settings.lock_timeout, settings.idle_timeout);
        if self.limits != Some(limits) {
            sql.push_str(&limits_sql(self.server.flavor, settings));
            sql.push(';');
        }
        if let Some(isolation) = settings.isolation {
            sql.push_str(match isolation {
                Isolation::ReadCommitted => "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;",
                Isolation::RepeatableRead => "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;",
                Isolation::Serializable => "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;",
            });
        }
        sql.push_str(if settings.read_only { "START TRANSACTION READ ONLY" } else { "START TRANSACTION" });
        // Until all of it went well, nobody knows which were set.
        self.limits = None;
        self.text(&sql).await?;
        self.limits = Some(limits);
        Ok(())
    }

    /// Fixed words, without parameters; several statements are one round trip.
    pub(super) async fn text(&mut self, sql: &str) -> Done<()> {
        self.conn.query_drop(sql).await.map_err(|error| failure(&error))
    }

    /// A statement whose answer is not of interest. Answers how many rows it matched, and the number that the database
    /// gave the first of them.
    pub(super) async fn execute(&mut self, statement: &Statement) -> Done<(u64, Option<u64>)> {
        let parameters = encode_all(statement)?;
        let result = self
            .conn
            .exec_iter(statement.text.as_str(), parameters)
            .await
            .map_err(|error| failure(&error))?;
        let answer = (result.affected_rows(), result.last_insert_id());
        result.drop_result().await.map_err(|error| failure(&error))?;
        Ok(answer)
    }

    /// A statement with an answer: cells of each row as the server sent them. Rows past `most` are thrown away.
    pub(super) async fn rows(&mut self, statement: &Statement, most: usize) -> Done<Vec<Vec<Wire>>> {
        let parameters = encode_all(statement)?;
        let mut result = self
            .conn
            .exec_iter(statement.text.as_str(), parameters)
            .await
            .map_err(|error| failure(&error))?;
        let mut rows = Vec::new();
        while let Some(row) = result.next().await.map_err(|error| failure(&error))? {
            if rows.len() < most {
                rows.push(row.unwrap());
            }
        }
        Ok(rows)
    }

    /// What fixed words with parameters of ours answer: the first row.
    pub(super) async fn first(&mut self, sql: &str, parameters: Vec<Wire>) -> Done<Option<Vec<Wire>>> {
        let row: Option<mysql_async::Row> =
            self.conn.exec_first(sql, positional(parameters)).await.map_err(|error| failure(&error))?;
        Ok(row.map(mysql_async::Row::unwrap))
    }

    fn state_after_failure(&self, command: &Command, before: State, code: DbErrorCode) -> State {
        match (command, before) {
            (_, State::Undone(_)) | (Command::Begin(_), _) => before,
            _ if undoes_transaction(code) => State::Undone(code),
            _ if code == DbErrorCode::LockTimeout && self.server.undoes_on_lock_timeout => {
                State::Undone(code)
            }
            _ => before,
        }
    }
}

fn state_after(command: &Command, before: State) -> State {
    match command {
        Command::Begin(_) => State::InTransaction,
        Command::Commit | Command::Rollback => State::Free,
        _ => before,
    }
}

fn encode_all(statement: &Statement) -> Done<Params> {
    let mut wires = Vec::with_capacity(statement.parameters.len());
    for parameter in &statement.parameters {
        match encode_parameter(parameter) {
            Some(wire) => wires.push(wire),
            None => return Err(Failure::Statement(plain(DbErrorCode::TypeMismatch, "parameter"))),
        }
    }
    Ok(positional(wires))
}

fn positional(wires: Vec<Wire>) -> Params {
    if wires.is_empty() { Params::Empty } else { Params::Positional(wires) }
}

/// Time limits of a session. Locks are waited for in whole seconds, so they are rounded up.
fn limits_sql(flavor: Flavor, settings: &TransactionSettings) -> String {
    let lock = whole_seconds(settings.lock_timeout);
    let common = format!("SET SESSION innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock}");
    match flavor {
        Flavor::MariaDb => format!(
            "{common}, max_statement_time = {:.3}, idle_transaction_timeout = {}",
            settings.statement_timeout.as_secs_f64(),
            whole_seconds(settings.idle_timeout),
        ),
        Flavor::Mysql => format!("{common}, max_execution_time = {}", settings.statement_timeout.as_millis()),
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

/// A count of the server as ours.
pub(super) fn count_of(wire: Wire) -> u64 {
    match super::value::decode(wire, &ColumnType::Int { bits: 64, unsigned: false }) {
        Value::Int(number) => u64::try_from(number).unwrap_or(0),
        _ => 0,
    }
}

/// A failure of a statement.
pub(super) fn refused(code: DbErrorCode, native_code: &str) -> Failure {
    let error: DbError = plain(code, native_code);
    Failure::Statement(error)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, 1)]
    #[case(1, 1)]
    #[case(1000, 1)]
    #[case(1001, 2)]
    #[case(2000, 2)]
    fn locks_are_waited_for_in_whole_seconds_rounded_up(#[case] millis: u64, #[case] seconds: u64) {
        assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
    }
}
