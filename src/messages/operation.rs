//! A batch on its way to its database.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::envelope::Item;
use crate::batch::access::Caller;
use crate::batch::check::{CheckedOperation, OperationError};
use crate::batch::plan::Plan;
use crate::batch::request::BatchRequest;
use crate::batch::run::KeyUse;
use crate::database::Identity;

/// What one operation holds beside its text once it is planned, near enough for a mailbox's bound.
const BYTES_PER_OPERATION: usize = 1_000;

/// One batch, planned and checked, for one database.
#[derive(Serialize, Deserialize)]
pub struct BatchOrder {
    /// Id of the batch: a ULID.
    pub batch_id: Arc<str>,
    /// Name of the database in the config.
    pub database: Arc<str>,
    /// The body as it was sent.
    pub body: Arc<str>,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The idempotency key, as it was sent.
    pub idempotency_key: Option<String>,
    /// What was made of the body, so that nothing is planned twice. Taken by whoever runs the batch; an order that was read
    /// again from a store has none and is not run: nobody waits for its answer any more.
    #[serde(skip)]
    pub prepared: TakeOnce<PreparedBatch>,
}

impl fmt::Debug for BatchOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the body nor the caller's claims reach a log.
        write!(f, "BatchOrder({}, {}, {} bytes)", self.batch_id, self.database, self.body.len())
    }
}

impl Item for BatchOrder {
    fn bytes(&self) -> u32 {
        let operations = self.prepared.look(|batch| batch.map_or(0, |batch| batch.request.operations.len()));
        // The text, and about as much again for what was made of it.
        u32::try_from(self.body.len() * 2 + operations * BYTES_PER_OPERATION).unwrap_or(u32::MAX)
    }
}

/// A batch that is ready to run.
pub struct PreparedBatch {
    /// What was asked for.
    pub request: Arc<BatchRequest>,
    /// In which order.
    pub plan: Arc<Plan>,
    /// Each operation against catalogue and caller, in the order of the list.
    pub checked: Vec<Result<CheckedOperation, OperationError>>,
    /// The row of the idempotency key.
    pub key: Option<KeyUse>,
    /// Whom PostgreSQL's policies judge.
    pub identity: Option<Identity>,
    /// When it came in, by the engine's clock: its time counts from there.
    pub arrived: Duration,
    /// For back-off and UUIDs.
    pub seed: u64,
}

/// Something that is taken out of a shared place once.
pub struct TakeOnce<T>(Mutex<Option<T>>);

impl<T> TakeOnce<T> {
    /// Puts it there.
    pub fn new(content: T) -> Self {
        Self(Mutex::new(Some(content)))
    }

    /// Takes it; `None` when it was taken before.
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn look<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        look(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
    }
}

impl<T> Default for TakeOnce<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_is_printed_or_stored_shows_neither_its_plan_nor_in_print_its_data() {
        let order = BatchOrder {
            batch_id: Arc::from("01JD9Q"),
            database: Arc::from("shop"),
            body: Arc::from("{\"operations\":[{\"secret\":1}]}"),
            caller: Arc::default(),
            idempotency_key: None,
            prepared: TakeOnce::default(),
        };
        assert_eq!(format!("{order:?}"), "BatchOrder(01JD9Q, shop, 29 bytes)");
        let again: BatchOrder = serde_json::from_str(&serde_json::to_string(&order).unwrap()).unwrap();
        assert!(again.prepared.take().is_none() && again.body == order.body);
        assert_eq!(order.bytes(), 58);
    }
}
