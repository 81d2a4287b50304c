//! `vectors`.
