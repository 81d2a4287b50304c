//! `limiter`.
