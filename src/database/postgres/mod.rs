//! PostgreSQL: connections, flights, the catalogue.
//!
//! Promises: a batch costs as many round trips as its flights, each one message out and one answer back; a connection is used by one batch at a time and thrown away
//! whenever its state is in doubt; while the server is away, batches are told so at once and the server is not hammered;
//! the catalogue follows the tables (`reload`, or `NOTIFY penstock_schema`), swapped as a whole.

pub(crate) mod address;
mod cells;
mod connection;
mod dial;
mod errors;
mod exchange;
mod introspect;
mod lower;
mod merge;
pub(crate) mod tls;
mod wire;

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_postgres::{AsyncMessage, Client};

use self::address::SET_UP;
use self::connection::Connection;
use self::dial::dial;
use self::errors::Fault;
use self::lower::About;
use self::tls::Tls;
use super::home::Home;
use super::session::{Away, Lost, Session, drive};
use super::{Command, ConnectionsState, Database, DatabaseOpenError, DatabaseSettings, Enforcement, Reply};
use crate::batch::catalogue::{Catalogue, DatabaseKind, NamedStatement};
use crate::batch::run::BatchRun;
use crate::batch::sql::postgres::named_for_columns;
use crate::clock::{BoxFuture, SharedClock};

/// After a connection could not be opened, nobody tries again for so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// How often keys that are too old are removed.
const HOUSEKEEPING: Duration = Duration::from_secs(600);
/// Between attempts to listen again.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// A PostgreSQL database that is open.
pub struct PostgresDatabase {
    /// For work that outlives whoever asked for it.
    me: Weak<Self>,
    home: Home,
    settings: DatabaseSettings,
    clock: SharedClock,
    config: tokio_postgres::Config,
    tls: Tls,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
    /// Until when no connection is tried, after one failed.
    away_until: Mutex<Option<Duration>>,
    known: RwLock<Known>,
    lost: watch::Sender<u64>,
    reloads: tokio::sync::Mutex<()>,
}

/// What is read of the database, swapped as a whole.
#[derive(Clone)]
struct Known {
    catalogue: Arc<Catalogue>,
    about: Arc<About>,
}

impl std::fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresDatabase").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

impl PostgresDatabase {
    /// Connects, reads the tables, and begins to listen for `NOTIFY penstock_schema`.
    ///
    /// # Errors
    /// The server is away, settings do not fit its tables, or the login may do more than `database` mode allows.
    pub async fn open(
        settings: DatabaseSettings,
        clock: SharedClock,
    ) -> Result<Arc<Self>, DatabaseOpenError> {
        let setting = |why: String| DatabaseOpenError::Setting { database: settings.name.clone(), why };
        let url = settings.url.as_ref().ok_or_else(|| setting("`url` is missing".to_owned()))?;
        let config = address::config(url, settings.tls).map_err(setting)?;
        let extra = match &settings.ca_file {
            None => None,
            Some(path) => {
                Some(tokio::fs::read(path).await.map_err(|error| setting(format!("`ca_file`: {error}")))?)
            }
        };
        let tls = Tls::new(extra.as_deref()).map_err(|why| setting(format!("`ca_file`: {why}")))?;
        let mut opener = Opener { config, tls, settings, clock };
        let (client, _) = opener.connect(None).await?;
        if opener.config.get_user().is_none() {
            // Whoever the system says we are: the library knows how to ask.
            let told = client.query_one("SELECT session_user::text", &[]).await;
            let user: String = told.and_then(|row| row.try_get(0)).map_err(|error| opener.away(&error))?;
            opener.config.user(user);
        }
        opener.check_rights(&client).await?;
        let key_table = opener.make_key_table(&client).await;
        let known = opener.read(&client, key_table).await?;
        let home = Home::start().map_err(|error| DatabaseOpenError::Setting {
            database: Arc::clone(&opener.settings.name),
            why: format!("a thread could not be started: {error}"),
        })?;
        let (first, opener) = home.run(async move { (opener.for_batches().await, opener) }).await;
        let first = first?;
        let Opener { config, tls, settings, clock } = opener;
        let database = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            home,
            places: Arc::new(Semaphore::new(settings.connections.max(1))),
            settings,
            clock,
            config,
            tls,
            idle: Mutex::new(vec![first]),
            away_until: Mutex::new(None),
            known: RwLock::new(known),
            lost: watch::Sender::new(0),
            reloads: tokio::sync::Mutex::new(()),
        });
        tokio::spawn(listen(Arc::downgrade(&database)));
        Ok(database)
    }

    /// How many connections were lost in the middle of work, from now on: whoever watches over the database learns of
    /// each.
    pub fn lost_connections(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }

    /// Why idempotency keys cannot be kept in this database; `None` when they can.
    pub fn keys_missing(&self) -> Option<Arc<str>> {
        self.known().about.key_table.as_ref().err().cloned()
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn opener(&self) -> Opener {
        Opener {
            config: self.config.clone(),
            tls: self.tls.clone(),
            settings: self.settings.clone(),
            clock: Arc::clone(&self.clock),
        }
    }

    /// A connection that is open already, or a new one.
    async fn connection(&self) -> Result<Connection, Away> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut connection) = kept else { break };
            if connection.is_fit() {
                return Ok(connection);
            }
        }
        let now = self.clock.elapsed();
        if self.away_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until) {
            return Err(Away);
        }
        let opener = self.opener();
        match opener.for_batches().await {
            Ok(connection) => {
                *self.away_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Ok(connection)
            }
            Err(error) => {
                let until = self.clock.elapsed() + PAUSE_AFTER_FAILURE;
                *self.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
                tracing::warn!(database = %self.settings.name, %error, "no connection");
                Err(Away)
            }
        }
    }

    async fn read_again(&self) -> Result<(), DatabaseOpenError> {
        // One at a time, so that an older reading never replaces a newer one.
        let _turn = self.reloads.lock().await;
        let opener = self.opener();
        let (client, _) = opener.connect(None).await?;
        let key_table = match &self.known().about.key_table {
            Ok(table) => Ok(Arc::clone(table)),
            Err(_) => opener.make_key_table(&client).await,
        };
        let known = opener.read(&client, key_table).await?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }
}

impl Database for PostgresDatabase {
    fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    fn kind(&self) -> DatabaseKind {
        DatabaseKind::Postgres
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.known().catalogue
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), DatabaseOpenError>> {
        Box::pin(self.read_again())
    }

    fn run(&self, batch: BatchRun) -> BoxFuture<'_, BatchRun> {
        Box::pin(async move {
            // Nothing else holds a database.
            let Some(database) = self.me.upgrade() else { return batch };
            let carried = self.home.run(async move {
                let mut session = PostgresSession::new(&database);
                drive(batch, &mut session, &database.clock).await
            });
            carried.await
        })
    }

    fn state(&self) -> ConnectionsState {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = idle.iter_mut().filter_map(|connection| connection.is_fit().then_some(())).count();
        let all = self.settings.connections.max(1);
        let busy = all - self.places.available_permits().min(all);
        ConnectionsState { idle, busy, down: all.saturating_sub(idle + busy) }
    }
}

/// A batch's place at the database.
struct PostgresSession<'a> {
    database: &'a PostgresDatabase,
    about: Arc<About>,
    held: Option<(Connection, OwnedSemaphorePermit)>,
}

impl<'a> PostgresSession<'a> {
    fn new(database: &'a PostgresDatabase) -> Self {
        Self { database, about: database.known().about, held: None }
    }

    /// Puts the connection back if it is as new, and drops it if not: the server then rolls back what is open on it.
    fn let_go(&mut self) {
        if let Some((mut connection, _place)) = self.held.take()
            && connection.is_fit()
        {
            self.database.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    fn lose(&mut self) {
        self.held = None;
        self.database.lost.send_modify(|count| *count += 1);
    }
}

impl Session for PostgresSession<'_> {
    async fn open(&mut self) -> Result<(), Away> {
        if self.held.is_none() {
            // Never closed.
            let place = Arc::clone(&self.database.places).acquire_owned().await.map_err(|_| Away)?;
            self.held = Some((self.database.connection().await?, place));
        }
        Ok(())
    }

    async fn flight(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>, Lost> {
        let Some((connection, _)) = &mut self.held else { return Err(Lost { during_commit: false }) };
        let replies = connection.carry(&commands, &self.about).await;
        if replies.is_err() {
            self.lose();
        }
        replies
    }

    fn canceller(&self) -> BoxFuture<'static, ()> {
        match &self.held {
            Some((connection, _)) => connection.canceller(),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn abandon(&mut self) -> Lost {
        let during_commit = self.held.as_ref().is_some_and(|(connection, _)| connection.commit_on_its_way());
        self.lose();
        Lost { during_commit }
    }

    fn rest(&mut self) {
        self.let_go();
    }
}

impl Drop for PostgresSession<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What opens connections and reads with them.
struct Opener {
    config: tokio_postgres::Config,
    tls: Tls,
    settings: DatabaseSettings,
    clock: SharedClock,
}

impl Opener {
    fn away(&self, error: &tokio_postgres::Error) -> DatabaseOpenError {
        // SQLSTATE and the library's own words; the server's may name what the login must not tell.
        let why = match error.as_db_error() {
            Some(told) => format!("the server refuses with SQLSTATE {}", told.code().code()),
            None => errors::failure(error).native_code,
        };
        DatabaseOpenError::Away { database: self.settings.name.clone(), why }
    }

    /// A connection that is set up, with a task of its own. `notified` is told of each notification, and `Arc`'s last
    /// holder is gone with it.
    async fn connect(
        &self,
        notified: Option<Arc<Notify>>,
    ) -> Result<(Client, watch::Receiver<()>), DatabaseOpenError> {
        let (client, mut connection) =
            self.config.connect(self.tls.clone()).await.map_err(|error| self.away(&error))?;
        let (ended, end) = watch::channel(());
        tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => {
                        if let Some(notified) = &notified {
                            notified.notify_one();
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(error = %errors::failure(&error).native_code, "a connection broke");
                        break;
                    }
                    None => break,
                }
            }
            drop(ended);
        });
        client.batch_execute(SET_UP).await.map_err(|error| self.away(&error))?;
        Ok((client, end))
    }

    /// A connection that carries batches.
    async fn for_batches(&self) -> Result<Connection, DatabaseOpenError> {
        let settings = &self.settings;
        let timeouts = [settings.statement_timeout, settings.lock_timeout, settings.idle_timeout];
        let away = |fault: Fault| {
            let why = match &fault {
                Fault::Told(told) => format!("the server refuses with SQLSTATE {}", told.state),
                fault => fault.why(),
            };
            DatabaseOpenError::Away { database: self.settings.name.clone(), why }
        };
        let (wire, found) = dial(&self.config, &self.tls).await.map_err(away)?;
        let mut connection = Connection::new(wire, found, timeouts);
        let set_up = format!("{SET_UP}; {}", lower::set_up_for_batches(timeouts));
        connection.execute(&set_up).await.map_err(away)?;
        Ok(connection)
    }

    /// The table of idempotency keys, made if it is missing.
    async fn make_key_table(&self, client: &Client) -> Result<Arc<str>, Arc<str>> {
        let refused = |error: tokio_postgres::Error| -> Arc<str> {
            let why = errors::failure(&error).native_code;
            tracing::warn!(
                database = %self.settings.name, sqlstate = %why,
                "idempotency keys cannot be kept: the login may neither use nor create `penstock_batch_key`"
            );
            format!("`penstock_batch_key` is neither there nor may it be created ({why})").into()
        };
        let row = client
            .query_one("SELECT coalesce(current_schema(), 'public')::text", &[])
            .await
            .map_err(refused)?;
        let schema: String = row.try_get(0).map_err(refused)?;
        let table = format!("{}.penstock_batch_key", lower::quoted(&schema));
        let use_it = format!("SELECT scope, fingerprint, status, body, made_at FROM {table} LIMIT 0");
        if client.batch_execute(&use_it).await.is_ok() {
            return Ok(table.into());
        }
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (scope text PRIMARY KEY, fingerprint bytea NOT NULL, status smallint, \
             body bytea NOT NULL, made_at timestamptz NOT NULL DEFAULT now()); \
             CREATE INDEX IF NOT EXISTS penstock_batch_key_made_at ON {table} (made_at)"
        );
        let created = client.batch_execute(&create).await;
        // Two daemons that start at once may both try; what counts is that it is there.
        match (client.batch_execute(&use_it).await, created) {
            (Ok(()), _) => Ok(table.into()),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(refused(error)),
        }
    }

    async fn read(
        &self,
        client: &Client,
        key_table: Result<Arc<str>, Arc<str>>,
    ) -> Result<Known, DatabaseOpenError> {
        let of_roles = matches!(self.settings.enforcement, Enforcement::Database { .. });
        let found = introspect::read(client, &self.settings.catalogue.schemas, of_roles)
            .await
            .map_err(|error| self.away(&error))?;
        if of_roles && let Some(table) = found.owned.first() {
            return Err(self.refused(&format!(
                "the login owns `{table}`: its policies do not bind an owner; connect as another role"
            )));
        }
        let mut statements = Vec::with_capacity(self.settings.statements.len());
        for settings in &self.settings.statements {
            let mut statement = NamedStatement {
                name: settings.name.clone(),
                sql: settings.sql.clone(),
                parameters: settings.parameters.clone(),
                columns: Vec::new(),
                roles: settings.roles.clone(),
            };
            let prepared = client.prepare(&named_for_columns(&statement).text).await.map_err(|error| {
                let why = match error.as_db_error() {
                    // The config's own text is wrong: its writer is told in the server's words.
                    Some(told) => format!("PostgreSQL cannot prepare it: {}", told.message()),
                    None => errors::failure(&error).native_code,
                };
                DatabaseOpenError::Statement {
                    database: self.settings.name.clone(),
                    at: settings.at.clone(),
                    why,
                }
            })?;
            statement.columns = introspect::statement_columns(&prepared);
            statements.push(statement);
        }
        let catalogue = Catalogue::build(
            &self.settings.name,
            DatabaseKind::Postgres,
            found.tables,
            &self.settings.catalogue,
            statements,
        )
        .map_err(|faults| DatabaseOpenError::Catalogue { database: self.settings.name.clone(), faults })?;
        let about = About { merge: self.settings.pipeline, key_table, unordered: Arc::new(found.unordered) };
        Ok(Known { catalogue: Arc::new(catalogue), about: Arc::new(about) })
    }

    fn refused(&self, why: &str) -> DatabaseOpenError {
        DatabaseOpenError::Setting {
            database: self.settings.name.clone(),
            why: format!("`enforcement = \"database\"`: {why}"),
        }
    }

    /// In `database` mode the policies must bind the login.
    async fn check_rights(&self, client: &Client) -> Result<(), DatabaseOpenError> {
        if self.settings.enforcement == Enforcement::Rules {
            return Ok(());
        }
        let row = client
            .query_one(
                "SELECT rolsuper, rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user",
                &[],
            )
            .await
            .map_err(|error| self.away(&error))?;
        let (superuser, bypasses): (bool, bool) = (
            row.try_get(0).map_err(|error| self.away(&error))?,
            row.try_get(1).map_err(|error| self.away(&error))?,
        );
        if superuser {
            return Err(
                self.refused("the login is a superuser, whom no policy binds; connect as another role")
            );
        }
        if bypasses {
            return Err(
                self.refused("the login has BYPASSRLS, so no policy binds it; connect as another role")
            );
        }
        Ok(())
    }

    /// Removes keys that are older than a day.
    async fn remove_old_keys(&self, client: &Client, table: &str) {
        let sql = format!("DELETE FROM {table} WHERE made_at < now() - interval '24 hours'");
        match client.execute(&sql, &[]).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::debug!(database = %self.settings.name, count, "removed old idempotency keys")
            }
            Err(error) => {
                tracing::debug!(sqlstate = %errors::failure(&error).native_code, "old idempotency keys stay");
            }
        }
    }
}

/// Reads the tables again whenever the database says that they changed, and keeps the house. Ends with the database.
async fn listen(database: Weak<PostgresDatabase>) {
    let mut first = true;
    loop {
        let Some(opener) = database.upgrade().map(|database| database.opener()) else { return };
        let clock = Arc::clone(&opener.clock);
        let changed = Arc::new(Notify::new());
        if let Ok((client, mut end)) = opener.connect(Some(Arc::clone(&changed))).await
            && client.batch_execute("LISTEN penstock_schema").await.is_ok()
        {
            // What was said while nobody listened is not said again.
            if !first {
                changed.notify_one();
            }
            first = false;
            loop {
                tokio::select! {
                    () = changed.notified() => {
                        let Some(database) = database.upgrade() else { return };
                        if let Err(error) = database.read_again().await {
                            tracing::warn!(%error, "the tables changed, and the catalogue stays as it was");
                        }
                    }
                    _ = end.changed() => break,
                    () = clock.sleep(HOUSEKEEPING) => {
                        let Some(known) = database.upgrade().map(|database| database.known()) else { return };
                        if let Ok(table) = &known.about.key_table {
                            opener.remove_old_keys(&client, table).await;
                        }
                    }
                }
            }
        }
        clock.sleep(LISTEN_AGAIN).await;
    }
}
