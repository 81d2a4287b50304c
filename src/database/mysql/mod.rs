//! MariaDB and MySQL: connections, flights, introspection.
//!
//! Promises: the same answers as the other databases for the same batch, as far as the server can give them; values are
//! bound; a session speaks utf8mb4, lives in UTC and is strict about values that do not fit.
//!
//! A flight is carried one statement after the other: the protocol has no way to send the next before the answer of the
//! last. What saves round trips here is that neighbouring creates of the same columns become one statement (MariaDB, where no
//! trigger and no row filter has a say in each; when it fails they are run one by one, for the blame), that time limits are only
//! set when they change, and that prepared statements are kept, 256 for each connection.
//!
//! # What MariaDB and MySQL cannot do
//!
//! - **No `RETURNING` for updates** (and none at all on MySQL). An update is `SELECT key ... FOR UPDATE`, `UPDATE` by key
//!   and a `SELECT ... FOR UPDATE` of the rows as they are then; a delete is `SELECT ... FOR UPDATE` and `DELETE` by key.
//!   A create on MySQL is read back by the key that was sent or by `LAST_INSERT_ID()`. Without such a key (no primary key,
//!   or one that a default or a trigger makes) a create answers no rows there, and is refused with `row_forbidden` where a
//!   row filter would have to be checked. A create that is answered by `RETURNING` shows what triggers `BEFORE` it stored.
//! - **Tables without a primary key** take a unique index over columns without null as their key. Without one of those
//!   they can be read and created in, but not updated or deleted from: `database_error`.
//! - **Equality follows the collation of the column**: with the usual `_ci` collations `Ada` equals `ada`, in selectors,
//!   row filters, unique indexes and keys alike; so does the order of a sort. `like` is case-sensitive all the same. Declare
//!   columns that hold secrets, codes or subjects of tokens with a `_bin` collation, or `inject` them.
//! - **No deferred constraints**: every constraint is judged by its own statement, so a dry run has nothing left to judge.
//! - **Tables that are not InnoDB** (MyISAM, Aria) are not rolled back by any transaction, nor is DDL of a trigger's
//!   procedure. Such tables are for reading only.
//! - **A deadlock undoes the whole transaction**, not one statement: also in a batch that goes on after errors. The whole
//!   batch is tried again.
//! - **Lock waits are counted in whole seconds**: `lock_timeout_ms` is rounded up.
//! - **The statement time limit of MySQL covers reads only** (`max_execution_time`); on MariaDB it covers all statements
//!   (`max_statement_time`). The limit of the whole batch holds on both. MySQL does not drop an idle transaction either.
//! - **Snapshots**: with `repeatable_read` a read sees the snapshot of the first read, but writes see what is committed.
//!   MariaDB with `innodb_snapshot_isolation = ON` refuses such a write with code 1020: a `serialization_failure`, tried again.
//! - **Named statements** are not run in a read-only part of a transaction, because there are no such parts: see
//!   [`statement`] for what is checked instead and what is not promised.
//! - **Values**: `tinyint(1)` is a boolean, as the server itself has no such type (a MySQL 8 column `tinyint unsigned` stays
//!   a number); a `json` column of MariaDB is one by its `json_valid` check; there is no NaN. Zero dates are answered as the
//!   server writes them. Geometry goes in and out as WKT.
//! - **TLS**: see [`options`].

mod connection;
mod error;
mod introspect;
mod key;
mod operation;
mod pool;
pub mod statement;
mod value;

#[cfg(test)]
pub mod test_server;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Opts, OptsBuilder, SslOpts};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

pub use self::connection::{Connection, Server};
pub use self::pool::{MysqlSession, Pool};
use super::home::Home;
use super::session::drive;
use super::{ConnectionsState, Database, DatabaseOpenError, DatabaseSettings, Enforcement, TlsMode};
use crate::batch::catalogue::{Catalogue, DatabaseKind};
use crate::batch::run::BatchRun;
use crate::clock::{BoxFuture, SharedClock};

/// Prepared statements that a connection keeps.
const PREPARED: usize = 256;

/// How often idempotency keys that are too old are removed.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

/// A MariaDB or MySQL database that is open.
pub struct MysqlDatabase {
    settings: DatabaseSettings,
    pool: Arc<Pool>,
    clock: SharedClock,
    catalogue: RwLock<Arc<Catalogue>>,
    home: Home,
}

impl MysqlDatabase {
    /// Opens it: connects once, reads its tables, creates `penstock_batch_key` where it is missing.
    ///
    /// # Errors
    /// A setting that does not fit, or a server that is not to be had.
    pub async fn open(settings: DatabaseSettings, clock: SharedClock) -> Result<Self, DatabaseOpenError> {
        let authorities = match &settings.ca_file {
            None => None,
            Some(path) => Some(tokio::fs::read(path).await.map_err(|error| DatabaseOpenError::Setting {
                database: Arc::clone(&settings.name),
                why: format!("`ca_file`: {error}"),
            })?),
        };
        let opts = options(&settings, authorities)?;
        let pool = Pool::new(opts, settings.connections, settings.pipeline, Arc::clone(&clock));
        let mut connection = pool.connection().await.map_err(|why| away(&settings, why))?;
        // A login without the right to create finds the table there, or has no idempotency keys: told, not fatal.
        if connection.conn.query_drop(key::CREATE_TABLE).await.is_err() {
            tracing::warn!(database = %settings.name, "the table `penstock_batch_key` could not be created");
        }
        connection.forget_old_keys().await;
        let catalogue = catalogue_of(&settings, &mut connection).await?;
        pool.give_back(connection);
        tokio::spawn(keep_house(Arc::downgrade(&pool), Arc::clone(&clock)));
        let home = Home::start().map_err(|error| DatabaseOpenError::Setting {
            database: Arc::clone(&settings.name),
            why: format!("a thread could not be started: {error}"),
        })?;
        Ok(Self { settings, pool, clock, catalogue: RwLock::new(Arc::new(catalogue)), home })
    }

    /// A place for one batch.
    pub async fn session(&self) -> MysqlSession {
        self.pool.place().await
    }
}

impl Database for MysqlDatabase {
    fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    fn kind(&self) -> DatabaseKind {
        DatabaseKind::Mysql
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), DatabaseOpenError>> {
        Box::pin(async {
            let mut connection = self.pool.connection().await.map_err(|why| away(&self.settings, why))?;
            let catalogue = Arc::new(catalogue_of(&self.settings, &mut connection).await?);
            self.pool.give_back(connection);
            *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = catalogue;
            Ok(())
        })
    }

    fn run(&self, batch: BatchRun) -> BoxFuture<'_, BatchRun> {
        let (mut session, clock) = (self.pool.session(), Arc::clone(&self.clock));
        Box::pin(self.home.run(async move { drive(batch, &mut session, &clock).await }))
    }

    fn state(&self) -> ConnectionsState {
        self.pool.state()
    }
}

/// How to connect. `authorities`: what stands in `ca_file`.
///
/// `tls = "require"`, and `auto` to another machine, take rustls with the server's certificate and name checked, against the
/// built-in roots and those authorities; there is no mode that encrypts without checking, and a server that offers no TLS is
/// refused before a password is sent. What the URL says of TLS does not count.
///
/// # Errors
/// A setting that is missing or does not fit.
pub fn options(settings: &DatabaseSettings, authorities: Option<Vec<u8>>) -> Result<Opts, DatabaseOpenError> {
    let fault =
        |why: &str| DatabaseOpenError::Setting { database: Arc::clone(&settings.name), why: why.to_owned() };
    let Some(url) = &settings.url else {
        return Err(fault("`url` is missing: mysql://user:password@host:3306/database"));
    };
    if matches!(settings.enforcement, Enforcement::Database { .. }) {
        return Err(fault("only PostgreSQL can decide about rows itself: use enforcement `rules`"));
    }
    // Both servers, one driver.
    let text = match url.expose().strip_prefix("mariadb://") {
        Some(rest) => format!("mysql://{rest}"),
        None => url.expose().to_owned(),
    };
    let opts = Opts::from_url(&text).map_err(|_| {
        fault("`url` is not one of MariaDB or MySQL: mysql://user:password@host:3306/database")
    })?;
    if opts.db_name().is_none_or(str::is_empty) {
        return Err(fault("`url` names no database: mysql://user:password@host:3306/database"));
    }
    let host = opts.ip_or_hostname().trim_start_matches('[').trim_end_matches(']');
    let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let here = loopback || host == "localhost" || opts.socket().is_some();
    let secured = match settings.tls {
        TlsMode::Disable => false,
        TlsMode::Auto => !here,
        TlsMode::Require if opts.socket().is_some() => {
            return Err(fault("a socket has no TLS: say `tls = \"auto\"`, or name a host"));
        }
        TlsMode::Require => true,
    };
    if let Some(pem) = &authorities
        && !CertificateDer::pem_slice_iter(pem)
            .map(|found| found.is_ok())
            .reduce(|all, one| all && one)
            .unwrap_or(false)
    {
        return Err(fault("`ca_file` is not a PEM file of certificates"));
    }
    let roots = authorities.map(|pem| pem.into()).into_iter().collect();
    let tls = secured.then(|| SslOpts::default().with_root_certs(roots));
    Ok(OptsBuilder::from_opts(opts)
        // Rows that match count, whether or not a value changes.
        .client_found_rows(true)
        .stmt_cache_size(PREPARED)
        .ssl_opts(tls)
        // An address is what was written: a jump to the server's socket could land in another network namespace.
        .prefer_socket(false)
        .into())
}

/// Forgets keys that are too old, time and again. Ends with the database.
async fn keep_house(pool: Weak<Pool>, clock: SharedClock) {
    loop {
        clock.sleep(HOUSEKEEPING).await;
        let Some(pool) = pool.upgrade() else { return };
        // A place of its own, so that there are never more connections than the settings say.
        let _place = pool.place().await;
        if let Ok(mut connection) = pool.connection().await {
            connection.forget_old_keys().await;
            pool.give_back(connection);
        }
    }
}

async fn catalogue_of(
    settings: &DatabaseSettings,
    connection: &mut Connection,
) -> Result<Catalogue, DatabaseOpenError> {
    // A table that somebody makes or drops meanwhile fails the whole reading; the next one finds it there or gone.
    const TRIES: usize = 5;
    let mut facts = connection.introspect().await;
    for _ in 1..TRIES {
        if facts.is_ok() {
            break;
        }
        facts = connection.introspect().await;
    }
    let facts = facts.map_err(|_| away(settings, "its tables could not be read".to_owned()))?;
    let mut statements = Vec::with_capacity(settings.statements.len());
    for statement in &settings.statements {
        let described = connection.describe(statement).await.map_err(|why| DatabaseOpenError::Statement {
            database: Arc::clone(&settings.name),
            at: statement.at.clone(),
            why,
        })?;
        statements.push(described);
    }
    Catalogue::build(&settings.name, DatabaseKind::Mysql, facts, &settings.catalogue, statements)
        .map_err(|faults| DatabaseOpenError::Catalogue { database: Arc::clone(&settings.name), faults })
}

fn away(settings: &DatabaseSettings, why: String) -> DatabaseOpenError {
    DatabaseOpenError::Away { database: Arc::clone(&settings.name), why }
}
