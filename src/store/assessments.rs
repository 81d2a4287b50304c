//! Answers of models that were paid for, of all jobs, so that none is paid for twice: one SQLite file.
//!
//! Promises: an answer that was put is on the disk when the call returns, and survives kill -9 and a power cut; whatever
//! waits becomes durable with one sync. The first answer to a question stays. A full disk changes nothing and is told apart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::disk::{SharedDisk, is_full};
use super::lead_jobs::{During, LeadStoreError};
use super::state_folder::quarantine_database;
use super::writer::{Asked, StoreThread};
use crate::clock::SharedClock;
use crate::leads::{Money, Spent};

const VERSION: u32 = 1;
const CACHE_KIB: i64 = 1024;
const QUEUE: usize = 256;
const COMMITS_TOGETHER: usize = 128;
const READ: &str = "read answers of the model";
const WRITE: &str = "keep answers of the model";

/// What an answer is the answer to: the hash of the lead's content as it was asked about, of the prompt's version, of the model
/// and its temperature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssessmentKey(pub [u8; 32]);

impl fmt::Debug for AssessmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An answer that was paid for.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAssessment {
    /// What it answers.
    pub key: AssessmentKey,
    /// What the model said, as it said it.
    pub answer: String,
    /// What it took, with the answers of no use before it.
    pub spent: Spent,
    /// The job that paid for it.
    pub job: String,
}

impl fmt::Debug for StoredAssessment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the model says of a person is that person's data.
        f.debug_struct("StoredAssessment")
            .field("key", &self.key)
            .field("spent", &self.spent)
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}

/// What the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AssessmentCounts {
    /// Answers.
    pub answers: u64,
    /// What they took in money.
    pub cost: Money,
}

/// A handle to the store's thread, which ends with the last handle.
#[derive(Debug, Clone)]
pub struct AssessmentStore {
    thread: StoreThread<Request, Result<Answer, LeadStoreError>>,
}

/// A store, and where a damaged predecessor was put.
#[derive(Debug)]
pub struct OpenedAssessments {
    /// Ready for use.
    pub store: AssessmentStore,
    /// The file that could not be read, and why.
    pub quarantined: Option<(PathBuf, String)>,
}

enum Request {
    Get(Vec<AssessmentKey>),
    Put(Vec<StoredAssessment>),
    Forget(Duration),
    Count,
}

enum Answer {
    Got(Vec<Option<StoredAssessment>>),
    Done(u64),
    Counts(AssessmentCounts),
}

impl AssessmentStore {
    /// Opens the file at `path`, making it and its folder if need be. A damaged one is put aside, for what is in it was paid
    /// for, and an empty one is made.
    ///
    /// # Errors
    /// When a younger penstock has written it, the disk is full, or the operating system refuses.
    pub fn open(
        path: &Path,
        disk: SharedDisk,
        clock: SharedClock,
    ) -> Result<OpenedAssessments, LeadStoreError> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        std::fs::create_dir_all(&folder)
            .map_err(|error| LeadStoreError::io("make the folder of the model's answers", &error))?;
        let (connection, quarantined) = match connect(path) {
            Ok(connection) => (connection, None),
            Err(LeadStoreError::Damaged { why, .. }) => {
                let aside = quarantine_database(path, &clock)
                    .map_err(|error| LeadStoreError::io("put damaged answers of the model aside", &error))?;
                (connect(path)?, Some((aside, why)))
            }
            Err(error) => return Err(error.with_disk(&*disk, &folder)),
        };
        let mut worker = Worker { connection, path: path.to_owned(), folder, disk, clock };
        let thread =
            StoreThread::start("assessments", QUEUE, COMMITS_TOGETHER, move |asked| worker.serve(asked))
                .map_err(|error| LeadStoreError::io("start the thread of the model's answers", &error))?;
        Ok(OpenedAssessments { store: Self { thread }, quarantined })
    }

    /// Answers that are there, each in the place of its key.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn get(
        &self,
        keys: Vec<AssessmentKey>,
    ) -> Result<Vec<Option<StoredAssessment>>, LeadStoreError> {
        match self.ask(Request::Get(keys)).await? {
            Answer::Got(found) => Ok(found),
            Answer::Done(_) | Answer::Counts(_) => Err(LeadStoreError::Closed),
        }
    }

    /// Keeps answers; a question that has one keeps it. They are on the disk when this returns.
    ///
    /// # Errors
    /// When the disk is full: none of them is then kept.
    pub async fn put(&self, answers: Vec<StoredAssessment>) -> Result<(), LeadStoreError> {
        self.ask(Request::Put(answers)).await.map(|_done| ())
    }

    /// Forgets answers that are older than this; answers how many.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn forget_older(&self, than: Duration) -> Result<u64, LeadStoreError> {
        match self.ask(Request::Forget(than)).await? {
            Answer::Done(number) => Ok(number),
            Answer::Got(_) | Answer::Counts(_) => Err(LeadStoreError::Closed),
        }
    }

    /// What the store holds. Reads all of it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn counts(&self) -> Result<AssessmentCounts, LeadStoreError> {
        match self.ask(Request::Count).await? {
            Answer::Counts(counts) => Ok(counts),
            Answer::Got(_) | Answer::Done(_) => Err(LeadStoreError::Closed),
        }
    }

    async fn ask(&self, request: Request) -> Result<Answer, LeadStoreError> {
        self.thread.ask(request).await.unwrap_or(Err(LeadStoreError::Closed))
    }
}

fn connect(path: &Path) -> Result<Connection, LeadStoreError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // FULL: an answer that was acknowledged survives a power cut, or it would be paid for again.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "journal_size_limit", 8 * 1024 * 1024)?;
        connection.execute_batch(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS assessments (
                 key BLOB PRIMARY KEY, stored_at INTEGER NOT NULL, job TEXT NOT NULL,
                 prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
                 cost INTEGER NOT NULL, requests INTEGER NOT NULL, answer TEXT NOT NULL
             );
             COMMIT;",
        )?;
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 {
            connection.pragma_update(None, "user_version", VERSION)?;
        }
        Ok((connection, version))
    };
    let (connection, found) = open().during("open the answers of the model", path)?;
    if found > VERSION {
        return Err(LeadStoreError::Younger { path: path.to_owned(), found, known: VERSION });
    }
    Ok(connection)
}

struct Worker {
    connection: Connection,
    path: PathBuf,
    folder: PathBuf,
    disk: SharedDisk,
    clock: SharedClock,
}

impl Worker {
    /// What is put goes into one transaction, which is over before anything is looked up.
    fn serve(&mut self, asked: Vec<Asked<Request, Result<Answer, LeadStoreError>>>) {
        let (writes, reads): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .partition(|asked| matches!(asked.request, Request::Put(_) | Request::Forget(_)));
        if !writes.is_empty() {
            let done = self.write(&writes).map_err(|error| error.with_disk(&*self.disk, &self.folder));
            for (at, asked) in writes.into_iter().enumerate() {
                asked.answer(done.clone().map(|done| Answer::Done(done[at])));
            }
        }
        for asked in reads {
            let answer = match &asked.request {
                Request::Get(keys) => self.get(keys).map(Answer::Got),
                _ => self.count().map(Answer::Counts),
            };
            asked.answer(answer);
        }
    }

    fn write(
        &mut self,
        asked: &[Asked<Request, Result<Answer, LeadStoreError>>],
    ) -> Result<Vec<u64>, LeadStoreError> {
        if is_full(&*self.disk, &self.folder) {
            return Err(LeadStoreError::DiskFull);
        }
        let now = self.clock.wall().as_second();
        let mut write = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut done = Vec::with_capacity(asked.len());
            for asked in asked {
                done.push(match &asked.request {
                    Request::Put(answers) => put(&transaction, answers, now)?,
                    Request::Forget(than) => forget(&transaction, now, *than)?,
                    Request::Get(_) | Request::Count => 0,
                });
            }
            transaction.commit()?;
            Ok(done)
        };
        write().during(WRITE, &self.path)
    }

    fn get(&self, keys: &[AssessmentKey]) -> Result<Vec<Option<StoredAssessment>>, LeadStoreError> {
        let get = || {
            let mut select = self.connection.prepare_cached(
                "SELECT job, prompt_tokens, completion_tokens, cost, requests, answer
                 FROM assessments WHERE key = ?1",
            )?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let read = |row: &rusqlite::Row<'_>| {
                    let spent = Spent {
                        prompt_tokens: row.get(1)?,
                        completion_tokens: row.get(2)?,
                        cost: Money(row.get(3)?),
                        requests: row.get(4)?,
                    };
                    Ok(StoredAssessment { key: *key, answer: row.get(5)?, spent, job: row.get(0)? })
                };
                found.push(select.query_row([key.0.as_slice()], read).optional()?);
            }
            Ok(found)
        };
        get().during(READ, &self.path)
    }

    fn count(&self) -> Result<AssessmentCounts, LeadStoreError> {
        let select = "SELECT count(*), ifnull(sum(cost), 0) FROM assessments";
        let read =
            |row: &rusqlite::Row<'_>| Ok(AssessmentCounts { answers: row.get(0)?, cost: Money(row.get(1)?) });
        self.connection.query_row(select, [], read).during(READ, &self.path)
    }
}

fn put(connection: &Connection, answers: &[StoredAssessment], now: i64) -> Result<u64, rusqlite::Error> {
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO assessments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    let mut new = 0;
    for StoredAssessment { key, answer, spent, job } in answers {
        let Spent { prompt_tokens, completion_tokens, cost, requests } = spent;
        let key = key.0.as_slice();
        new += insert.execute(params![
            key,
            now,
            job,
            prompt_tokens,
            completion_tokens,
            cost.0,
            requests,
            answer
        ])?;
    }
    Ok(new as u64)
}

fn forget(connection: &Connection, now: i64, than: Duration) -> Result<u64, rusqlite::Error> {
    let before = now.saturating_sub_unsigned(than.as_secs());
    let forgotten = connection.execute("DELETE FROM assessments WHERE stored_at < ?1", [before])?;
    Ok(forgotten as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::disk::{Disk, RealDisk};

    fn answer(key: u8, answer: &str, job: &str) -> StoredAssessment {
        let spent = Spent { prompt_tokens: 900, completion_tokens: 80, cost: Money(1_500), requests: 1 };
        StoredAssessment {
            key: AssessmentKey([key; 32]),
            answer: answer.to_owned(),
            spent,
            job: job.to_owned(),
        }
    }

    fn open(path: &Path, clock: &SharedClock) -> OpenedAssessments {
        AssessmentStore::open(path, Arc::new(RealDisk), Arc::clone(clock)).unwrap()
    }

    #[tokio::test]
    async fn an_answer_stays_after_the_store_is_opened_again_and_the_first_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leads/assessments.sqlite");
        let clock: SharedClock = ManualClock::new();
        let store = open(&path, &clock).store;
        store.put(vec![answer(1, "{}", "leads-1"), answer(2, "[]", "leads-1")]).await.unwrap();
        store.put(vec![answer(1, "another", "leads-2")]).await.unwrap();
        drop(store);
        let store = open(&path, &clock).store;
        let keys = [2, 3, 1].map(|key| AssessmentKey([key; 32])).to_vec();
        let expected = [Some(answer(2, "[]", "leads-1")), None, Some(answer(1, "{}", "leads-1"))];
        assert_eq!(store.get(keys).await.unwrap(), expected);
        let counts = AssessmentCounts { answers: 2, cost: Money(3_000) };
        assert_eq!(store.counts().await.unwrap(), counts);
    }

    #[tokio::test]
    async fn answers_put_at_once_are_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("a.sqlite"), &(ManualClock::new() as SharedClock)).store;
        let put = |key: u8| {
            let store = store.clone();
            tokio::spawn(async move { store.put(vec![answer(key, "{}", "leads-1")]).await })
        };
        for put in (0..200).map(put).collect::<Vec<_>>() {
            put.await.unwrap().unwrap();
        }
        assert_eq!(store.counts().await.unwrap().answers, 200);
    }

    #[tokio::test]
    async fn old_answers_are_forgotten_and_younger_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let store = open(&folder.path().join("a.sqlite"), &(clock.clone() as SharedClock)).store;
        store.put(vec![answer(1, "{}", "leads-1")]).await.unwrap();
        clock.advance(Duration::from_secs(100));
        store.put(vec![answer(2, "{}", "leads-1")]).await.unwrap();
        assert_eq!(store.forget_older(Duration::from_secs(99)).await.unwrap(), 1);
        let found = store.get(vec![AssessmentKey([1; 32]), AssessmentKey([2; 32])]).await.unwrap();
        assert_eq!((found[0].is_some(), found[1].is_some()), (false, true));
    }

    #[tokio::test]
    async fn a_damaged_file_is_put_aside_and_a_younger_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        let clock: SharedClock = ManualClock::new();
        let opened = open(&path, &clock);
        let (aside, _why) = opened.quarantined.unwrap();
        assert_eq!(std::fs::read(aside).unwrap(), vec![b'x'; 8192]);
        opened.store.put(vec![answer(1, "{}", "leads-1")]).await.unwrap();
        drop(opened.store);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
        let refused = AssessmentStore::open(&path, Arc::new(RealDisk), clock).map(|_| ()).unwrap_err();
        assert_eq!(refused, LeadStoreError::Younger { path, found: 7, known: 1 });
    }

    struct FullDisk(AtomicBool);

    impl Disk for FullDisk {
        fn free_bytes(&self, _folder: &Path) -> std::io::Result<u64> {
            Ok(if self.0.load(Ordering::Relaxed) { 0 } else { u64::MAX })
        }
    }

    #[tokio::test]
    async fn a_full_disk_keeps_nothing_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(FullDisk(AtomicBool::new(true)));
        let opened =
            AssessmentStore::open(&folder.path().join("a.sqlite"), disk.clone(), ManualClock::new()).unwrap();
        let put = || opened.store.put(vec![answer(1, "{}", "leads-1")]);
        assert_eq!(put().await, Err(LeadStoreError::DiskFull));
        disk.0.store(false, Ordering::Relaxed);
        assert_eq!(opened.store.counts().await.unwrap().answers, 0);
        put().await.unwrap();
        assert_eq!(opened.store.counts().await.unwrap().answers, 1);
    }
}
