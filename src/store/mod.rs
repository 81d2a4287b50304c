//! What lies on the disk and is ours alone: the journal, the cache, atomic files, the lock of the state folder.

pub mod cache;
pub mod disk;
pub mod journal;
pub mod writer;
