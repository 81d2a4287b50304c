//! The vector store behind a thread of its own, for callers that must not block.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::{ObjectWrite, StoreCounts, VectorStore, VectorStoreError, WriteReport};
use crate::library::project::Failures;
use crate::model::{ObjectName, OrgName};
use crate::store::writer::{Asked, StoreThread};
use crate::store::{FolderCounts, LibraryFolder, StoreError};

/// Why the library's store would not do something.
#[derive(Debug, thiserror::Error)]
pub enum LibraryStoreError {
    /// The vector store.
    #[error("the vector store failed")]
    Store(#[from] VectorStoreError),
    /// The files for people.
    #[error("the library's files could not be written")]
    Files(#[from] StoreError),
    /// No room on the disk, asked before the write.
    #[error("the disk is full")]
    DiskFull,
    /// Its thread is gone.
    #[error("the library's store is closed")]
    Closed,
}

impl LibraryStoreError {
    /// There was no room: wait, say so, go on when there is.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Store(error) => error.is_disk_full(),
            Self::Files(error) => error.is_disk_full(),
            Self::DiskFull => true,
            Self::Closed => false,
        }
    }
}

/// Content hashes by document id, for each object asked for.
pub type Hashes = Vec<HashMap<String, String>>;

enum Request {
    Hashes(OrgName, Vec<ObjectName>),
    Write(String, Vec<ObjectWrite>),
    Written(String),
    Finish { org: OrgName, keep: Option<HashSet<ObjectName>>, folder: PathBuf, failures: Failures },
    Counts(OrgName),
    Forget(String),
}

enum Answer {
    Hashes(Hashes),
    Wrote(WriteReport),
    Written(HashSet<ObjectName>),
    Finished(Finished),
    Counts(StoreCounts),
    Forgotten,
    Failed(LibraryStoreError),
}

/// What finishing a job did; counted in the store and while writing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finished {
    /// Documents of vanished objects that went.
    pub documents_removed: u64,
    /// What the store holds of the org now.
    pub stored: StoreCounts,
    /// What stands in the output folder now.
    pub files: FolderCounts,
}

/// A handle to the store's thread.
#[derive(Debug, Clone)]
pub struct LibraryStore {
    thread: StoreThread<Request, Answer>,
}

const QUEUE: usize = 64;

impl LibraryStore {
    /// Moves `store` to a thread of its own.
    ///
    /// # Errors
    /// When the operating system will not start a thread.
    pub fn start(mut store: VectorStore) -> std::io::Result<Self> {
        let thread = StoreThread::start("library", QUEUE, 1, move |batch: Vec<Asked<Request, Answer>>| {
            for mut asked in batch {
                let request = std::mem::replace(&mut asked.request, Request::Forget(String::new()));
                let answer = serve(&mut store, request).unwrap_or_else(Answer::Failed);
                asked.answer(answer);
            }
        })?;
        Ok(Self { thread })
    }

    async fn ask(&self, request: Request) -> Result<Answer, LibraryStoreError> {
        match self.thread.ask(request).await {
            Ok(Answer::Failed(error)) => Err(error),
            Ok(answer) => Ok(answer),
            Err(_closed) => Err(LibraryStoreError::Closed),
        }
    }

    /// Content hashes of the stored documents of each object, in order.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn content_hashes(
        &self,
        org: OrgName,
        objects: Vec<ObjectName>,
    ) -> Result<Hashes, LibraryStoreError> {
        match self.ask(Request::Hashes(org, objects)).await? {
            Answer::Hashes(hashes) => Ok(hashes),
            _ => Err(LibraryStoreError::Closed),
        }
    }

    /// Writes objects in one transaction, and notes in it that `job` wrote them.
    ///
    /// # Errors
    /// Those of the store: nothing was written.
    pub async fn write(
        &self,
        job: &str,
        objects: Vec<ObjectWrite>,
    ) -> Result<WriteReport, LibraryStoreError> {
        match self.ask(Request::Write(job.to_owned(), objects)).await? {
            Answer::Wrote(report) => Ok(report),
            _ => Err(LibraryStoreError::Closed),
        }
    }

    /// Objects that `job` has written.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn written(&self, job: &str) -> Result<HashSet<ObjectName>, LibraryStoreError> {
        match self.ask(Request::Written(job.to_owned())).await? {
            Answer::Written(objects) => Ok(objects),
            _ => Err(LibraryStoreError::Closed),
        }
    }

    /// Removes the objects that are not in `keep` (when there is one) and writes the files for people.
    ///
    /// # Errors
    /// Those of the store and of the files; the old files then stand.
    pub async fn finish(
        &self,
        org: OrgName,
        keep: Option<HashSet<ObjectName>>,
        folder: PathBuf,
        failures: Failures,
    ) -> Result<Finished, LibraryStoreError> {
        match self.ask(Request::Finish { org, keep, folder, failures }).await? {
            Answer::Finished(finished) => Ok(finished),
            _ => Err(LibraryStoreError::Closed),
        }
    }

    /// What the store holds of an org.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn counts(&self, org: OrgName) -> Result<StoreCounts, LibraryStoreError> {
        match self.ask(Request::Counts(org)).await? {
            Answer::Counts(counts) => Ok(counts),
            _ => Err(LibraryStoreError::Closed),
        }
    }

    /// Forgets what a finished job has written.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget_job(&self, job: &str) -> Result<(), LibraryStoreError> {
        self.ask(Request::Forget(job.to_owned())).await.map(drop)
    }
}

fn serve(store: &mut VectorStore, request: Request) -> Result<Answer, LibraryStoreError> {
    Ok(match request {
        Request::Hashes(org, objects) => {
            let hashes = objects.iter().map(|object| store.content_hashes(&org, object));
            Answer::Hashes(hashes.collect::<Result<_, _>>()?)
        }
        Request::Write(job, objects) => Answer::Wrote(store.write_objects(&job, &objects)?),
        Request::Written(job) => Answer::Written(store.written_objects(&job)?),
        Request::Finish { org, keep, folder, failures } => {
            let documents_removed = match keep {
                Some(keep) => store.remove_vanished_objects(&org, &keep)?,
                None => 0,
            };
            let mut library = LibraryFolder::begin(&folder)?;
            store.documents_in_order(&org, |document| {
                library.add(document).map_err(LibraryStoreError::from)
            })?;
            let files = library.commit(&failures)?;
            Answer::Finished(Finished { documents_removed, stored: store.counts(&org)?, files })
        }
        Request::Counts(org) => Answer::Counts(store.counts(&org)?),
        Request::Forget(job) => {
            store.forget_job(&job)?;
            Answer::Forgotten
        }
    })
}
