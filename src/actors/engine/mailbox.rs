//! The mailbox that items wait in, as the engine sees it, and the lease by which an item is worked on.
//!
//! Promises: an item is resolved exactly once. A [`Lease`] is consumed by [`Lease::ack`], [`Lease::nack`] or
//! [`Lease::dead`]; dropped unresolved, it is a nack. A lease that was revoked meanwhile (its handler hung, its
//! thread blocked) is *fenced*: its late answer changes nothing and says so.
//!
//! [`super::inbox::LocalInbox`] is the mailbox of one process; a stream shared by many daemons is another
//! implementation of the same trait, so stages need no second code path.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::BoxFuture;
use crate::messages::Envelope;

/// The mailbox takes and gives nothing any more: the engine is leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mailbox is closed")]
pub struct Closed;

/// The answer of a put that would not wait.
#[derive(Debug)]
pub enum TryPut<T> {
    /// In, with a credit taken.
    Taken,
    /// No credit left in the item's lane; here it is back.
    Full(Envelope<T>),
    /// Closed; here it is back.
    Closed(Envelope<T>),
}

/// Where outputs go: a mailbox, or a choice among several.
pub trait Outlet<T>: Send + Sync + 'static {
    /// Puts without waiting.
    fn try_put(&self, envelope: Envelope<T>) -> TryPut<T>;

    /// Puts without waiting; `now` is the present by the engine's clock, which the caller has just read.
    fn try_put_at(&self, envelope: Envelope<T>, now: Duration) -> TryPut<T> {
        let _read_again = now;
        self.try_put(envelope)
    }

    /// Puts, waiting for a credit of the item's lane. Once polled, the item enters whether or not the future lives on,
    /// so a sender that dies while it waits loses nothing.
    ///
    /// # Errors
    /// [`Closed`] when the mailbox was closed before there was room.
    fn put(&self, envelope: Envelope<T>) -> BoxFuture<'_, Result<(), Closed>>;
}

/// How full a mailbox is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Items that hold a credit: queued, delayed and in hand.
    pub items: usize,
    /// Bytes that those items hold.
    pub bytes: u64,
    /// Of those, items in hand.
    pub in_hand: usize,
    /// Items upstream that wait for a credit.
    pub waiting: usize,
    /// Items of the fullest lane: what the capacity, which is a lane's, is to be held against.
    pub fullest_lane_items: usize,
    /// Bytes of the fullest lane.
    pub fullest_lane_bytes: u64,
    /// Highest `items` of any lane since the start.
    pub peak_lane_items: usize,
    /// Highest `bytes` of any lane since the start.
    pub peak_lane_bytes: u64,
}

/// A mailbox of envelopes with credits, lanes and leases.
pub trait Mailbox<T>: Outlet<T> {
    /// Leases the next item for `incarnation`, if one is ready and its bytes are at most `bytes_max`.
    fn try_lease(&self, incarnation: u64, ask: LeaseAsk) -> TryLease<T>;

    /// Acks `done`, a lease of this mailbox, within the slot's turn, and leases the next item: what
    /// [`LeaseHome::ack_within_turn`] and [`Mailbox::try_lease`] do, in one step. False when `done` was fenced.
    fn ack_and_lease(&self, done: Lease<T>, incarnation: u64, ask: LeaseAsk) -> (bool, TryLease<T>) {
        (done.ack_within_turn(), self.try_lease(incarnation, ask))
    }

    /// Leases the next item, waiting for one.
    ///
    /// # Errors
    /// [`Closed`] when the mailbox is closed.
    fn lease(&self, incarnation: u64) -> BoxFuture<'_, Result<Lease<T>, Closed>>;

    /// Resolves when an item may have become ready. May resolve for nothing; never misses one that came after the call.
    fn arrival(&self) -> BoxFuture<'_, ()>;

    /// Tells upstream what an ack within a turn has not: call it before waiting for anything.
    fn end_turn(&self) {}

    /// Nothing is leased until [`Mailbox::thaw`]; puts go on until the mailbox is full.
    fn freeze(&self);

    /// Ends a [`Mailbox::freeze`].
    fn thaw(&self);

    /// Takes and gives nothing any more.
    fn close(&self);

    /// How full it is.
    fn depth(&self) -> Depth;

    /// Takes back what `incarnation` holds and is not yet delivering, charging each an attempt; with `only`,
    /// just that lease. Returns how many came back.
    fn revoke(&self, incarnation: u64, only: Option<LeaseId>) -> usize;
}

/// What a batching stage asks of the next lease.
#[derive(Debug, Clone, Copy)]
pub struct LeaseAsk {
    /// Largest item that still fits the batch.
    pub bytes_max: u64,
    /// Serial of the job whose batch it would join: items of other jobs, and items that must run alone, do not fit.
    pub joining: Option<u64>,
    /// The present, if whoever asks has just read the clock.
    pub now: Option<Duration>,
}

impl LeaseAsk {
    /// Any item.
    pub const ANY: Self = Self { bytes_max: u64::MAX, joining: None, now: None };
}

/// The answer of a lease that would not wait.
#[derive(Debug)]
pub enum TryLease<T> {
    /// Here is one.
    Leased(Lease<T>),
    /// One is ready, but does not fit what was asked.
    Unfit,
    /// None is ready now.
    Empty,
}

/// Names one lease of one mailbox; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId {
    pub(super) place: u32,
    pub(super) turn: u32,
}

impl LeaseId {
    /// As one number, for a slot's board.
    pub(super) fn pack(self) -> u64 {
        (u64::from(self.place) << 32) | u64::from(self.turn)
    }

    /// The inverse of [`LeaseId::pack`].
    pub(super) fn unpack(packed: u64) -> Self {
        Self { place: (packed >> 32) as u32, turn: packed as u32 }
    }
}

/// How an item goes back to its mailbox.
#[derive(Debug, Clone, Copy)]
pub struct Nack {
    /// Not leased again before this has passed.
    pub after: Duration,
    /// Counts as a failed attempt of the item.
    pub charge: bool,
    /// A batching stage must run it alone next time.
    pub alone: bool,
}

impl Nack {
    /// Back at once, nobody's fault.
    pub const FREE: Self = Self { after: Duration::ZERO, charge: false, alone: false };
}

/// What a lease needs of its mailbox.
pub trait LeaseHome<T>: Send + Sync {
    /// The item has passed on or ended; frees its credit. False when fenced.
    fn ack(&self, id: LeaseId) -> bool;
    /// Like `ack`, but whoever waits to put may be told as late as [`Mailbox::end_turn`].
    fn ack_within_turn(&self, id: LeaseId) -> bool {
        self.ack(id)
    }
    /// Gives it back. False when fenced.
    fn nack(&self, id: LeaseId, nack: Nack) -> bool;
    /// From now on the lease cannot be revoked. False when it has been already.
    fn begin_delivery(&self, id: LeaseId) -> bool;
}

/// One item in hand. Resolve it; dropped, it goes back.
pub struct Lease<T> {
    pub(super) envelope: Envelope<T>,
    pub(super) id: LeaseId,
    pub(super) leased_at: Duration,
    pub(super) waited: Duration,
    pub(super) home: Option<Arc<dyn LeaseHome<T>>>,
}

impl<T> std::fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("header", self.envelope.header())
            .finish_non_exhaustive()
    }
}

impl<T> Lease<T> {
    /// The envelope in hand.
    pub fn envelope(&self) -> &Envelope<T> {
        &self.envelope
    }

    /// Names this lease.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// When it was leased, by the engine's clock.
    pub fn leased_at(&self) -> Duration {
        self.leased_at
    }

    /// Time from the item's arrival (or its return) to this lease.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Protects the lease from being revoked while its outputs go downstream. False when it is too late.
    pub fn begin_delivery(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.begin_delivery(self.id))
    }

    /// The item has passed on or ended. False when fenced.
    pub fn ack(mut self) -> bool {
        self.home.take().is_some_and(|home| home.ack(self.id))
    }

    /// Like [`Lease::ack`], for a slot that goes on at once: a put that waits has entered by now, and hears of it at the
    /// slot's [`Mailbox::end_turn`], so that one wake lets it put many and not one.
    pub(super) fn ack_within_turn(mut self) -> bool {
        self.home.take().is_some_and(|home| home.ack_within_turn(self.id))
    }

    /// Gives the item back. False when fenced.
    pub fn nack(mut self, nack: Nack) -> bool {
        self.home.take().is_some_and(|home| home.nack(self.id, nack))
    }

    /// The item will not be tried again: its dead letter has been kept. False when fenced.
    pub fn dead(self) -> bool {
        self.ack()
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.nack(self.id, Nack::FREE);
        }
    }
}
