//! Whose warehouse it is.
//!
//! Promises: of two daemons on one schema one writes: a session of its own holds an advisory lock as long as any connection
//! of the daemon lives. Should that session break and another daemon take over, the number in `_penstock_owner` goes up,
//! and no transaction of the former can commit.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::PostgresSettings;
use super::faults::Fault;
use super::ledger::OwnTables;
use super::names::lock_number;
use super::session::Session;
use crate::warehouse::WarehouseError;

/// A daemon that has just ended is given so long to be gone.
const WAIT: &str = "2s";

/// What the connections of one daemon share; with the last of them it is given up.
#[derive(Default)]
pub(super) struct Hold {
    held: Mutex<Option<Held>>,
}

struct Held {
    session: Session,
    owner: String,
    epoch: i64,
}

/// Where connections that are made with the same settings find each other's [`Hold`].
#[derive(Clone, Default)]
pub(super) struct HoldPlace(Arc<Mutex<Weak<Hold>>>);

impl std::fmt::Debug for HoldPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HoldPlace")
    }
}

impl HoldPlace {
    pub(super) fn get(&self) -> Arc<Hold> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.upgrade().unwrap_or_else(|| {
            let hold = Arc::new(Hold::default());
            *place = Arc::downgrade(&hold);
            hold
        })
    }
}

impl Hold {
    /// Takes the schema for `owner`, unless it is held already.
    pub(super) fn take(
        &self,
        settings: &PostgresSettings,
        schema: &str,
        tables: &OwnTables,
        owner: &str,
    ) -> Result<(), WarehouseError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = held.take_if(|now| !now.session.is_alive()) {
            drop(now);
        }
        if let Some(now) = held.as_ref() {
            return if now.owner == owner { Ok(()) } else { Err(in_use(&now.owner, schema)) };
        }
        let session = Session::connect(settings)?;
        let about = |fault: Fault| fault.about(&tables.owner);
        let lock = lock_number("owner", schema);
        let taken = session
            .batch(&format!("SET lock_timeout = '{WAIT}'"))
            .and_then(|()| session.row("SELECT pg_advisory_lock($1)::text", &[&lock]));
        match taken {
            Ok(_) => {}
            Err(fault) if fault.state() == "55P03" => {
                let rows =
                    session.rows(&format!("SELECT owner FROM {}", tables.owner), &[]).map_err(about)?;
                let other = rows.first().map(|row| row.try_get::<_, String>(0)).transpose();
                let other = other.map_err(|error| about(error.into()))?.unwrap_or_default();
                return Err(in_use(&other, schema));
            }
            Err(fault) => return Err(about(fault)),
        }
        let sql = format!(
            "INSERT INTO {} AS known (owner, epoch) VALUES ($1, 1)
             ON CONFLICT (one) DO UPDATE SET owner = $1, epoch = known.epoch + 1, since = clock_timestamp()
             RETURNING epoch",
            tables.owner
        );
        let row = session.row(&sql, &[&owner]).map_err(about)?;
        let epoch = row.try_get(0).map_err(|error| about(error.into()))?;
        *held = Some(Held { session, owner: owner.to_owned(), epoch });
        Ok(())
    }

    /// Makes sure, inside a transaction, that nobody else has taken the schema meanwhile or does so before it ends.
    pub(super) fn check(
        &self,
        session: &Session,
        schema: &str,
        tables: &OwnTables,
    ) -> Result<(), WarehouseError> {
        // Never held while the server is asked: a sibling may hold it and wait for this very row.
        let ours = self.ours();
        let rows = session.rows(&format!("SELECT owner, epoch FROM {} FOR SHARE", tables.owner), &[]);
        let rows = rows.map_err(|fault| fault.about(&tables.owner))?;
        let seen = rows.first().map(|row| Ok((row.try_get::<_, String>(0)?, row.try_get::<_, i64>(1)?)));
        let seen = seen
            .transpose()
            .map_err(|error: tokio_postgres::Error| Fault::from(error).about(&tables.owner))?;
        // A sibling may just have taken it anew, for us as well.
        if seen.is_some() && (seen == ours || seen == self.ours()) {
            return Ok(());
        }
        match (seen, ours) {
            (_, None) => {
                Err(WarehouseError::Unreachable("the session that holds the warehouse is gone".to_owned()))
            }
            (seen, _) => Err(in_use(&seen.unwrap_or_default().0, schema)),
        }
    }

    fn ours(&self) -> Option<(String, i64)> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|held| (held.owner.clone(), held.epoch))
    }
}

fn in_use(owner: &str, schema: &str) -> WarehouseError {
    WarehouseError::InUse(format!("`{owner}` has schema `{schema}`"))
}
