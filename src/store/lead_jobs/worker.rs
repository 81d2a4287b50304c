//! The thread of a job's store: requests that wait together become durable together.
//!
//! Promises: each request is done wholly or not at all, whatever becomes of its neighbours; it is answered after the commit;
//! counts change in the transaction of what they count.

use std::any::Any;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::error::{During, LeadStoreError};
use super::intake;
use super::keys::KeyIndex;
use super::schema::{self, JobRow};
use crate::leads::LeadCounts;
use crate::store::disk::{SharedDisk, is_full};
use crate::store::writer::Asked;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Written {
    /// Of whatever was written.
    pub number: u64,
    /// The counts of the job after it.
    pub counts: LeadCounts,
}

/// Changes the store within a transaction.
pub type WriteJob = Box<dyn FnOnce(&mut Change<'_>) -> Result<u64, LeadStoreError> + Send>;
/// Looks at the store.
pub type ReadJob = Box<dyn FnOnce(&View<'_>) -> Result<Box<dyn Any + Send>, LeadStoreError> + Send>;

/// What the thread is asked; taken out when it is done.
pub enum Request {
    Write(Option<WriteJob>),
    Read(Option<ReadJob>),
}

/// What it answers.
pub enum Answer {
    Written(Box<Written>),
    Read(Box<dyn Any + Send>),
}

/// What the thread is asked, and what it answers.
pub type AskedOfStore = Asked<Request, Result<Answer, LeadStoreError>>;

/// What is in memory of the file. After a write that failed it is read anew.
#[derive(Debug)]
pub struct State {
    pub job: JobRow,
    pub keys: KeyIndex,
    /// Something was spent on leads that are open again.
    pub has_earlier: bool,
    /// Leads wait for the endpoint's batch.
    pub has_questions: bool,
}

impl State {
    fn load(connection: &Connection, path: &Path) -> Result<Self, LeadStoreError> {
        let job = schema::job_row(connection, path)?;
        let keys = intake::open_keys(connection, path, !job.intake_ended)?;
        let is_any = |select: &str| -> Result<bool, LeadStoreError> {
            let find =
                |connection: &Connection| connection.prepare_cached(select)?.query_row([], |row| row.get(0));
            find(connection).during("read the lead job", path)
        };
        let has_earlier = is_any("SELECT EXISTS (SELECT 1 FROM earlier_spent)")?;
        let has_questions = is_any("SELECT EXISTS (SELECT 1 FROM questions)")?;
        Ok(Self { job, keys, has_earlier, has_questions })
    }
}

/// A write under way.
pub struct Change<'s> {
    pub connection: &'s Connection,
    pub path: &'s Path,
    pub state: &'s mut State,
}

/// A look at what is there.
pub struct View<'s> {
    pub connection: &'s Connection,
    pub path: &'s Path,
    pub state: &'s State,
}

/// See the module's promises.
pub struct Worker {
    connection: Connection,
    path: PathBuf,
    folder: PathBuf,
    disk: SharedDisk,
    state: Result<State, LeadStoreError>,
    /// Changes when another connection has written.
    version: i64,
}

impl Worker {
    /// Works on a file that is open.
    pub fn new(connection: Connection, path: PathBuf, disk: SharedDisk) -> Result<Self, LeadStoreError> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let state = State::load(&connection, &path)?;
        let version = data_version(&connection, &path)?;
        Ok(Self { connection, path, folder, disk, state: Ok(state), version })
    }

    /// What is in memory of the file.
    pub fn state(&self) -> Result<&State, LeadStoreError> {
        self.state.as_ref().map_err(Clone::clone)
    }

    /// Does what waits: the writes together, then the looks.
    pub fn serve(&mut self, asked: Vec<AskedOfStore>) {
        let (mut writes, mut reads) = (Vec::new(), Vec::new());
        for mut asked in asked {
            match &mut asked.request {
                Request::Write(job) => writes.push((job.take(), asked)),
                Request::Read(job) => reads.push((job.take(), asked)),
            }
        }
        if !writes.is_empty() {
            let (jobs, asked): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
            let jobs: Vec<_> = jobs.into_iter().flatten().collect();
            let mut done = Vec::with_capacity(jobs.len());
            let whole = self
                .write_together(jobs, &mut done)
                .map_err(|error| error.with_disk(&*self.disk, &self.folder));
            let mut done = done.into_iter();
            for asked in asked {
                let one = done.next().unwrap_or(Err(LeadStoreError::Closed));
                asked.answer(whole.clone().and(one).map(|written| Answer::Written(Box::new(written))));
            }
        }
        for (job, asked) in reads {
            let read = self.read(job);
            asked.answer(read.map(Answer::Read));
        }
    }

    fn read(&mut self, job: Option<ReadJob>) -> Result<Box<dyn Any + Send>, LeadStoreError> {
        self.refresh()?;
        let state = self.state.as_ref().map_err(Clone::clone)?;
        let job = job.ok_or(LeadStoreError::Closed)?;
        job(&View { connection: &self.connection, path: &self.path, state })
    }

    /// Reads the state again after a failure, or when somebody else has written (a second handle to the same job).
    fn refresh(&mut self) -> Result<(), LeadStoreError> {
        let version = data_version(&self.connection, &self.path)?;
        if self.state.is_err() || version != self.version {
            self.state = State::load(&self.connection, &self.path);
            self.version = version;
        }
        self.state().map(|_state| ())
    }

    /// One transaction; each request in a savepoint of its own. Answers each in `done`; an error is that of all of them.
    fn write_together(
        &mut self,
        jobs: Vec<WriteJob>,
        done: &mut Vec<Result<Written, LeadStoreError>>,
    ) -> Result<(), LeadStoreError> {
        // Asked before the write, so that a full disk is found before it is hit.
        if is_full(&*self.disk, &self.folder) {
            return Err(LeadStoreError::DiskFull);
        }
        self.refresh()?;
        let outcome = self.write_in_transaction(jobs, done);
        if let Err(error) = &outcome {
            // What is in memory may be ahead of the file: it is read again before it is used.
            self.state = Err(error.clone());
        }
        outcome
    }

    fn write_in_transaction(
        &mut self,
        jobs: Vec<WriteJob>,
        done: &mut Vec<Result<Written, LeadStoreError>>,
    ) -> Result<(), LeadStoreError> {
        let path = &self.path;
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).during(WRITE, path)?;
        // From here on nobody else writes.
        let version = data_version(&transaction, path)?;
        if version != self.version {
            self.state = State::load(&transaction, path);
            self.version = version;
        }
        // A savepoint keeps a copy of every page that is changed: one request alone is taken back with the transaction.
        let is_alone = jobs.len() == 1;
        for job in jobs {
            let state = self.state.as_mut().map_err(|error| error.clone())?;
            if !is_alone {
                execute(&transaction, "SAVEPOINT request").during(WRITE, path)?;
            }
            let mut change = Change { connection: &transaction, path, state };
            let outcome = job(&mut change).and_then(|number| {
                schema::keep_job_row(&transaction, path, &change.state.job)?;
                Ok(Written { number, counts: change.state.job.counts })
            });
            match &outcome {
                Ok(_) => {}
                // The transaction itself may be gone with such an error.
                Err(error @ (LeadStoreError::DiskFull | LeadStoreError::Refused { .. })) => {
                    return Err(error.clone());
                }
                Err(refused) if is_alone => return Err(refused.clone()),
                Err(_refused) => {
                    execute(&transaction, "ROLLBACK TO request").during(WRITE, path)?;
                    self.state = State::load(&transaction, path);
                }
            }
            if !is_alone {
                execute(&transaction, "RELEASE request").during(WRITE, path)?;
            }
            done.push(outcome);
        }
        transaction.commit().during(WRITE, path)
    }
}

const WRITE: &str = "write to the lead job";

fn execute(connection: &Connection, statement: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}

fn data_version(connection: &Connection, path: &Path) -> Result<i64, LeadStoreError> {
    connection
        .prepare_cached("PRAGMA data_version")
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .during("read the lead job", path)
}
