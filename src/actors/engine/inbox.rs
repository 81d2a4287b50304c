//! The mailbox of one process: three lanes under one lock, bounded in items and bytes by credits.
//!
//! Promises (*bounded*): a lane's queued, delayed and in-hand items together never exceed its items and bytes.
//! A credit is taken when an item enters and given back only when it is acked. A credit that comes back goes to
//! whoever has waited longest in that lane, so nobody overtakes. Items that go back keep their place in line.
//! While frozen, nothing is leased: the freeze has taken effect when `freeze` returns.
//!
//! The inbox outlives the actor that pulls from it, so a restart loses nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::oneshot;

use super::mailbox::{
    Closed, Depth, Lease, LeaseAsk, LeaseHome, LeaseId, Mailbox, Nack, Outlet, TryLease, TryPut,
};
use super::sleepers::Sleepers;
use crate::clock::{BoxFuture, SharedClock};
use crate::messages::{Envelope, Item};

mod sleep;
#[cfg(test)]
mod tests;

use sleep::Sleep;

/// What each lane may hold. Lanes have credits of their own, so a full bulk lane never blocks an interactive item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Items a lane.
    pub items: usize,
    /// Bytes a lane. A single larger item counts as exactly this much, or it could never enter.
    pub bytes: u64,
}

/// How often each lane is served while all have work: interactive, normal, bulk.
pub const LANE_WEIGHTS: [i64; 3] = [16, 4, 1];

struct Queued<T> {
    order: u64,
    arrived: Duration,
    envelope: Envelope<T>,
}

struct Delayed<T> {
    due: Duration,
    queued: Queued<T>,
}

impl<T> PartialEq for Delayed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<T> Eq for Delayed<T> {}
impl<T> PartialOrd for Delayed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Delayed<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.queued.order).cmp(&(other.due, other.queued.order))
    }
}

struct Waiting<T> {
    envelope: Envelope<T>,
    entered: oneshot::Sender<()>,
}

struct LaneState<T> {
    queue: VecDeque<Queued<T>>,
    waiting: VecDeque<Waiting<T>>,
    items: usize,
    bytes: u64,
    turn: i64,
}

struct InHand<T> {
    turn: u32,
    held: Option<Held<T>>,
}

struct Held<T> {
    order: u64,
    incarnation: u64,
    delivering: bool,
    envelope: Envelope<T>,
}

struct State<T> {
    lanes: [LaneState<T>; 3],
    delayed: BinaryHeap<Reverse<Delayed<T>>>,
    in_hand: Vec<InHand<T>>,
    free_places: Vec<u32>,
    in_hand_count: usize,
    next_order: u64,
    sleepers: Sleepers,
    /// Putters whose item has entered, to be told when whoever let it in ends its turn.
    untold: Vec<oneshot::Sender<()>>,
    /// Incarnations below this one lost their thread: they get nothing any more.
    first_live: u64,
    frozen: bool,
    closed: bool,
    peak_lane_items: usize,
    peak_lane_bytes: u64,
}

/// See the module's promises.
pub struct LocalInbox<T> {
    me: Weak<Self>,
    state: Mutex<State<T>>,
    capacity: Capacity,
    clock: SharedClock,
}

impl<T> std::fmt::Debug for LocalInbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalInbox").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl<T: Item> LocalInbox<T> {
    /// An empty inbox whose lanes hold `capacity` each.
    pub fn new(capacity: Capacity, clock: SharedClock) -> Arc<Self> {
        let lane =
            || LaneState { queue: VecDeque::new(), waiting: VecDeque::new(), items: 0, bytes: 0, turn: 0 };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            state: Mutex::new(State {
                lanes: [lane(), lane(), lane()],
                delayed: BinaryHeap::new(),
                in_hand: Vec::new(),
                free_places: Vec::new(),
                in_hand_count: 0,
                next_order: 0,
                sleepers: Sleepers::default(),
                untold: Vec::new(),
                first_live: 0,
                frozen: false,
                closed: false,
                peak_lane_items: 0,
                peak_lane_bytes: 0,
            }),
            capacity: Capacity { items: capacity.items.max(1), bytes: capacity.bytes.max(1) },
            clock,
        })
    }

    /// What each lane may hold.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic inside the lock would leave half a move behind; none of the code under it can panic, and if one
        // day it does, going on with the last consistent counts beats losing every queued item.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn cost(&self, bytes: u32) -> u64 {
        u64::from(bytes).min(self.capacity.bytes)
    }

    fn fits(&self, lane: &LaneState<T>, bytes: u32) -> bool {
        lane.items < self.capacity.items && lane.bytes + self.cost(bytes) <= self.capacity.bytes
    }

    fn enter(&self, state: &mut State<T>, envelope: Envelope<T>, now: Duration) {
        let order = state.next_order;
        state.next_order += 1;
        let cost = self.cost(envelope.bytes);
        let lane = &mut state.lanes[envelope.header().lane.index()];
        lane.items += 1;
        lane.bytes += cost;
        debug_assert!(
            lane.items <= self.capacity.items && lane.bytes <= self.capacity.bytes,
            "a lane is over its bound"
        );
        let (items, bytes) = (lane.items, lane.bytes);
        lane.queue.push_back(Queued { order, arrived: now, envelope });
        state.peak_lane_items = state.peak_lane_items.max(items);
        state.peak_lane_bytes = state.peak_lane_bytes.max(bytes);
    }

    /// Gives the credit of an item back and lets in whoever waited for it. True when somebody entered.
    fn release(&self, state: &mut State<T>, envelope: &Envelope<T>) -> bool {
        let cost = self.cost(envelope.bytes);
        let place = envelope.header().lane.index();
        state.lanes[place].items -= 1;
        state.lanes[place].bytes -= cost;
        let mut entered = false;
        while let Some(first) = state.lanes[place].waiting.front() {
            if !self.fits(&state.lanes[place], first.envelope.bytes) {
                break;
            }
            if let Some(waiting) = state.lanes[place].waiting.pop_front() {
                self.enter(state, waiting.envelope, self.clock.elapsed());
                state.untold.push(waiting.entered);
                entered = true;
            }
        }
        entered
    }

    fn requeue(state: &mut State<T>, queued: Queued<T>) {
        let queue = &mut state.lanes[queued.envelope.header().lane.index()].queue;
        let at = queue.partition_point(|other| other.order < queued.order);
        queue.insert(at, queued);
    }

    fn promote_due(state: &mut State<T>, now: Duration) {
        while state.delayed.peek().is_some_and(|Reverse(first)| first.due <= now) {
            if let Some(Reverse(due)) = state.delayed.pop() {
                Self::requeue(state, due.queued);
            }
        }
    }

    /// Smooth weighted round robin over the lanes that have something queued.
    fn pick_lane(state: &mut State<T>) -> Option<usize> {
        let mut best: Option<usize> = None;
        let mut total = 0;
        for (place, weight) in LANE_WEIGHTS.iter().enumerate() {
            let lane = &mut state.lanes[place];
            if lane.queue.is_empty() {
                lane.turn = 0;
                continue;
            }
            lane.turn += weight;
            total += weight;
            if best.is_none_or(|best| state.lanes[best].turn < state.lanes[place].turn) {
                best = Some(place);
            }
        }
        if let Some(best) = best {
            state.lanes[best].turn -= total;
        }
        best
    }

    fn take(
        state: &mut State<T>,
        incarnation: u64,
        ask: LeaseAsk,
        now: Duration,
        home: Arc<dyn LeaseHome<T>>,
    ) -> TryLease<T> {
        if state.frozen || state.closed || incarnation < state.first_live {
            return TryLease::Empty;
        }
        Self::promote_due(state, now);
        let Some(place) = Self::pick_lane(state) else { return TryLease::Empty };
        let fits = state.lanes[place].queue.front().is_some_and(|first| {
            let envelope = &first.envelope;
            let joins = |job: u64| job == envelope.job().serial() && !envelope.header().alone;
            ask.joining.is_none_or(joins) && u64::from(envelope.bytes) <= ask.bytes_max
        });
        if !fits {
            return TryLease::Unfit;
        }
        let Some(queued) = state.lanes[place].queue.pop_front() else { return TryLease::Empty };
        let held =
            Held { order: queued.order, incarnation, delivering: false, envelope: queued.envelope.clone() };
        let place = state.free_places.pop().unwrap_or_else(|| {
            state.in_hand.push(InHand { turn: 0, held: None });
            (state.in_hand.len() - 1) as u32
        });
        let hand = &mut state.in_hand[place as usize];
        hand.turn = hand.turn.wrapping_add(1);
        hand.held = Some(held);
        let id = LeaseId { place, turn: hand.turn };
        state.in_hand_count += 1;
        let waited = now.saturating_sub(queued.arrived);
        TryLease::Leased(Lease { envelope: queued.envelope, id, leased_at: now, waited, home: Some(home) })
    }

    fn let_go(state: &mut State<T>, id: LeaseId) -> Option<Held<T>> {
        let hand = state.in_hand.get_mut(id.place as usize).filter(|hand| hand.turn == id.turn)?;
        let held = hand.held.take()?;
        state.free_places.push(id.place);
        state.in_hand_count -= 1;
        Some(held)
    }

    fn give_back(&self, state: &mut State<T>, held: Held<T>, nack: Nack) {
        let envelope = held.envelope.after_attempt(nack.charge, nack.alone);
        let now = self.clock.elapsed();
        let queued = Queued { order: held.order, arrived: now, envelope };
        if nack.after.is_zero() {
            Self::requeue(state, queued);
        } else {
            state.delayed.push(Reverse(Delayed { due: now + nack.after, queued }));
        }
    }
}

/// Tells putters that their item is in, once the lock is open again.
fn tell(putters: Vec<oneshot::Sender<()>>) {
    for putter in putters {
        // The putter may have gone: its item is in all the same, as if the put had returned.
        let _ = putter.send(());
    }
}

fn wake(waker: impl IntoIterator<Item = Waker>) {
    waker.into_iter().for_each(Waker::wake);
}

impl<T> State<T> {
    /// Somebody may have something to do: lease an item, or watch for the next one that is due.
    fn has_work(&self) -> bool {
        self.has_queued() || self.next_due().is_some()
    }

    fn has_queued(&self) -> bool {
        !self.frozen && !self.closed && self.lanes.iter().any(|lane| !lane.queue.is_empty())
    }

    fn next_due(&self) -> Option<Duration> {
        self.delayed.peek().filter(|_| !self.frozen && !self.closed).map(|Reverse(first)| first.due)
    }

    fn send_for_work(&mut self) -> Option<Waker> {
        if self.has_work() { self.sleepers.send_one() } else { None }
    }
}

impl<T: Item> Outlet<T> for LocalInbox<T> {
    fn try_put(&self, envelope: Envelope<T>) -> TryPut<T> {
        self.try_put_at(envelope, self.clock.elapsed())
    }

    fn try_put_at(&self, envelope: Envelope<T>, now: Duration) -> TryPut<T> {
        let mut state = self.lock();
        if state.closed {
            return TryPut::Closed(envelope);
        }
        let lane = &state.lanes[envelope.header().lane.index()];
        if !lane.waiting.is_empty() || !self.fits(lane, envelope.bytes) {
            return TryPut::Full(envelope);
        }
        self.enter(&mut state, envelope, now);
        let waker = if state.frozen { None } else { state.sleepers.send_one() };
        drop(state);
        wake(waker);
        TryPut::Taken
    }

    fn put(&self, envelope: Envelope<T>) -> BoxFuture<'_, Result<(), Closed>> {
        let envelope = match self.try_put(envelope) {
            TryPut::Taken => return Box::pin(std::future::ready(Ok(()))),
            TryPut::Closed(_) => return Box::pin(std::future::ready(Err(Closed))),
            TryPut::Full(envelope) => envelope,
        };
        Box::pin(async move {
            let (entered, wait) = oneshot::channel();
            {
                let now = self.clock.elapsed();
                let mut state = self.lock();
                if state.closed {
                    return Err(Closed);
                }
                let place = envelope.header().lane.index();
                // A credit may have come back since the try.
                if state.lanes[place].waiting.is_empty() && self.fits(&state.lanes[place], envelope.bytes) {
                    self.enter(&mut state, envelope, now);
                    let waker = state.send_for_work();
                    drop(state);
                    wake(waker);
                    return Ok(());
                }
                state.lanes[place].waiting.push_back(Waiting { envelope, entered });
            }
            wait.await.map_err(|_closed| Closed)
        })
    }
}

impl<T: Item> Mailbox<T> for LocalInbox<T> {
    fn try_lease(&self, incarnation: u64, ask: LeaseAsk) -> TryLease<T> {
        let now = ask.now.unwrap_or_else(|| self.clock.elapsed());
        let Some(home) = self.me.upgrade() else { return TryLease::Empty };
        let mut state = self.lock();
        let taken = Self::take(&mut state, incarnation, ask, now, home);
        // Whoever asked may have been the one on the way: what it leaves, somebody else must see.
        let next = if matches!(taken, TryLease::Empty) { None } else { state.send_for_work() };
        drop(state);
        wake(next);
        taken
    }

    fn ack_and_lease(&self, mut done: Lease<T>, incarnation: u64, ask: LeaseAsk) -> (bool, TryLease<T>) {
        let Some(home) = done.home.take() else { return (false, self.try_lease(incarnation, ask)) };
        let now = ask.now.unwrap_or_else(|| self.clock.elapsed());
        let mut state = self.lock();
        let held = Self::let_go(&mut state, done.id);
        let entered = held.as_ref().is_some_and(|held| self.release(&mut state, &held.envelope));
        let taken = Self::take(&mut state, incarnation, ask, now, home);
        let look = entered || !matches!(taken, TryLease::Empty);
        let next = if look { state.send_for_work() } else { None };
        drop(state);
        wake(next);
        (held.is_some(), taken)
    }

    fn arrival(&self) -> BoxFuture<'_, ()> {
        let mut sleep = Sleep::new(self);
        Box::pin(async move { poll_fn(|context| sleep.poll_arrival(context)).await })
    }

    fn lease(&self, incarnation: u64) -> BoxFuture<'_, Result<Lease<T>, Closed>> {
        let mut sleep = Sleep::new(self);
        Box::pin(async move { poll_fn(|context| sleep.poll_lease(incarnation, context)).await })
    }

    fn end_turn(&self) {
        let putters = std::mem::take(&mut self.lock().untold);
        tell(putters);
    }

    fn freeze(&self) {
        self.lock().frozen = true;
    }

    fn thaw(&self) {
        // Everybody looks again, also for the next due time of delayed items.
        let wakers = {
            let mut state = self.lock();
            state.frozen = false;
            state.sleepers.send_all()
        };
        wake(wakers);
    }

    fn close(&self) {
        let (waiting, putters, wakers) = {
            let mut state = self.lock();
            state.closed = true;
            let waiting: Vec<Waiting<T>> =
                state.lanes.iter_mut().flat_map(|lane| lane.waiting.drain(..)).collect();
            let putters = std::mem::take(&mut state.untold);
            (waiting, putters, state.sleepers.send_all())
        };
        tell(putters);
        // Dropping the senders tells the putters.
        drop(waiting);
        wake(wakers);
    }

    fn depth(&self) -> Depth {
        let state = self.lock();
        Depth {
            items: state.lanes.iter().map(|lane| lane.items).sum(),
            bytes: state.lanes.iter().map(|lane| lane.bytes).sum(),
            in_hand: state.in_hand_count,
            waiting: state.lanes.iter().map(|lane| lane.waiting.len()).sum(),
            fullest_lane_items: state.lanes.iter().map(|lane| lane.items).max().unwrap_or(0),
            fullest_lane_bytes: state.lanes.iter().map(|lane| lane.bytes).max().unwrap_or(0),
            peak_lane_items: state.peak_lane_items,
            peak_lane_bytes: state.peak_lane_bytes,
        }
    }

    fn revoke(&self, incarnation: u64, only: Option<LeaseId>) -> usize {
        let mut state = self.lock();
        let ids: Vec<LeaseId> = state
            .in_hand
            .iter()
            .enumerate()
            .filter(|(_, hand)| {
                hand.held.as_ref().is_some_and(|held| held.incarnation == incarnation && !held.delivering)
            })
            .map(|(place, hand)| LeaseId { place: place as u32, turn: hand.turn })
            .filter(|id| only.is_none_or(|only| only == *id))
            .collect();
        for id in &ids {
            if let Some(held) = Self::let_go(&mut state, *id) {
                self.give_back(&mut state, held, Nack { after: Duration::ZERO, charge: true, alone: false });
            }
        }
        let wakers = if only.is_none() {
            // Slots that sleep on a lost thread would swallow wakes meant for the next incarnation; and should the thread
            // come back, it may lease no more: nobody watches it.
            state.first_live = state.first_live.max(incarnation + 1);
            state.sleepers.send_all()
        } else {
            state.send_for_work().into_iter().collect()
        };
        // Whose turn it was to tell them may be lost.
        let putters = std::mem::take(&mut state.untold);
        drop(state);
        tell(putters);
        wake(wakers);
        ids.len()
    }
}

impl<T: Item> LeaseHome<T> for LocalInbox<T> {
    fn ack(&self, id: LeaseId) -> bool {
        let acked = self.ack_within_turn(id);
        self.end_turn();
        acked
    }

    fn ack_within_turn(&self, id: LeaseId) -> bool {
        let mut state = self.lock();
        let Some(held) = Self::let_go(&mut state, id) else { return false };
        let entered = self.release(&mut state, &held.envelope);
        let waker = if entered { state.send_for_work() } else { None };
        drop(state);
        wake(waker);
        true
    }

    fn nack(&self, id: LeaseId, nack: Nack) -> bool {
        let mut state = self.lock();
        let Some(held) = Self::let_go(&mut state, id) else { return false };
        self.give_back(&mut state, held, nack);
        // Also after a delay: somebody must watch for the new due time.
        let waker = state.send_for_work();
        drop(state);
        wake(waker);
        true
    }

    fn begin_delivery(&self, id: LeaseId) -> bool {
        let mut state = self.lock();
        let held = state.in_hand.get_mut(id.place as usize).filter(|hand| hand.turn == id.turn);
        match held.and_then(|hand| hand.held.as_mut()) {
            Some(held) => {
                held.delivering = true;
                true
            }
            None => false,
        }
    }
}
