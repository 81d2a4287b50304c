//! One connection: flights, and what is prepared on it.
//!
//! Promises: everything of a flight that does not need an answer first is sent at once and answered at once: PostgreSQL
//! runs it up to the first failure and nothing after that; a statement that is new to the connection costs no wait, since
//! it is prepared on the way; after the first failure of a flight nothing later is reported as done; a connection that
//! broke says so, and whether a COMMIT was on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::dial::Found;
use super::errors::{Fault, blames_a_row, ends_transaction};
use super::exchange::{Answer, Prepared, Table, exchange};
use super::lower::{About, KeyFound, Kind, Part, Piece, Standing, key_found, pieces};
use super::wire::Wire;
use crate::clock::BoxFuture;
use crate::database::session::Lost;
use crate::database::{Command, DbError, DbErrorCode, Reply, Rows};

/// A connection and what is known of it.
pub(super) struct Connection {
    wire: Wire,
    found: Arc<Found>,
    prepared: Prepared,
    standing: Standing,
    /// A COMMIT was sent, and its reply is not there yet.
    commit_on_its_way: bool,
    /// In the middle of a flight: dropped there, the connection is worth nothing.
    in_flight: bool,
    /// A cancellation was sent for it.
    spent: Arc<AtomicBool>,
}

/// How far a flight came.
enum Attempt {
    Through,
    /// A merged statement failed: from this command on, one by one.
    Unmerge(usize),
}

impl Connection {
    /// Takes a connection that is to have these time limits: of a statement, a lock, and idleness.
    pub(super) fn new(wire: Wire, found: Found, timeouts: [Duration; 3]) -> Self {
        Self {
            wire,
            found: Arc::new(found),
            prepared: Prepared::default(),
            standing: Standing { timeouts: Some(timeouts), ..Standing::default() },
            commit_on_its_way: false,
            in_flight: false,
            spent: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Whether another batch may have it.
    pub(super) fn is_fit(&mut self) -> bool {
        !self.standing.open && !self.in_flight && !self.spent.load(Ordering::Acquire) && self.wire.is_open()
    }

    /// Runs SQL of this source, without parameters and without rows.
    pub(super) async fn execute(&mut self, sql: &str) -> Result<(), Fault> {
        let part = Part::Text(sql.to_owned());
        self.exchange(&[&part]).await.into_iter().try_for_each(|answer| answer.map(drop))
    }

    async fn exchange(&mut self, parts: &[&Part]) -> Vec<Result<Answer, Fault>> {
        let exchanged = exchange(&mut self.wire, &mut self.prepared, parts).await;
        self.standing.open = !exchanged.is_idle;
        exchanged.answers
    }

    /// Whether a COMMIT was sent whose reply is missing.
    pub(super) fn commit_on_its_way(&self) -> bool {
        self.commit_on_its_way
    }

    /// What cancels the statement that runs when it is awaited; the connection is not used again then.
    pub(super) fn canceller(&self) -> BoxFuture<'static, ()> {
        let (found, spent) = (Arc::clone(&self.found), Arc::clone(&self.spent));
        Box::pin(async move {
            spent.store(true, Ordering::Release);
            if let Err(fault) = found.cancel().await {
                tracing::debug!(error = %fault.why(), "a statement could not be cancelled");
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
            let parts: Vec<&Part> = now.iter().flat_map(|piece| &piece.parts).collect();
            let answers = self.exchange(&parts).await;
            match self.judge(now, answers, replies) {
                Judged::Lost(lost) => {
                    self.spent.store(true, Ordering::Release);
                    return Err(lost);
                }
                Judged::Through => self.commit_on_its_way = false,
                Judged::Failed(unmerge) => {
                    self.commit_on_its_way = false;
                    return Ok(unmerge.map_or(Attempt::Through, Attempt::Unmerge));
                }
            }
        }
        Ok(Attempt::Through)
    }

    /// Reads the answers of pieces.
    fn judge(
        &self,
        pieces: &[Piece],
        answers: Vec<Result<Answer, Fault>>,
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
                let fault = error.failure();
                if fault.code == DbErrorCode::ConnectionLost {
                    // A server that says why it ends the session before COMMIT has not come to the COMMIT.
                    let told = error.is_told() && !matches!(piece.kind, Kind::Commit);
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
