//! The inbox against a model: random puts, leases, acks, nacks, revokes, pauses, waits and drops. The model knows where
//! each item is; the inbox must agree, keep its bounds, and leave nobody asleep who has something to do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::actors::engine::ledger::JobEntry;
use crate::clock::{Clock, ManualClock};
use crate::messages::{ItemId, JobId, Lane};

#[derive(Debug, Serialize, Deserialize)]
struct Toy {
    number: usize,
    size: u32,
}

impl Item for Toy {
    fn bytes(&self) -> u32 {
        self.size
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Without waiting.
    TryPut(usize, u32),
    /// Waiting for room.
    Put(usize, u32),
    /// A waiting putter goes away.
    DropPutter(usize),
    TryLease,
    /// A slot starts to wait for an item.
    Sleep,
    /// A slot that was woken looks.
    Look(usize),
    /// A slot that waits goes away, woken or not.
    DropSleeper(usize),
    Ack(usize),
    AckWithinTurn(usize),
    /// A slot goes on from one item to the next.
    AckAndLease(usize),
    EndTurn,
    Nack(usize, u64, bool),
    DropLease(usize),
    BeginDelivery(usize),
    /// The handler of one lease hangs.
    RevokeOne(usize),
    /// The thread of the present incarnation is lost: its sleepers are never polled again.
    RevokeAll,
    Pass(u64),
    Freeze,
    Thaw,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let (lane, size, any) = (0..3_usize, 1..60_u32, 0..8_usize);
    prop_oneof![
        4 => (lane.clone(), size.clone()).prop_map(|(lane, size)| TryPut(lane, size)),
        4 => (lane, size).prop_map(|(lane, size)| Put(lane, size)),
        1 => any.clone().prop_map(DropPutter),
        4 => Just(TryLease),
        4 => Just(Sleep),
        5 => any.clone().prop_map(Look),
        1 => any.clone().prop_map(DropSleeper),
        4 => any.clone().prop_map(Ack),
        3 => any.clone().prop_map(AckWithinTurn),
        4 => any.clone().prop_map(AckAndLease),
        2 => Just(EndTurn),
        3 => (any.clone(), 0..30_u64, prop::bool::ANY).prop_map(|(of, after, charge)| Nack(of, after, charge)),
        1 => any.clone().prop_map(DropLease),
        1 => any.clone().prop_map(BeginDelivery),
        1 => any.prop_map(RevokeOne),
        1 => Just(RevokeAll),
        3 => (1..20_u64).prop_map(Pass),
        1 => Just(Freeze),
        2 => Just(Thaw),
    ]
}

/// Where the model has an item.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Upstream,
    Queued,
    Delayed(Duration),
    InHand,
    Gone,
}

#[derive(Debug)]
struct Modelled {
    lane: usize,
    cost: u64,
    attempts: u32,
    /// Place in line, from when it entered.
    order: usize,
    place: Place,
}

struct Hand {
    lease: Lease<Toy>,
    number: usize,
    incarnation: u64,
    delivering: bool,
    revoked: bool,
}

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Sleeper<'a> {
    future: BoxFuture<'a, Result<Lease<Toy>, Closed>>,
    bell: Arc<Bell>,
    incarnation: u64,
}

const CAPACITY: Capacity = Capacity { items: 3, bytes: 100 };

/// The inbox and what the model thinks of it.
struct Check<'a> {
    inbox: &'a LocalInbox<Toy>,
    clock: Arc<ManualClock>,
    job: Arc<JobEntry>,
    items: Vec<Modelled>,
    entered: usize,
    upstream: [VecDeque<usize>; 3],
    putters: BTreeMap<usize, BoxFuture<'a, Result<(), Closed>>>,
    hands: Vec<Hand>,
    sleepers: Vec<Sleeper<'a>>,
    lost: Vec<Sleeper<'a>>,
    incarnation: u64,
    frozen: bool,
}

impl<'a> Check<'a> {
    fn new(inbox: &'a LocalInbox<Toy>, clock: Arc<ManualClock>) -> Self {
        Self {
            inbox,
            clock,
            job: JobEntry::new(JobId::new("toys")),
            items: Vec::new(),
            entered: 0,
            upstream: Default::default(),
            putters: BTreeMap::new(),
            hands: Vec::new(),
            sleepers: Vec::new(),
            lost: Vec::new(),
            incarnation: 1,
            frozen: false,
        }
    }

    fn lane_use(&self, lane: usize) -> (usize, u64) {
        let held =
            |item: &&Modelled| item.lane == lane && !matches!(item.place, Place::Upstream | Place::Gone);
        let held = self.items.iter().filter(held);
        held.fold((0, 0), |(items, bytes), item| (items + 1, bytes + item.cost))
    }

    fn fits(&self, lane: usize, cost: u64) -> bool {
        let (items, bytes) = self.lane_use(lane);
        items < CAPACITY.items && bytes + cost <= CAPACITY.bytes
    }

    fn add(&mut self, lane: usize, size: u32) -> (usize, Envelope<Toy>) {
        let number = self.items.len();
        let cost = u64::from(size).min(CAPACITY.bytes);
        self.items.push(Modelled { lane, cost, attempts: 0, order: 0, place: Place::Upstream });
        let id = ItemId::new(&number.to_string());
        (number, Envelope::admit(&self.job, id, Lane::ALL[lane], Toy { number, size }))
    }

    fn enters(&mut self, number: usize) {
        self.items[number].order = self.entered;
        self.items[number].place = Place::Queued;
        self.entered += 1;
    }

    /// A credit came back: whoever waited longest enters, for as long as there is room.
    fn let_in(&mut self, lane: usize) {
        while let Some(first) = self.upstream[lane].front().copied() {
            if !self.fits(lane, self.items[first].cost) {
                break;
            }
            self.upstream[lane].pop_front();
            self.enters(first);
        }
    }

    fn is_ready(&self, item: &Modelled) -> bool {
        let now = self.clock.elapsed();
        item.place == Place::Queued || matches!(item.place, Place::Delayed(due) if due <= now)
    }

    fn anything_ready(&self) -> bool {
        !self.frozen && self.items.iter().any(|item| self.is_ready(item))
    }

    fn leased(&mut self, lease: Lease<Toy>, incarnation: u64) {
        assert!(!self.frozen, "leased while frozen");
        assert_eq!(incarnation, self.incarnation, "leased to an incarnation that lost its thread");
        let number = lease.envelope().item.number;
        let item = &self.items[number];
        assert!(self.is_ready(item), "leased from {:?}", item.place);
        assert_eq!(lease.envelope().header().attempt, item.attempts);
        let earlier = |other: &Modelled| other.lane == item.lane && other.order < item.order;
        let overtaken = self.items.iter().any(|other| earlier(other) && self.is_ready(other));
        assert!(!overtaken, "an earlier item of the lane was ready");
        self.items[number].place = Place::InHand;
        self.hands.push(Hand { lease, number, incarnation, delivering: false, revoked: false });
    }

    fn goes_back(&mut self, number: usize, after: Duration, charge: bool) {
        let now = self.clock.elapsed();
        let item = &mut self.items[number];
        item.attempts += u32::from(charge);
        item.place = if after.is_zero() { Place::Queued } else { Place::Delayed(now + after) };
    }

    fn take_hand(&mut self, of: usize) -> Option<Hand> {
        (!self.hands.is_empty()).then(|| self.hands.remove(of % self.hands.len()))
    }

    fn ended(&mut self, hand: &Hand, acked: bool) {
        assert_eq!(acked, !hand.revoked, "a revoked lease is fenced, any other is not");
        if acked {
            self.items[hand.number].place = Place::Gone;
            self.let_in(self.items[hand.number].lane);
        }
    }

    fn look(&mut self, mut sleeper: Sleeper<'a>) {
        sleeper.bell.0.store(false, Ordering::SeqCst);
        let waker = sleeper.bell.clone().into();
        match sleeper.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(lease) => self.leased(lease.expect("it is open"), sleeper.incarnation),
            Poll::Pending => {
                assert!(!self.anything_ready(), "a sleeper that looked went back to sleep over a ready item");
                self.sleepers.push(sleeper);
            }
        }
    }

    /// Every putter whose item is in must know, and no other.
    fn putters_know(&mut self) {
        let context = &mut Context::from_waker(Waker::noop());
        let items = &self.items;
        self.putters.retain(|number, putter| {
            let told = putter.as_mut().poll(context).is_ready();
            assert_eq!(told, items[*number].place != Place::Upstream, "item {number}");
            !told
        });
    }

    fn revoke(&mut self, only: Option<usize>) {
        let expected: Vec<usize> = (0..self.hands.len())
            .filter(|place| only.is_none_or(|only| only == *place))
            .filter(|place| {
                let hand = &self.hands[*place];
                hand.incarnation == self.incarnation && !hand.delivering && !hand.revoked
            })
            .collect();
        let id = only.map(|place| self.hands[place].lease.id());
        assert_eq!(self.inbox.revoke(self.incarnation, id), expected.len());
        for place in expected {
            self.hands[place].revoked = true;
            self.goes_back(self.hands[place].number, Duration::ZERO, true);
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::TryPut(lane, size) => {
                let (number, envelope) = self.add(lane, size);
                let room = self.upstream[lane].is_empty() && self.fits(lane, self.items[number].cost);
                match self.inbox.try_put(envelope) {
                    TryPut::Taken => {
                        assert!(room, "taken over the bound, or past those who wait");
                        self.enters(number);
                    }
                    TryPut::Full(back) => {
                        assert!(!room, "there was room");
                        assert_eq!(back.item.number, number);
                        self.items[number].place = Place::Gone;
                    }
                    TryPut::Closed(_) => panic!("it is open"),
                }
            }
            Step::Put(lane, size) => {
                let (number, envelope) = self.add(lane, size);
                let room = self.upstream[lane].is_empty() && self.fits(lane, self.items[number].cost);
                let mut put = self.inbox.put(envelope);
                let told = put.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
                assert_eq!(told, room);
                if room {
                    self.enters(number);
                } else {
                    self.upstream[lane].push_back(number);
                    self.putters.insert(number, put);
                }
            }
            Step::DropPutter(of) => {
                // Its item enters all the same, so the model forgets nothing.
                let number = self.putters.keys().nth(of).copied();
                drop(number.and_then(|number| self.putters.remove(&number)));
            }
            Step::TryLease => match self.inbox.try_lease(self.incarnation, LeaseAsk::ANY) {
                TryLease::Leased(lease) => self.leased(lease, self.incarnation),
                TryLease::Empty => assert!(!self.anything_ready(), "something is ready"),
                TryLease::Unfit => panic!("anything fits"),
            },
            Step::Sleep => {
                let incarnation = self.incarnation;
                let future = self.inbox.lease(incarnation);
                self.look(Sleeper { future, bell: Arc::default(), incarnation });
            }
            Step::Look(of) => {
                let rung = |sleeper: &Sleeper<'_>| sleeper.bell.0.load(Ordering::SeqCst);
                let woken: Vec<usize> =
                    (0..self.sleepers.len()).filter(|place| rung(&self.sleepers[*place])).collect();
                if !woken.is_empty() {
                    let sleeper = self.sleepers.remove(woken[of % woken.len()]);
                    // Not what it finds is checked here, but that somebody comes: it may well find nothing.
                    self.look(sleeper);
                }
            }
            Step::DropSleeper(of) => {
                if !self.sleepers.is_empty() {
                    drop(self.sleepers.remove(of % self.sleepers.len()));
                }
            }
            Step::Ack(of) => {
                let Some(mut hand) = self.take_hand(of) else { return };
                let acked = take_lease(&mut hand, Lease::ack);
                self.ended(&hand, acked);
                if acked {
                    self.putters_know();
                }
            }
            Step::AckWithinTurn(of) => {
                let Some(mut hand) = self.take_hand(of) else { return };
                let acked = take_lease(&mut hand, Lease::ack_within_turn);
                self.ended(&hand, acked);
            }
            Step::AckAndLease(of) => {
                let Some(mut hand) = self.take_hand(of) else { return };
                let (inbox, incarnation) = (self.inbox, self.incarnation);
                let (acked, next) =
                    take_lease(&mut hand, |lease| inbox.ack_and_lease(lease, incarnation, LeaseAsk::ANY));
                self.ended(&hand, acked);
                match next {
                    TryLease::Leased(lease) => self.leased(lease, incarnation),
                    TryLease::Empty => assert!(!self.anything_ready(), "something is ready"),
                    TryLease::Unfit => panic!("anything fits"),
                }
            }
            Step::EndTurn => {
                self.inbox.end_turn();
                self.putters_know();
            }
            Step::Nack(of, after_ms, charge) => {
                let Some(mut hand) = self.take_hand(of) else { return };
                let after = Duration::from_millis(after_ms);
                let nack = Nack { after, charge, alone: false };
                let back = take_lease(&mut hand, |lease| lease.nack(nack));
                assert_eq!(back, !hand.revoked);
                if back {
                    self.goes_back(hand.number, after, charge);
                }
            }
            Step::DropLease(of) => {
                let Some(mut hand) = self.take_hand(of) else { return };
                take_lease(&mut hand, drop);
                if !hand.revoked {
                    self.goes_back(hand.number, Duration::ZERO, false);
                }
            }
            Step::BeginDelivery(of) => {
                if !self.hands.is_empty() {
                    let place = of % self.hands.len();
                    let hand = &mut self.hands[place];
                    assert_eq!(hand.lease.begin_delivery(), !hand.revoked);
                    hand.delivering = !hand.revoked;
                }
            }
            Step::RevokeOne(of) => {
                if !self.hands.is_empty() {
                    self.revoke(Some(of % self.hands.len()));
                }
            }
            Step::RevokeAll => {
                self.revoke(None);
                self.putters_know();
                // The lost thread's sleepers stay where they are; should one wake up after all, it gets nothing.
                self.lost.append(&mut self.sleepers);
                let late = self.inbox.try_lease(self.incarnation, LeaseAsk::ANY);
                assert!(matches!(late, TryLease::Empty));
                self.incarnation += 1;
            }
            Step::Pass(ms) => self.clock.advance(Duration::from_millis(ms)),
            Step::Freeze => {
                self.inbox.freeze();
                self.frozen = true;
            }
            Step::Thaw => {
                self.inbox.thaw();
                self.frozen = false;
            }
        }
    }

    fn agrees(&self) {
        let depth = self.inbox.depth();
        let (mut items, mut bytes) = (0, 0);
        for lane in 0..3 {
            let held = self.lane_use(lane);
            assert!(
                held.0 <= CAPACITY.items && held.1 <= CAPACITY.bytes,
                "the model itself is over its bound"
            );
            items += held.0;
            bytes += held.1;
        }
        let in_hand = self.items.iter().filter(|item| item.place == Place::InHand).count();
        let waiting = self.upstream.iter().map(VecDeque::len).sum::<usize>();
        let expected = (items, bytes, in_hand, waiting);
        assert_eq!((depth.items, depth.bytes, depth.in_hand, depth.waiting), expected);
        assert!(depth.peak_lane_items <= CAPACITY.items && depth.peak_lane_bytes <= CAPACITY.bytes);
        let somebody_comes = self.sleepers.iter().any(|sleeper| sleeper.bell.0.load(Ordering::SeqCst));
        assert!(
            !self.anything_ready() || self.sleepers.is_empty() || somebody_comes,
            "an item is ready, all sleep, and nobody was woken"
        );
    }
}

fn take_lease<R>(hand: &mut Hand, end: impl FnOnce(Lease<Toy>) -> R) -> R {
    let spent = Lease {
        envelope: hand.lease.envelope.clone(),
        id: hand.lease.id,
        leased_at: hand.lease.leased_at,
        waited: hand.lease.waited,
        home: None,
    };
    end(std::mem::replace(&mut hand.lease, spent))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_inbox_does_what_the_model_does_and_leaves_nobody_asleep_over_a_ready_item(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let clock = ManualClock::new();
        let inbox = LocalInbox::new(CAPACITY, clock.clone());
        let mut check = Check::new(&inbox, clock);
        for step in steps {
            check.apply(step);
            check.agrees();
        }
        let waiting = std::mem::take(&mut check.putters);
        inbox.close();
        let context = &mut Context::from_waker(Waker::noop());
        for (number, mut putter) in waiting {
            let upstream = check.items[number].place == Place::Upstream;
            assert_eq!(putter.as_mut().poll(context), Poll::Ready(if upstream { Err(Closed) } else { Ok(()) }));
        }
        for mut sleeper in check.sleepers.drain(..) {
            assert!(matches!(sleeper.future.as_mut().poll(context), Poll::Ready(Err(Closed))));
        }
    }
}

#[test]
fn a_sealing_slot_that_was_woken_leaves_the_rest_to_the_next_sleeper() {
    let inbox = LocalInbox::new(CAPACITY, ManualClock::new());
    let job = JobEntry::new(JobId::new("toys"));
    let (sealing_bell, other_bell) = (Arc::<Bell>::default(), Arc::<Bell>::default());
    let (mut sealing, mut other) = (inbox.arrival(), inbox.lease(1));
    let (sealing_waker, other_waker) = (sealing_bell.clone().into(), other_bell.clone().into());
    assert!(sealing.as_mut().poll(&mut Context::from_waker(&sealing_waker)).is_pending());
    assert!(other.as_mut().poll(&mut Context::from_waker(&other_waker)).is_pending());
    for number in 0..2 {
        let toy = Toy { number, size: 1 };
        let envelope = Envelope::admit(&job, ItemId::new(&number.to_string()), Lane::Normal, toy);
        assert!(matches!(inbox.try_put(envelope), TryPut::Taken));
    }
    assert!(sealing_bell.0.load(Ordering::SeqCst), "it has slept longest");
    assert!(!other_bell.0.load(Ordering::SeqCst), "one on the way is enough");
    assert!(sealing.as_mut().poll(&mut Context::from_waker(&sealing_waker)).is_ready());
    let _joined = inbox.try_lease(1, LeaseAsk::ANY);
    assert!(other_bell.0.load(Ordering::SeqCst), "its batch may be full: the other item is the other's");
}
