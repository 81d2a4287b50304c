//! The envelope: a serde header and an item, and beside them what is local to this process.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::actors::engine::ledger::JobEntry;

/// What flows through the line: an org object, a lead batch, a batch operation, or a step of one.
///
/// Serde from day one, so that an item can be kept as a dead letter, shown, and admitted again.
pub trait Item: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Memory this item stands for, in bytes: what the mailbox's byte bound counts.
    fn bytes(&self) -> u32;
}

/// Identifies an item within its job. A stage with one output passes the id on; with several, each child's
/// id is the parent's plus `.` and its index, so a repeated run makes the same ids.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(Arc<str>);

impl ItemId {
    /// An id from a text that is unique within the job, such as an object's name.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The id of the `index`-th of several outputs.
    pub fn child(&self, index: usize) -> Self {
        Self(Arc::from(format!("{}.{index}", self.0)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identifies a job, such as `schema-demo-4`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Arc<str>);

impl JobId {
    /// An id from text.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is waiting for an item, which decides how often its lane is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A person or a request waits for it.
    Interactive,
    /// Scheduled work with a deadline.
    Normal,
    /// Whole-org work.
    Bulk,
}

impl Lane {
    /// Every lane, most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Normal, Self::Bulk];

    /// Position in [`Lane::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Label for metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

/// Items that share a key want to be written in order; an id of the record or object they are about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderKey(pub Arc<str>);

/// W3C trace context of the request that caused an item; empty when nobody sent one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceContext(pub Option<Arc<str>>);

/// What is known of an item besides itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// Unique within the job.
    pub item: ItemId,
    /// The job it belongs to.
    pub job: JobId,
    /// Failed attempts at the present stage so far; a new stage starts at 0.
    pub attempt: u32,
    /// The lane it waits in.
    pub lane: Lane,
    /// Wants order among equals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_key: Option<OrderKey>,
    /// Where it came from.
    #[serde(default)]
    pub trace: TraceContext,
    /// What it counts for in the mailbox's byte bound.
    pub bytes: u32,
    /// A batching stage must run it alone: a batch that held it failed in a way that names no culprit.
    #[serde(default)]
    pub alone: bool,
}

/// An item on its way: header and item, and what is local to this process.
#[derive(Debug)]
pub struct Envelope<T> {
    /// What is known of it.
    pub header: Header,
    /// The item, shared with a handler that may still hold it after a restart.
    pub item: Arc<T>,
    /// Where the job's counts live in this process.
    pub job: Arc<JobEntry>,
    /// Created at admission; each hop opens a child of it.
    pub span: tracing::Span,
}

impl<T: Item> Envelope<T> {
    /// Wraps an item that enters the line.
    pub fn admit(job: &Arc<JobEntry>, item: ItemId, lane: Lane, content: T) -> Self {
        let span = tracing::debug_span!("item", job = %job.id(), item = %item);
        Self {
            header: Header {
                item,
                job: job.id().clone(),
                attempt: 0,
                lane,
                order_key: None,
                trace: TraceContext::default(),
                bytes: content.bytes(),
                alone: false,
            },
            item: Arc::new(content),
            job: Arc::clone(job),
            span,
        }
    }

    /// Wraps an output of this item's stage under `item`; lane, order, trace and job go with it.
    pub fn follow<U: Item>(
        header: &Header,
        job: &Arc<JobEntry>,
        span: &tracing::Span,
        item: ItemId,
        content: U,
    ) -> Envelope<U> {
        Envelope {
            header: Header {
                item,
                job: header.job.clone(),
                attempt: 0,
                lane: header.lane,
                order_key: header.order_key.clone(),
                trace: header.trace.clone(),
                bytes: content.bytes(),
                alone: false,
            },
            item: Arc::new(content),
            job: Arc::clone(job),
            span: span.clone(),
        }
    }
}
