//! Whole databases on real files.
