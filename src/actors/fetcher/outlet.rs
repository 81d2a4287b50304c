//! Sorts what the fetcher brings: descriptions to the composer, leads to the assessor.
//!
//! Promises: an item that finds no room comes back as it was, and whoever waits for room holds up his own kind only.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::engine::{Closed, Outlet, TryPut};
use crate::clock::BoxFuture;
use crate::messages::{AssessAsk, DescribedObject, Envelope, Fetched};

/// See the module's promises.
pub struct FetchedOutlet {
    composer: Arc<dyn Outlet<DescribedObject>>,
    assessor: Arc<dyn Outlet<AssessAsk>>,
}

impl std::fmt::Debug for FetchedOutlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchedOutlet").finish_non_exhaustive()
    }
}

impl FetchedOutlet {
    /// In front of these two.
    pub fn new(composer: Arc<dyn Outlet<DescribedObject>>, assessor: Arc<dyn Outlet<AssessAsk>>) -> Self {
        Self { composer, assessor }
    }
}

enum Sorted {
    Described(Envelope<DescribedObject>),
    Leads(Envelope<AssessAsk>),
}

fn sort(envelope: Envelope<Fetched>) -> Sorted {
    let Envelope { waybill, item, bytes } = envelope;
    // Nobody else holds an item that has just been made.
    match Arc::unwrap_or_clone(item) {
        Fetched::Described(object) => Sorted::Described(Envelope { waybill, item: Arc::from(object), bytes }),
        Fetched::Leads(leads) => Sorted::Leads(Envelope { waybill, item: Arc::new(leads), bytes }),
    }
}

fn back<T: Clone>(answer: TryPut<T>, wrap: impl Fn(T) -> Fetched) -> TryPut<Fetched> {
    let whole = |Envelope { waybill, item, bytes }: Envelope<T>| {
        let item = Arc::new(wrap(Arc::unwrap_or_clone(item)));
        Envelope { waybill, item, bytes }
    };
    match answer {
        TryPut::Taken => TryPut::Taken,
        TryPut::Full(envelope) => TryPut::Full(whole(envelope)),
        TryPut::Closed(envelope) => TryPut::Closed(whole(envelope)),
    }
}

fn described(object: DescribedObject) -> Fetched {
    Fetched::Described(Box::new(object))
}

impl Outlet<Fetched> for FetchedOutlet {
    fn try_put(&self, envelope: Envelope<Fetched>) -> TryPut<Fetched> {
        match sort(envelope) {
            Sorted::Described(envelope) => back(self.composer.try_put(envelope), described),
            Sorted::Leads(envelope) => back(self.assessor.try_put(envelope), Fetched::Leads),
        }
    }

    fn try_put_at(&self, envelope: Envelope<Fetched>, now: Duration) -> TryPut<Fetched> {
        match sort(envelope) {
            Sorted::Described(envelope) => back(self.composer.try_put_at(envelope, now), described),
            Sorted::Leads(envelope) => back(self.assessor.try_put_at(envelope, now), Fetched::Leads),
        }
    }

    fn put(&self, envelope: Envelope<Fetched>) -> BoxFuture<'_, Result<(), Closed>> {
        match sort(envelope) {
            Sorted::Described(envelope) => self.composer.put(envelope),
            Sorted::Leads(envelope) => self.assessor.put(envelope),
        }
    }
}
