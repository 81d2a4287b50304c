//! What lies on the disk: the journal, the cache, the library's files for people, each written whole or not at all.

pub mod assessments;
pub mod atomic_file;
pub mod cache;
pub mod disk;
pub mod high_water;
pub mod journal;
pub mod journal_contract;
pub mod lead_jobs;
pub mod library_folder;
pub mod limits_file;
pub mod state_folder;
pub mod writer;

pub use atomic_file::StoreError;
pub use library_folder::{FolderCounts, LibraryFolder};
