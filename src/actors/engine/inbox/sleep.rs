//! One that waits for an item of a mailbox, or for the moment when a delayed one is due.

use std::task::{Context, Poll};
use std::time::Duration;

use super::{LocalInbox, State, wake};
use crate::actors::engine::mailbox::{Closed, Lease, LeaseAsk, TryLease};
use crate::actors::engine::sleepers::Ticket;
use crate::clock::BoxFuture;
use crate::messages::Item;

/// One that waits for an item. However it ends, it leaves no item behind that nobody looks at.
pub(super) struct Sleep<'a, T: Item> {
    inbox: &'a LocalInbox<T>,
    ticket: Option<Ticket>,
    alarm: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl<'a, T: Item> Sleep<'a, T> {
    pub fn new(inbox: &'a LocalInbox<T>) -> Self {
        Self { inbox, ticket: None, alarm: None }
    }

    fn rise(&mut self, state: &mut State<T>) {
        if let Some(ticket) = self.ticket.take() {
            state.sleepers.rise(ticket);
        }
    }

    /// Looks for an item; with none, sleeps until one comes or is due.
    pub fn poll_lease(
        &mut self,
        incarnation: u64,
        context: &mut Context<'_>,
    ) -> Poll<Result<Lease<T>, Closed>> {
        loop {
            let now = self.inbox.clock.elapsed();
            // Alive: it lends itself to us.
            let Some(home) = self.inbox.me.upgrade() else { return Poll::Ready(Err(Closed)) };
            let due = {
                let mut state = self.inbox.lock();
                self.rise(&mut state);
                let taken = LocalInbox::take(&mut state, incarnation, LeaseAsk::ANY, now, home);
                if let TryLease::Leased(lease) = taken {
                    let next = state.send_for_work();
                    drop(state);
                    wake(next);
                    return Poll::Ready(Ok(lease));
                }
                if state.closed {
                    return Poll::Ready(Err(Closed));
                }
                self.ticket = Some(state.sleepers.sleep(context.waker()));
                state.next_due()
            };
            if self.poll_alarm(due, context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Rings when the next delayed item is due; with none, never.
    fn poll_alarm(&mut self, due: Option<Duration>, context: &mut Context<'_>) -> Poll<()> {
        if self.alarm.as_ref().map(|(at, _)| *at) != due {
            self.alarm = due.map(|due| (due, self.inbox.clock.sleep_until(due)));
        }
        let Some((_, alarm)) = &mut self.alarm else { return Poll::Pending };
        let rung = alarm.as_mut().poll(context);
        if rung.is_ready() {
            self.alarm = None;
        }
        rung
    }

    /// Sleeps until an item may be had.
    pub fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = {
            let mut state = self.inbox.lock();
            self.rise(&mut state);
            if state.has_queued() || state.closed {
                return Poll::Ready(());
            }
            self.ticket = Some(state.sleepers.sleep(context.waker()));
            state.next_due()
        };
        self.poll_alarm(due, context)
    }
}

impl<T: Item> Drop for Sleep<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let mut state = self.inbox.lock();
            state.sleepers.rise(ticket);
            let next = state.send_for_work();
            drop(state);
            wake(next);
        }
    }
}
