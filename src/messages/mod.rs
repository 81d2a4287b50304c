//! What actors say to each other: one file a topic.
//!
//! Items travel in envelopes through the engine's mailboxes and are serde types, so that a dead letter
//! can be kept and re-admitted. Control and service messages travel through actix mailboxes.

pub mod cache;
pub mod embed;
pub mod envelope;
pub mod fetch;
pub mod leads;
pub mod operation;
pub mod rate;
pub mod sync;
pub mod write;

pub use cache::{Lookup, Store};
pub use embed::{ObjectDocuments, SealedTexts};
pub(crate) use envelope::when_traced;
pub use envelope::{Envelope, Header, Item, ItemId, JobId, Lane, OrderKey, TraceContext, Waybill};
pub use fetch::{DescribeAsk, DescribedObject, FetchAsk, Fetched};
pub use leads::{AssessAsk, IntakeAsk, LeadAsk, LeadRead, LeadResults, UnreadLead};
pub use operation::{BatchOrder, PreparedBatch, TakeOnce};
pub use rate::{AskPermit, GrantedPermit};
pub use sync::SyncPart;
pub use write::{ObjectBatch, WriteBatch};
