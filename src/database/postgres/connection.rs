//! One connection: flights, and what is prepared on it.
//!
//! Promises: everything of a flight that does not need an answer first is sent before the first answer is waited for; a
//! statement that is new to the connection costs no wait either, since it runs unnamed while it is being prepared; after
//! the first failure of a flight nothing later is reported as done; a connection that broke says so, and whether a COMMIT
//! was on its way.

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, RowStream};

use super::cells::{AsText, Raw};
use super::driver::{Driver, Library};
use super::errors::{blames_a_row, ends_transaction, failure, forgets_statements, is_aborted_transaction};
use super::lower::{About, KeyFound, Kind, Part, Piece, Query, Standing, key_found, pieces};
use super::tls::Tls;
use crate::batch::value::Value;
use crate::clock::BoxFuture;
use crate::database::session::Lost;
use crate::database::{Command, DbError, DbErrorCode, Reply, Rows};

/// Statements that stay prepared.
const PREPARED_MAX: usize = 256;

/// Bytes of rows that one statement may bring; the batch's own limit is far below and judged by its run.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection and what is known of it.
pub(super) struct Connection {
    client: Client,
    /// After the client: dropped in this order, it ends the session.
    driver: Driver,
    tls: Tls,
    prepared: Prepared,
    standing: Standing,
    /// A COMMIT was sent, and its reply is not there yet.
    commit_on_its_way: bool,
    /// In the middle of a flight: dropped there, the connection is worth nothing.
    in_flight: bool,
    /// A cancellation was sent for it.
    spent: Arc<AtomicBool>,
}

/// Prepared statements by their text, the longest unused one out first.
#[derive(Default)]
struct Prepared {
    by_text: HashMap<Arc<str>, (tokio_postgres::Statement, u64)>,
    uses: u64,
}

impl Prepared {
    fn get(&mut self, text: &str) -> Option<tokio_postgres::Statement> {
        self.uses += 1;
        let (statement, used) = self.by_text.get_mut(text)?;
        *used = self.uses;
        Some(statement.clone())
    }

    fn keep(&mut self, text: Arc<str>, statement: tokio_postgres::Statement) {
        if self.by_text.len() >= PREPARED_MAX
            && let Some(oldest) =
                self.by_text.iter().min_by_key(|(_, (_, used))| *used).map(|(text, _)| text.clone())
        {
            // Dropping it closes it at the server.
            self.by_text.remove(&oldest);
        }
        self.uses += 1;
        self.by_text.insert(text, (statement, self.uses));
    }
}

/// What one statement brought.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Vec<Value>>,
    /// All rows, also those that are not kept because they are too many.
    count: u64,
    /// What was found wrong that PostgreSQL does not fail for.
    fault: Option<DbErrorCode>,
    misread: Option<String>,
}

/// What an answer was.
enum Answer {
    Done,
    Table(Table),
    Prepared(Arc<str>, tokio_postgres::Statement),
}

/// What goes out, in order.
enum Send<'a> {
    Text(&'a str),
    Named(tokio_postgres::Statement, &'a Query),
    Unnamed(&'a Query),
    Prepare(Arc<str>),
}

/// How far a flight came.
enum Attempt {
    Through,
    /// A merged statement failed: from this command on, one by one.
    Unmerge(usize),
}

impl Connection {
    /// Takes a connection that was set up for batches, with these time limits: of a statement, a lock, and idleness.
    pub(super) fn new(client: Client, library: Library, tls: Tls, timeouts: [Duration; 3]) -> Self {
        Self {
            client,
            driver: Driver::new(library),
            tls,
            prepared: Prepared::default(),
            standing: Standing { timeouts: Some(timeouts), ..Standing::default() },
            commit_on_its_way: false,
            in_flight: false,
            spent: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Whether another batch may have it.
    pub(super) fn is_fit(&mut self) -> bool {
        !self.standing.open
            && !self.in_flight
            && !self.spent.load(Ordering::Acquire)
            && self.driver.is_open()
    }

    /// Runs SQL of this source, without parameters and without rows.
    pub(super) async fn execute(&mut self, sql: &str) -> Result<(), Error> {
        let told = self.driver.answers(vec![coming(&self.client, Send::Text(sql))]).await;
        told.into_iter().try_for_each(|answer| answer.map(drop).map_err(|(error, _)| error))
    }

    /// Whether a COMMIT was sent whose reply is missing.
    pub(super) fn commit_on_its_way(&self) -> bool {
        self.commit_on_its_way
    }

    /// What cancels the statement that runs when it is awaited; the connection is not used again then.
    pub(super) fn canceller(&self) -> BoxFuture<'static, ()> {
        let (token, tls, spent) = (self.client.cancel_token(), self.tls.clone(), Arc::clone(&self.spent));
        Box::pin(async move {
            spent.store(true, Ordering::Release);
            if let Err(error) = token.cancel_query(tls).await {
                tracing::debug!(error = %failure(&error).native_code, "a statement could not be cancelled");
            }
        })
    }

    /// Carries a flight.
    pub(super) async fn carry(&mut self, commands: &[Command], about: &About) -> Result<Vec<Reply>, Lost> {
        self.in_flight = true;
        let replies = self.carry_all(commands, about).await;
        self.in_flight = false;
        replies
    }

    async fn carry_all(&mut self, commands: &[Command], about: &About) -> Result<Vec<Reply>, Lost> {
        let mut replies = Vec::with_capacity(commands.len());
        if let Attempt::Unmerge(from) = self.attempt(commands, 0, about.merge, about, &mut replies).await? {
            let opens = matches!(commands.first(), Some(Command::Begin(_)));
            let (sql, from) = match opens {
                // The transaction was opened by this flight, and is gone with it: it is done again, whole.
                true => ("ROLLBACK", 0),
                false => ("ROLLBACK TO SAVEPOINT penstock_merge; RELEASE SAVEPOINT penstock_merge", from),
            };
            self.execute(sql).await.map_err(|_| Lost { during_commit: false })?;
            if opens {
                self.standing.open = false;
            }
            replies.truncate(from);
            self.attempt(commands, from, false, about, &mut replies).await?;
        }
        replies.resize_with(commands.len(), || Reply::NotRun);
        Ok(replies)
    }

    /// Sends the commands from `from` on; adds their replies up to the first that failed.
    async fn attempt(
        &mut self,
        commands: &[Command],
        from: usize,
        merges: bool,
        about: &About,
        replies: &mut Vec<Reply>,
    ) -> Result<Attempt, Lost> {
        let mut standing = self.standing.clone();
        let pieces = pieces(commands, from, merges, about, &mut standing);
        // Whom the transaction is for holds from its BEGIN on, also when something after it fails.
        self.standing.identity.clone_from(&standing.identity);
        let mut rest = &pieces[..];
        while !rest.is_empty() {
            let together = 1 + rest[1..].iter().take_while(|piece| !piece.waits).count();
            let (now, later) = rest.split_at(together);
            rest = later;
            if now.iter().any(|piece| matches!(piece.kind, Kind::Begin)) {
                // From here on it may be open, whatever the replies are.
                self.standing.open = true;
            }
            let commits = now.iter().any(|piece| matches!(piece.kind, Kind::Commit));
            self.commit_on_its_way = commits;
            let answers = self.exchange(now).await;
            let outcome = self.judge(now, answers, replies);
            let ended = now.iter().any(|piece| matches!(piece.kind, Kind::Commit | Kind::Rollback));
            match outcome {
                Judged::Lost(lost) => {
                    self.spent.store(true, Ordering::Release);
                    return Err(lost);
                }
                Judged::Through => {
                    self.commit_on_its_way = false;
                    if ended {
                        self.standing.open = false;
                    }
                }
                Judged::Failed(unmerge) => {
                    self.commit_on_its_way = false;
                    // A COMMIT of a transaction that failed rolls it back.
                    if ended {
                        self.standing.open = false;
                    }
                    return Ok(unmerge.map_or(Attempt::Through, Attempt::Unmerge));
                }
            }
        }
        Ok(Attempt::Through)
    }

    /// Sends pieces without a wait in between and takes in all answers, statement by statement.
    async fn exchange(&mut self, pieces: &[Piece]) -> Vec<Result<Answer, Error>> {
        let mut sends = Vec::new();
        let mut asked: Vec<Arc<str>> = Vec::new();
        for part in pieces.iter().flat_map(|piece| &piece.parts) {
            match part {
                Part::Text(sql) => sends.push(Send::Text(sql)),
                Part::Query(query) => match self.prepared.get(&query.statement.text) {
                    Some(prepared) => sends.push(Send::Named(prepared, query)),
                    None => {
                        sends.push(Send::Unnamed(query));
                        // For the next time; the answer comes with the others.
                        if !asked.iter().any(|text| **text == *query.statement.text) {
                            let text: Arc<str> = query.statement.text.as_str().into();
                            asked.push(Arc::clone(&text));
                            sends.push(Send::Prepare(text));
                        }
                    }
                },
            }
        }
        let client = &self.client;
        let answers =
            self.driver.answers(sends.into_iter().map(|send| coming(client, send)).collect()).await;
        let mut told = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(Answer::Prepared(text, statement)) => self.prepared.keep(text, statement),
                // Not prepared: because something before it failed, which is told by its own answer.
                Err((_, true)) => {}
                Ok(answer) => told.push(Ok(answer)),
                Err((error, false)) => {
                    if forgets_statements(&error) {
                        self.prepared = Prepared::default();
                    }
                    told.push(Err(error));
                }
            }
        }
        told
    }

    /// Reads the answers of pieces.
    fn judge(
        &self,
        pieces: &[Piece],
        answers: Vec<Result<Answer, Error>>,
        replies: &mut Vec<Reply>,
    ) -> Judged {
        let mut answers = answers.into_iter();
        // COMMIT is in these pieces, and nothing before it has failed: it may hold.
        let mut may_commit = pieces.iter().any(|piece| matches!(piece.kind, Kind::Commit));
        let mut failed = None;
        // What failed did so for us alone: PostgreSQL goes on, and a COMMIT after it holds.
        let mut unseen = false;
        for piece in pieces {
            let mut tables = Vec::new();
            let mut error = None;
            for answer in answers.by_ref().take(piece.parts.len()) {
                match answer {
                    Ok(Answer::Table(table)) => tables.push(table),
                    Ok(_) => {}
                    Err(_) if error.is_some() => {}
                    Err(found) => error = Some(found),
                }
            }
            if failed.is_some() {
                unseen &= error.is_none();
                if unseen && matches!(piece.kind, Kind::Commit) {
                    tracing::error!("an answer could not be read, and its COMMIT was under way");
                    return Judged::Lost(Lost { during_commit: true });
                }
                continue;
            }
            if let Some(error) = error {
                let fault = failure(&error);
                if fault.code == DbErrorCode::ConnectionLost {
                    // A server that says why it ends the session before COMMIT has not come to the COMMIT.
                    let told = error.as_db_error().is_some() && !matches!(piece.kind, Kind::Commit);
                    return Judged::Lost(Lost { during_commit: may_commit && !told });
                }
                may_commit = false;
                tracing::debug!(sqlstate = %fault.native_code, "a statement failed");
                if matches!(piece.kind, Kind::Commit | Kind::Rollback) && !ends_transaction(fault.code) {
                    // Stopped before it had begun, it leaves the transaction open.
                    self.spent.store(true, Ordering::Release);
                }
                let begins = matches!(piece.kind, Kind::Begin);
                let unmerges = matches!(piece.kind, Kind::Merged(_)) && blames_a_row(fault.code);
                if !unmerges {
                    let fault = match fault.code {
                        // The caller's role: there is none of this name, or we may not take it.
                        DbErrorCode::TypeMismatch if begins => {
                            DbError { code: DbErrorCode::ActionForbidden, ..fault }
                        }
                        // The state of the flight's own failure is told by the statement that failed first.
                        _ if is_aborted_transaction(&error) => DbError { code: DbErrorCode::Other, ..fault },
                        _ => fault,
                    };
                    replies.push(Reply::Failed(fault));
                }
                failed = Some(unmerges.then_some(piece.commands.start));
                continue;
            }
            if let Err(unmerge) = reply(piece, tables, replies) {
                failed = Some(unmerge);
                unseen = true;
            }
        }
        failed.map_or(Judged::Through, Judged::Failed)
    }
}

enum Judged {
    Through,
    /// Something failed; with a command: a merged statement did, and is to be taken apart from there.
    Failed(Option<usize>),
    Lost(Lost),
}

/// The replies of a piece whose statements went through. `Err`: what came back is a failure all the same.
fn reply(piece: &Piece, tables: Vec<Table>, replies: &mut Vec<Reply>) -> Result<(), Option<usize>> {
    let fail = |replies: &mut Vec<Reply>, code, why: &str| {
        replies.push(Reply::Failed(DbError {
            code,
            column: None,
            constraint: None,
            native_code: why.to_owned(),
        }));
        Err(None)
    };
    let fault = tables.iter().find_map(|table| table.fault);
    if let Kind::Merged(_) = piece.kind
        && fault.is_some_and(|code| code != DbErrorCode::ResultTooLarge)
    {
        return Err(Some(piece.commands.start));
    }
    if let Some(code) = fault {
        let why = tables.iter().find_map(|table| table.misread.clone()).unwrap_or_default();
        return fail(replies, code, &why);
    }
    match &piece.kind {
        Kind::Begin | Kind::Plain | Kind::Commit | Kind::Rollback => replies.push(Reply::Done),
        Kind::Refused(why) => return fail(replies, DbErrorCode::Other, why),
        Kind::Rows { width } => {
            let count = tables.iter().map(|table| table.rows.len()).sum();
            let cells = tables.into_iter().flat_map(|table| table.rows).flatten().collect();
            replies.push(Reply::Rows(Rows { width: *width, count, cells, merged: 0 }));
        }
        Kind::Merged(merged) => {
            let answer = tables.into_iter().flat_map(|table| table.rows).collect();
            let Some(rows) = merged.in_order(answer) else { return Err(Some(piece.commands.start)) };
            let mut rows = rows.into_iter();
            for count in &merged.rows {
                let own = rows.by_ref().take(*count);
                let cells = own.flat_map(|row| row.into_iter().take(merged.width)).collect();
                replies.push(Reply::Rows(Rows {
                    width: merged.width,
                    count: *count,
                    cells,
                    merged: merged.total() - count,
                }));
            }
        }
        Kind::TakeKey => {
            let row = tables.first().and_then(|table| table.rows.first());
            match key_found(row.map_or(&[], |row| row)) {
                KeyFound::Ours => replies.push(Reply::Done),
                KeyFound::InFlight => return fail(replies, DbErrorCode::KeyInFlight, ""),
                // What follows in the flight was done, and is kept or not as the run says: the key may be its own.
                KeyFound::There(answer) => replies.push(Reply::Key(answer)),
            }
        }
    }
    Ok(())
}

/// One statement: polled once it is sent, polled on it brings its answer.
fn coming<'a>(client: &'a Client, send: Send<'a>) -> Coming<'a> {
    Box::pin(async move {
        match send {
            Send::Text(sql) => {
                client.batch_execute(sql).await.map(|()| Answer::Done).map_err(|error| (error, false))
            }
            Send::Prepare(text) => match client.prepare(&text).await {
                Ok(statement) => Ok(Answer::Prepared(text, statement)),
                Err(error) => Err((error, true)),
            },
            Send::Named(statement, query) => {
                let parameters: Vec<AsText<'_>> = query.statement.parameters.iter().map(AsText).collect();
                let rows = async { table(client.query_raw(&statement, &parameters).await?, query).await };
                rows.await.map(Answer::Table).map_err(|error| (error, false))
            }
            Send::Unnamed(query) => {
                let parameters: Vec<(AsText<'_>, Type)> = query
                    .statement
                    .parameters
                    .iter()
                    // The place's own cast says what it is.
                    .map(|parameter| (AsText(parameter), Type::UNKNOWN))
                    .collect();
                let rows = async {
                    table(client.query_typed_raw(&query.statement.text, parameters).await?, query).await
                };
                rows.await.map(Answer::Table).map_err(|error| (error, false))
            }
        }
    })
}

type Coming<'a> = Pin<Box<dyn Future<Output = Result<Answer, (Error, bool)>> + std::marker::Send + 'a>>;

/// Reads the rows of one statement to their end. Rows that are too many are counted and not kept.
async fn table(rows: RowStream, query: &Query) -> Result<Table, Error> {
    let mut rows = pin!(rows);
    let mut table = Table::default();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        table.count += 1;
        if table.count > query.rows_max {
            table.fault = Some(DbErrorCode::TooManyRows);
            table.rows.clear();
        }
        if table.fault.is_some() {
            continue;
        }
        if query.verdict && !row.try_get::<_, bool>(row.len() - 1)? {
            table.fault = Some(DbErrorCode::RowForbidden);
            continue;
        }
        let cells = query.answered.iter().enumerate().map(|(index, column_type)| {
            let raw: Raw<'_> = row.try_get(index).map_err(|error| error.to_string())?;
            raw.value(column_type).map_err(|error| error.to_string())
        });
        match cells.collect::<Result<Vec<_>, String>>() {
            Ok(cells) => {
                bytes += cells.iter().map(Value::bytes).sum::<usize>();
                table.rows.push(cells);
                if bytes > ANSWER_BYTES_MAX {
                    table.fault = Some(DbErrorCode::ResultTooLarge);
                    table.rows.clear();
                }
            }
            Err(why) => {
                table.fault = Some(DbErrorCode::Other);
                table.misread = Some(why);
            }
        }
    }
    Ok(table)
}
