//! What DuckDB's warehouse promises beside what all do.
