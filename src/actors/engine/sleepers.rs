//! Who sleeps until an item comes, woken one at a time.
//!
//! Promises: while something can be had and somebody sleeps, somebody is on the way to look. One is enough: whoever
//! looks and finds more than it takes sends for the next. So a burst of items wakes as many as find work, and not one
//! for each item. All calls are made under the mailbox's lock; wakers are called after it.

use std::collections::VecDeque;
use std::task::Waker;

/// A place among the sleepers. Give it back by [`Sleepers::rise`], also when the sleeper is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    era: u64,
}

/// See the module's promises.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    asleep: VecDeque<(u64, Waker)>,
    /// One was woken and has not looked yet.
    on_the_way: bool,
    next_number: u64,
    /// Tickets of an era before the last `wake_all` count for nothing.
    era: u64,
}

impl Sleepers {
    /// Lies down, behind all others.
    pub fn sleep(&mut self, waker: &Waker) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        self.asleep.push_back((number, waker.clone()));
        Ticket { number, era: self.era }
    }

    /// Gets up, woken or not. Who gets up must look, or else send for the next.
    pub fn rise(&mut self, ticket: Ticket) {
        if ticket.era != self.era {
            return;
        }
        match self.asleep.iter().position(|(number, _)| *number == ticket.number) {
            Some(place) => drop(self.asleep.remove(place)),
            None => self.on_the_way = false,
        }
    }

    /// Something can be had: the waker of whoever has slept longest, unless somebody is on the way already.
    pub fn send_one(&mut self) -> Option<Waker> {
        if self.on_the_way {
            return None;
        }
        let (_, waker) = self.asleep.pop_front()?;
        self.on_the_way = true;
        Some(waker)
    }

    /// Everybody is to look. Also forgets whoever was on the way: it may live on a thread that is lost.
    pub fn send_all(&mut self) -> Vec<Waker> {
        self.era += 1;
        self.on_the_way = false;
        self.asleep.drain(..).map(|(_, waker)| waker).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_sent_at_a_time_and_the_next_only_after_it_has_risen() {
        let mut sleepers = Sleepers::default();
        assert!(sleepers.send_one().is_none(), "nobody sleeps");
        let first = sleepers.sleep(Waker::noop());
        let second = sleepers.sleep(Waker::noop());
        assert!(sleepers.send_one().is_some());
        assert!(sleepers.send_one().is_none(), "the first is on the way");
        sleepers.rise(second);
        assert!(sleepers.send_one().is_none(), "the second got up by itself, the first is still on the way");
        sleepers.rise(first);
        let third = sleepers.sleep(Waker::noop());
        assert!(sleepers.send_one().is_some());
        sleepers.rise(third);
    }

    #[test]
    fn a_ticket_from_before_everybody_was_sent_changes_nothing() {
        let mut sleepers = Sleepers::default();
        let lost = sleepers.sleep(Waker::noop());
        assert!(sleepers.send_one().is_some());
        assert!(sleepers.send_all().is_empty(), "the only one is on the way, on a thread that is lost");
        let next = sleepers.sleep(Waker::noop());
        assert!(sleepers.send_one().is_some(), "the lost one holds nobody back");
        sleepers.rise(lost);
        assert!(sleepers.send_one().is_none(), "the next one is still on the way");
        sleepers.rise(next);
    }
}
