//! Questions to the cache.

use actix::Message;

use crate::store::cache::{CacheError, CacheKey, Found};

/// Looks several keys up. The answer has their order.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<Found>, CacheError>")]
pub struct Lookup(pub Vec<CacheKey>);

/// Keeps several answers. When it is answered they are flushed.
#[derive(Clone, Message)]
#[rtype(result = "Result<(), CacheError>")]
pub struct Store(pub Vec<(CacheKey, Vec<u8>)>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({} entries)", self.0.len())
    }
}
