//! What the shared writer promises, shown on SQLite's dialect.
