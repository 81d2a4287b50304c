//! Putting outputs downstream, also when that must wait, and also when the slot that waits is lost.
//!
//! Promises (*conservation*): children are counted before their parent is uncounted; a delivery that has begun is
//! finished once, by its slot or by whoever takes over from it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{SlotEnv, Work};
use crate::actors::engine::ledger::JobEntry;
use crate::actors::engine::mailbox::{Lease, TryPut};
use crate::actors::engine::stage::Output;
use crate::actors::engine::stage_host::{StageHost, delivery_key};
use crate::messages::Envelope;
use crate::telemetry::MessageOutcome;

impl<W: Work> SlotEnv<W> {
    /// Puts the outputs downstream, then acks. Children are counted before the parents are uncounted.
    pub(super) async fn deliver(&self, leases: Vec<Lease<W::In>>, output: Output<W::Out>) {
        let mut held = Vec::with_capacity(leases.len());
        for lease in leases {
            if lease.begin_delivery() {
                held.push(lease);
            } else {
                self.host.meter.messages(MessageOutcome::Fenced).inc();
            }
        }
        let Some(head) = held.first() else { return };
        let waybill = &head.envelope().waybill;
        let job = Arc::clone(&waybill.job);
        let mut children: VecDeque<Envelope<W::Out>> = VecDeque::new();
        match output {
            Output::None => {}
            Output::One(content) => {
                children.push_back(Envelope::follow(Arc::clone(waybill), content));
            }
            Output::Many(contents) => {
                for (index, content) in contents.into_iter().enumerate() {
                    children.push_back(Envelope::child(waybill, waybill.header.item.child(index), content));
                }
            }
        }
        let leaf = children.is_empty();
        job.expect(children.len());
        while let Some(child) = children.pop_front() {
            match self.host.outlet.try_put(child) {
                TryPut::Taken => {}
                TryPut::Closed(_) => return self.undeliverable(held, &job, children.len() + 1),
                TryPut::Full(child) => {
                    children.push_front(child);
                    return self.deliver_slowly(held, children, job).await;
                }
            }
        }
        self.finish(held, leaf);
    }

    /// The mailbox downstream closed: the engine is leaving, and the journal will replay.
    fn undeliverable(&self, held: Vec<Lease<W::In>>, job: &JobEntry, unsent: usize) {
        job.end(unsent);
        drop(held);
    }

    pub(super) async fn deliver_slowly(
        &self,
        held: Vec<Lease<W::In>>,
        children: VecDeque<Envelope<W::Out>>,
        job: Arc<JobEntry>,
    ) {
        let started = self.core.clock.elapsed();
        let Some(key) = held.first().map(|lease| delivery_key(lease.id())) else { return };
        let host = Arc::clone(&self.host);
        let rest = Arc::new(Rest {
            children: Mutex::new(children),
            finish: Mutex::new(Some(Box::new(move || finish_leases(&host, held, false)))),
        });
        self.deliveries().insert(key, Arc::clone(&rest));
        let _hand_over = HandOver { env: self, key };
        while let Some(child) = rest.next() {
            if self.host.outlet.put(child).await.is_err() {
                return rest.give_up(&job);
            }
        }
        rest.finish();
        let blocked = self.core.clock.elapsed().saturating_sub(started);
        self.host.meter.blocked_seconds.inc_by(blocked.as_secs_f64());
    }

    fn deliveries(&self) -> MutexGuard<'_, HashMap<u64, Arc<Rest<W::Out>>>> {
        self.host.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, held: Vec<Lease<W::In>>, leaf: bool) {
        finish_leases(&self.host, held, leaf);
    }
}

fn finish_leases<W: Work>(host: &StageHost<W>, held: Vec<Lease<W::In>>, leaf: bool) {
    for lease in held {
        let job = Arc::clone(lease.envelope().job());
        if finish_lease(host, lease) {
            job.acked(leaf);
        }
    }
    // Whoever took a delivery over has no turn of its own to end.
    host.inbox.end_turn();
}

/// Acks, without uncounting, within a slot's turn. False when fenced.
fn finish_lease<W: Work>(host: &StageHost<W>, lease: Lease<W::In>) -> bool {
    let acked = lease.ack_within_turn();
    if acked {
        host.meter.messages(MessageOutcome::Done).inc();
    } else {
        host.meter.messages(MessageOutcome::Fenced).inc();
    }
    acked
}

/// The outputs of one delivery that have not been put yet, and what to do after the last one. Whoever takes the last
/// one finishes; nobody finishes twice.
pub(in crate::actors::engine) struct Rest<T> {
    children: Mutex<VecDeque<Envelope<T>>>,
    finish: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl<T> Rest<T> {
    /// The mailbox downstream closed over one child: the engine is leaving, and the journal will replay.
    fn give_up(&self, job: &JobEntry) {
        let unsent: Vec<_> = self.children.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        job.end(unsent.len() + 1);
        drop(self.finish.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub fn next(&self) -> Option<Envelope<T>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn is_finished(&self) -> bool {
        self.finish.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    pub fn finish(&self) {
        let finish = self.finish.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(finish) = finish {
            finish();
        }
    }
}

/// Ends a slow delivery: done, it is only struck off; dropped half-way with its slot, the rest is put by the process's
/// own threads.
struct HandOver<'a, W: Work> {
    env: &'a SlotEnv<W>,
    key: u64,
}

impl<W: Work> Drop for HandOver<'_, W> {
    fn drop(&mut self) {
        let rest = self.env.deliveries().remove(&self.key);
        if let Some(rest) = rest.filter(|rest| !rest.is_finished()) {
            let outlet = Arc::clone(&self.env.host.outlet);
            self.env.core.runtime.spawn(rest.take_over(outlet));
        }
    }
}
