//! What actors say to each other: one file a topic.
//!
//! Items travel in envelopes through the engine's mailboxes and are serde types, so that a dead letter
//! can be kept and re-admitted. Control and service messages travel through actix mailboxes.

pub mod envelope;

pub use envelope::{Envelope, Header, Item, ItemId, JobId, Lane, OrderKey, TraceContext};
