//! The embedded vector store: documents, their words and their vectors in one SQLite file.
//!
//! Text, content hash, full-text words (FTS5), vector (sqlite-vec) and the note that a job has written
//! an object commit in one transaction, so a crash can leave none without the others. Everything here
//! is synchronous and belongs on a thread that may block: one [`VectorStore`] writes, any number of
//! [`Search`] read.

mod library_store;
mod query;
mod schema;
mod search;
mod store;
mod thesaurus;

pub use library_store::{Finished, LibraryStore, LibraryStoreError};
pub use query::Question;
pub use schema::{VectorStoreError, VectorStoreErrorKind};
pub use search::{DocumentHit, ObjectHit, Search, SearchError, SearchFilter};
pub use store::{ObjectWrite, StoreCounts, VectorStore, WriteReport};

#[cfg(test)]
mod dev_questions;
