//! What a journal is: the few tables whose rows must survive kill -9, and how they change.
//!
//! It stands beside the stores, not in the engine, so that a store that keeps it need know no actors; the engine names
//! these types as its own. [`super::journal`] keeps them on sled.
//!
//! Promises (*durable*): a [`Journal::commit`] that returned is on disk, all of it or none of it. [`MemoryJournal`]
//! keeps half of that, for tests and examples: all or none, until the process ends.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::clock::BoxFuture;

/// The tables of the journal. Few and small: rows are deleted when their work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Accepted jobs that are not finished, by job id.
    Jobs,
    /// Items that were given up, by a running number.
    DeadLetters,
    /// Settings that survive a restart, such as the pause.
    Flags,
    /// Loads of a sync that are not over, by object: one each.
    Loads,
    /// What is known of each object's last syncs, by object.
    Syncs,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 5] = [Self::Jobs, Self::DeadLetters, Self::Flags, Self::Loads, Self::Syncs];

    /// Its name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::DeadLetters => "dead_letters",
            Self::Flags => "flags",
            Self::Loads => "loads",
            Self::Syncs => "syncs",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalWrite {
    /// Sets a row.
    Put {
        /// Where.
        table: Table,
        /// Under which key.
        key: String,
        /// JSON.
        value: Vec<u8>,
    },
    /// Removes a row; one that is not there is no error.
    Delete {
        /// Where.
        table: Table,
        /// Which key.
        key: String,
    },
}

/// Why the journal would not take a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// No room on the disk: wait, and say so.
    #[error("the state folder's disk is full")]
    DiskFull,
    /// The writer thread is gone.
    #[error("the journal is closed")]
    Closed,
    /// Anything else.
    #[error("the journal could not be written: {0}")]
    Failed(String),
}

/// A durable table store with group commit.
pub trait Journal: Send + Sync + 'static {
    /// Makes the changes, all or none; resolves when they would survive a power cut.
    fn commit(&self, writes: Vec<JournalWrite>) -> BoxFuture<'static, Result<(), JournalError>>;

    /// The rows of one table, by key.
    fn rows(&self, table: Table) -> Vec<(String, Vec<u8>)>;
}

/// A journal that forgets at exit.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    tables: Mutex<BTreeMap<(Table, String), Vec<u8>>>,
}

impl Journal for MemoryJournal {
    fn commit(&self, writes: Vec<JournalWrite>) -> BoxFuture<'static, Result<(), JournalError>> {
        let mut tables = self.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for write in writes {
            match write {
                JournalWrite::Put { table, key, value } => drop(tables.insert((table, key), value)),
                JournalWrite::Delete { table, key } => drop(tables.remove(&(table, key))),
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn rows(&self, table: Table) -> Vec<(String, Vec<u8>)> {
        let tables = self.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tables
            .iter()
            .filter(|((of, _), _)| *of == table)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }
}
