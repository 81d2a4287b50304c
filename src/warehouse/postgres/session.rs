//! One session of PostgreSQL that blocks.
//!
//! Promises: what is asked is answered before the call returns; a silent network is noticed by the kernel at both ends; a
//! transaction that nobody goes on with is ended by the server, so that its locks do not outlive us.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, TryStreamExt as _};
use secrecy::ExposeSecret as _;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Row, SimpleQueryMessage, Statement};

use super::PostgresSettings;
use super::faults::Fault;
use crate::database::postgres::address::{self, SET_UP};
use crate::database::postgres::tls::Tls;
use crate::warehouse::{Cancel, WarehouseError};

/// Letting a connection go may take so long.
const GOODBYE: Duration = Duration::from_millis(200);
/// Asking for a cancellation may take so long.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// A parameter of a statement.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// See the module's promises.
pub(super) struct Session {
    client: Option<Client>,
    carrying: JoinHandle<()>,
    tls: Tls,
    runtime: Runtime,
}

impl Session {
    /// Connects.
    pub(super) fn connect(settings: &PostgresSettings) -> Result<Self, WarehouseError> {
        let engine = |why: String| WarehouseError::Engine(why);
        let mut config = address::config(&settings.url, settings.tls).map_err(engine)?;
        if let Some(password) = &settings.password {
            config.password(password.expose_secret());
        }
        if let Some(path) = &settings.password_file {
            config.password(read(path, "password_file")?.trim_end_matches(['\r', '\n']));
        }
        let trusted = settings.ca_file.as_ref().map(|path| read(path, "ca_file")).transpose()?;
        let tls = Tls::new(trusted.as_ref().map(String::as_bytes))
            .map_err(|why| engine(format!("`ca_file`: {why}")))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| engine(format!("a connection needs a poller: {error}")))?;
        let connected = runtime.block_on(config.connect(tls.clone()));
        let (client, connection) = connected.map_err(|error| match Fault::from(error) {
            Fault::Ours(why) if why.contains("password missing") => {
                WarehouseError::Denied("it asks for a password, and the settings have none".to_owned())
            }
            fault => fault.about("the server"),
        })?;
        // How it ends is told by whatever is asked next.
        let carrying = runtime.spawn(async move { drop(connection.await) });
        let session = Self { client: Some(client), carrying, tls, runtime };
        session.batch(&set_up(settings.lock_timeout)).map_err(|fault| fault.about("the server"))?;
        Ok(session)
    }

    fn client(&self) -> Result<&Client, Fault> {
        self.client.as_ref().ok_or_else(|| Fault::Lost("the connection is closed".to_owned()))
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.runtime.block_on(self.client()?.batch_execute(sql))?)
    }

    /// Runs a statement; says how many rows it touched.
    pub(super) fn execute(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, Fault> {
        Ok(self.runtime.block_on(self.client()?.execute(sql, parameters))?)
    }

    /// The rows of a statement that has few.
    pub(super) fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Fault> {
        Ok(self.runtime.block_on(self.client()?.query(sql, parameters))?)
    }

    /// The one row of a statement.
    pub(super) fn row(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Row, Fault> {
        Ok(self.runtime.block_on(self.client()?.query_one(sql, parameters))?)
    }

    /// Has the server read a statement, of which there must be no more than one in the text.
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement, Fault> {
        Ok(self.runtime.block_on(self.client()?.prepare(sql))?)
    }

    /// Runs what was read.
    pub(super) fn run(&self, statement: &Statement) -> Result<u64, Fault> {
        Ok(self.runtime.block_on(self.client()?.execute(statement, &[]))?)
    }

    /// Gives every row, as text, to `each`; says how many there were.
    pub(super) fn texts(
        &self,
        sql: &str,
        each: &mut dyn FnMut(&tokio_postgres::SimpleQueryRow) -> Result<(), WarehouseError>,
    ) -> Result<u64, WarehouseError> {
        let of_query = |error| Fault::from(error).of_query();
        let client = self.client().map_err(Fault::of_query)?;
        self.runtime.block_on(async {
            let mut rows = pin!(client.simple_query_raw(sql).await.map_err(of_query)?);
            let mut count = 0;
            while let Some(message) = rows.try_next().await.map_err(of_query)? {
                if let SimpleQueryMessage::Row(row) = message {
                    count += 1;
                    each(&row)?;
                }
            }
            Ok(count)
        })
    }

    /// Sends what `more` gives, as long as it gives something, into a COPY; says how many rows the server took.
    ///
    /// A COPY that the server refuses before it takes the first row costs the connection, since the library then says one thing
    /// more than the server expects: so that there is such a table is made sure before.
    pub(super) fn copy(
        &self,
        sql: &str,
        more: &mut dyn FnMut() -> Result<Option<Bytes>, WarehouseError>,
    ) -> Result<u64, CopyFault> {
        let client = self.client().map_err(CopyFault::Server)?;
        let of_server = |error| CopyFault::Server(Fault::from(error));
        self.runtime.block_on(async {
            let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await.map_err(of_server)?);
            while let Some(bytes) = more().map_err(CopyFault::Source)? {
                sink.send(bytes).await.map_err(of_server)?;
            }
            sink.finish().await.map_err(of_server)
        })
    }

    /// Whether the server still answers.
    pub(super) fn is_alive(&self) -> bool {
        self.batch("SELECT 1").is_ok()
    }

    pub(super) fn cancel_handle(&self) -> Option<Arc<dyn Cancel>> {
        let token = self.client.as_ref()?.cancel_token();
        Some(Arc::new(Canceller { token, tls: self.tls.clone() }))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.client = None;
        // Said in peace, the server lets go of locks at once; it finds out anyway when the socket goes. Whoever is in the
        // middle of another runtime cannot wait here.
        if tokio::runtime::Handle::try_current().is_err() && !std::thread::panicking() {
            let carrying = &mut self.carrying;
            let _late = self.runtime.block_on(async { tokio::time::timeout(GOODBYE, carrying).await });
        }
    }
}

/// Why a COPY was not done.
pub(super) enum CopyFault {
    /// The server, or the way to it.
    Server(Fault),
    /// What was to be copied could not be had.
    Source(WarehouseError),
}

fn read(path: &PathBuf, setting: &str) -> Result<String, WarehouseError> {
    std::fs::read_to_string(path)
        .map_err(|error| WarehouseError::Engine(format!("`{setting}`: `{}`: {error}", path.display())))
}

fn set_up(lock_timeout: Duration) -> String {
    format!(
        "{SET_UP}; SET lock_timeout = {}; SET statement_timeout = 0; \
         SET idle_in_transaction_session_timeout = '60s'; \
         SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; \
         SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'",
        lock_timeout.as_millis().clamp(1, 3_600_000)
    )
}

struct Canceller {
    token: CancelToken,
    tls: Tls,
}

impl Cancel for Canceller {
    fn cancel(&self) {
        let (token, tls) = (self.token.clone(), self.tls.clone());
        // Whoever cancels may be in the middle of a runtime, where nobody may block.
        let asked = std::thread::Builder::new().name("postgres-cancel".to_owned()).spawn(move || {
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            let asking = async { tokio::time::timeout(CANCEL_TIMEOUT, token.cancel_query(tls)).await };
            if let Ok(Err(error)) = runtime.block_on(asking) {
                tracing::debug!(error = %error, "a statement of the warehouse could not be cancelled");
            }
        });
        if let Err(error) = asked {
            tracing::warn!(%error, "no thread to cancel a statement of the warehouse");
        }
    }
}
