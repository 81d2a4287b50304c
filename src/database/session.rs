//! Carries a batch over a connection that answers later: PostgreSQL, MariaDB.
//!
//! Promises: a batch ends when its time is over, whatever the server does, and as soon as its client is gone, unless the
//! server was faster with its COMMIT; a flight that is stopped is stopped at the server too; what became of a COMMIT is
//! told as known only when its reply was seen.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use super::{Command, Reply};
use crate::batch::run::{BatchRun, GiveUp, RunWatch, Step};
use crate::clock::{BoxFuture, SharedClock};

/// How often a flight that takes long is interrupted by a look whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// How long the server may take to answer a flight that was cancelled. Then the connection is dropped.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The connection broke, or was dropped, before all replies of a flight were in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// A COMMIT had been sent, and nobody knows whether it holds.
    pub during_commit: bool,
}

/// No connection is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away;

/// A place on one connection at a time, for one batch. Dropping it gives the connection back, or away when a transaction
/// may still be open on it.
pub trait Session: Send {
    /// Makes sure that there is a connection; does nothing when there is. May be dropped in the middle.
    fn open(&mut self) -> impl Future<Output = Result<(), Away>> + Send;

    /// Carries commands in order; a reply for each. Dropped in the middle, only [`Self::abandon`] may follow.
    fn flight(&mut self, commands: Vec<Command>) -> impl Future<Output = Result<Vec<Reply>, Lost>> + Send;

    /// What stops, when awaited, the statement that runs at that moment. The connection is not used again after that: a
    /// cancellation may come late and hit what runs next.
    fn canceller(&self) -> BoxFuture<'static, ()>;

    /// Drops the connection in the middle of a flight.
    fn abandon(&mut self) -> Lost;

    /// No transaction is open: the connection may be given back until the next [`Self::open`].
    fn rest(&mut self);
}

/// Carries a batch to its end. Its time counts from here.
pub async fn drive<S: Session>(mut run: BatchRun, session: &mut S, clock: &SharedClock) -> BatchRun {
    let began = clock.elapsed();
    loop {
        let elapsed = clock.elapsed().saturating_sub(began);
        match run.next(elapsed) {
            Step::Finished => {
                session.rest();
                return run;
            }
            Step::Wait(pause) => {
                session.rest();
                clock.sleep(pause).await;
            }
            Step::Flight(commands) => {
                let time_left = run.time_left(elapsed);
                match open(session, run.watch(), time_left, clock).await {
                    Opened::Open => {}
                    Opened::Away => {
                        run.lost(false);
                        run.give_up(GiveUp::DatabaseAway);
                        continue;
                    }
                    Opened::Stopped => {
                        run.cut_off();
                        continue;
                    }
                }
                let elapsed = clock.elapsed().saturating_sub(began);
                let time_left = run.time_left(elapsed);
                match carry(session, commands, run.watch().clone(), time_left, clock).await {
                    Carried::Answered(replies) => {
                        run.accept(replies, clock.elapsed().saturating_sub(began));
                    }
                    Carried::Stopped => run.cut_off(),
                    Carried::Lost(lost) => run.lost(lost.during_commit),
                }
            }
        }
    }
}

/// What became of the wait for a connection.
enum Opened {
    Open,
    Away,
    /// The batch's time was over first, or its client was gone.
    Stopped,
}

/// Waits for a connection, as long as the batch may.
async fn open<S: Session>(
    session: &mut S,
    watch: &RunWatch,
    time_left: Duration,
    clock: &SharedClock,
) -> Opened {
    let mut opening = pin!(session.open());
    let mut over = clock.sleep(time_left);
    loop {
        tokio::select! {
            biased;
            opened = &mut opening => return if opened.is_ok() { Opened::Open } else { Opened::Away },
            () = &mut over => return Opened::Stopped,
            () = clock.sleep(LOOK) => {
                if watch.is_cancelled() {
                    return Opened::Stopped;
                }
            }
        }
    }
}

/// What became of a flight.
enum Carried {
    Answered(Vec<Reply>),
    /// We stopped it, and the server said so: nothing of its transaction is kept.
    Stopped,
    Lost(Lost),
}

impl From<Result<Vec<Reply>, Lost>> for Carried {
    fn from(outcome: Result<Vec<Reply>, Lost>) -> Self {
        outcome.map_or_else(Self::Lost, Self::Answered)
    }
}

/// One flight: to its replies, to the end of the batch's time, or to the client's going away.
async fn carry<S: Session>(
    session: &mut S,
    commands: Vec<Command>,
    watch: RunWatch,
    time_left: Duration,
    clock: &SharedClock,
) -> Carried {
    let commits = commands.iter().any(|command| matches!(command, Command::Commit));
    let cancel = session.canceller();
    let mut stopped = None;
    {
        let mut flight = pin!(session.flight(commands));
        let mut over = clock.sleep(time_left);
        loop {
            tokio::select! {
                biased;
                replies = &mut flight => return replies.into(),
                () = &mut over => break,
                () = clock.sleep(LOOK) => {
                    if watch.is_cancelled() {
                        break;
                    }
                }
            }
        }
        // The server is told to stop, and then answers like after any failed statement: so that even of a flight with a
        // COMMIT in it one knows what became of it.
        let mut last_words = clock.sleep(LAST_WORDS);
        let mut cancel = pin!(cancel);
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                replies = &mut flight => {
                    stopped = Some(match replies {
                        Ok(replies) if !is_committed(&replies, commits) => Carried::Stopped,
                        replies => replies.into(),
                    });
                    break;
                }
                () = &mut last_words => break,
                () = &mut cancel, if !asked => asked = true,
            }
        }
    }
    match stopped {
        // Not stopped by itself but by us: the run learns that it was cut off, and tells why.
        Some(Carried::Stopped) => {
            session.rest();
            Carried::Stopped
        }
        Some(outcome) => outcome,
        None => Carried::Lost(session.abandon()),
    }
}

/// Whether a flight that was to be stopped was done nevertheless, COMMIT and all.
fn is_committed(replies: &[Reply], commits: bool) -> bool {
    commits && !replies.iter().any(|reply| matches!(reply, Reply::Failed(_) | Reply::NotRun))
}
