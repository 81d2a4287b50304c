//! What must survive kill -9: jobs, what they finished, dead letters, the pause.
//!
//! Promises (*durable*): a [`Journal::commit`] that returned is on disk, all of it or none of it. The types are those of
//! [`crate::store::journal_contract`], because the stores know no actors; the sled journal is in
//! [`crate::store::journal`], and [`MemoryJournal`] is for tests and examples.

pub use crate::store::journal_contract::{Journal, JournalError, JournalWrite, MemoryJournal, Table};
