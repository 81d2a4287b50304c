//! The envelope: an item and its waybill, which is a serde header and what is local to this process.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

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
    /// A batching stage must run it alone: a batch that held it failed in a way that names no culprit.
    #[serde(default)]
    pub alone: bool,
}

/// What goes with an item from stage to stage: its header, and what is local to this process. It is written once and
/// shared; only a failed attempt, which the header counts, makes a new one.
#[derive(Debug)]
pub struct Waybill {
    /// What is known of the item.
    pub header: Header,
    /// Where the job's counts live in this process.
    pub job: Arc<JobEntry>,
    /// Created at admission; each hop opens a child of it.
    pub span: tracing::Span,
}

impl Waybill {
    fn with(&self, change: impl FnOnce(&mut Header)) -> Arc<Self> {
        let mut header = self.header.clone();
        change(&mut header);
        Arc::new(Self { header, job: Arc::clone(&self.job), span: self.span.clone() })
    }

    /// The same item at its next stage, where no attempt has failed yet.
    fn onward(self: Arc<Self>) -> Arc<Self> {
        if self.header.attempt == 0 && !self.header.alone {
            return self;
        }
        self.with(|header| {
            header.attempt = 0;
            header.alone = false;
        })
    }
}

/// An item on its way. Small, and cheap to clone: mailbox and handler each hold one.
#[derive(Debug)]
pub struct Envelope<T> {
    /// Header, job and span.
    pub waybill: Arc<Waybill>,
    /// The item, shared with a handler that may still hold it after a restart.
    pub item: Arc<T>,
    /// What the item counts for in the mailbox's byte bound.
    pub bytes: u32,
}

impl<T> Clone for Envelope<T> {
    fn clone(&self) -> Self {
        Self { waybill: Arc::clone(&self.waybill), item: Arc::clone(&self.item), bytes: self.bytes }
    }
}

impl<T> Envelope<T> {
    /// What is known of the item.
    pub fn header(&self) -> &Header {
        &self.waybill.header
    }

    /// Where the job's counts live in this process.
    pub fn job(&self) -> &Arc<JobEntry> {
        &self.waybill.job
    }

    /// The same item after an attempt: one more counts as failed if `charge`; it must run alone if `alone`.
    pub(crate) fn after_attempt(mut self, charge: bool, alone: bool) -> Self {
        if charge || alone {
            self.waybill = self.waybill.with(|header| {
                header.attempt += u32::from(charge);
                header.alone |= alone;
            });
        }
        self
    }
}

impl<T: Item> Envelope<T> {
    fn of(waybill: Arc<Waybill>, content: T) -> Self {
        let bytes = content.bytes();
        Self { waybill, item: Arc::new(content), bytes }
    }

    /// Wraps an item that enters the line.
    pub fn admit(job: &Arc<JobEntry>, item: ItemId, lane: Lane, content: T) -> Self {
        let header = Header {
            item,
            job: job.id().clone(),
            attempt: 0,
            lane,
            order_key: None,
            trace: TraceContext::default(),
            alone: false,
        };
        Self::enter(job, header, content)
    }

    /// Wraps an item that enters the line again after it was given up, with no attempts spent.
    pub fn readmit(job: &Arc<JobEntry>, header: &Header, content: T) -> Self {
        Self::enter(job, Header { attempt: 0, alone: false, ..header.clone() }, content)
    }

    fn enter(job: &Arc<JobEntry>, header: Header, content: T) -> Self {
        let span = when_traced(|| tracing::debug_span!("item", job = %header.job, item = %header.item));
        Self::of(Arc::new(Waybill { header, job: Arc::clone(job), span }), content)
    }

    /// Wraps the one output of a stage, which goes on as the item it was made of.
    pub fn follow(waybill: Arc<Waybill>, content: T) -> Self {
        Self::of(waybill.onward(), content)
    }

    /// Wraps one of several outputs under an id of its own; lane, order, trace and job go with it.
    pub fn child(parent: &Waybill, item: ItemId, content: T) -> Self {
        let waybill = parent.with(|header| {
            header.item = item;
            header.attempt = 0;
            header.alone = false;
        });
        Self::of(waybill, content)
    }
}

/// A debug span if anybody could be listening. Even a disabled one records its fields for the `log` crate, a tenth of a hop.
pub(crate) fn when_traced(span: impl FnOnce() -> tracing::Span) -> tracing::Span {
    if LevelFilter::current() >= LevelFilter::DEBUG { span() } else { tracing::Span::none() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Text(String);

    impl Item for Text {
        fn bytes(&self) -> u32 {
            self.0.len() as u32
        }
    }

    fn admitted() -> Envelope<Text> {
        let job = JobEntry::new(JobId::new("job"));
        Envelope::admit(&job, ItemId::new("Account"), Lane::Bulk, Text("four".to_owned()))
    }

    #[test]
    fn an_item_keeps_its_waybill_from_stage_to_stage_and_its_bytes_are_its_own() {
        let first = admitted();
        let second = Envelope::follow(Arc::clone(&first.waybill), Text("longer".to_owned()));
        assert!(Arc::ptr_eq(&first.waybill, &second.waybill));
        assert_eq!((first.bytes, second.bytes), (4, 6));
    }

    #[test]
    fn failed_attempts_are_counted_at_one_stage_and_forgotten_at_the_next() {
        let first = admitted();
        let again = first.clone().after_attempt(true, false).after_attempt(true, true);
        assert_eq!((again.header().attempt, again.header().alone), (2, true));
        assert_eq!(
            first.header().attempt,
            0,
            "a handler that still holds the first try sees what it was given"
        );
        let next = Envelope::follow(Arc::clone(&again.waybill), Text(String::new()));
        assert_eq!((next.header().attempt, next.header().alone), (0, false));
        assert_eq!(next.header().item.as_str(), "Account");
        let child = Envelope::child(&again.waybill, again.header().item.child(7), Text(String::new()));
        assert_eq!((child.header().attempt, child.header().alone), (0, false));
        assert_eq!((child.header().item.as_str(), child.header().lane), ("Account.7", Lane::Bulk));
        assert!(Arc::ptr_eq(child.job(), first.job()));
    }

    #[test]
    fn a_dead_letter_enters_again_with_its_order_and_trace_and_no_attempts() {
        let kept = serde_json::json!({
            "item": "Account", "job": "job", "attempt": 5, "lane": "normal", "order_key": "001", "trace": "00-ab",
            "bytes": 4, "alone": true,
        });
        let header: Header = serde_json::from_value(kept).unwrap();
        let job = JobEntry::new(JobId::new("job"));
        let again = Envelope::readmit(&job, &header, Text("four".to_owned()));
        let header = again.header();
        assert_eq!((header.attempt, header.alone, header.lane), (0, false, Lane::Normal));
        assert_eq!(header.order_key, Some(OrderKey(Arc::from("001"))));
        assert_eq!(header.trace, TraceContext(Some(Arc::from("00-ab"))));
    }
}
