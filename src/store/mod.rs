//! Durable things on disk that are not a database of their own kind: files that are whole or absent.

pub mod atomic_file;
pub mod library_folder;
