//! The control socket: how the command line speaks to a running daemon.
//!
//! One JSON object a line each way, over a Unix socket in the state folder that only its owner may open. The daemon
//! answers every command once and closes the connection.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::leads::job::ReportFormat;
use crate::model::{ObjectName, OrgName};

/// Longest command or answer, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// What can be asked of a daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Everything `penstock status` shows.
    Status,
    /// Freezes the line.
    Pause,
    /// Ends a pause.
    Resume,
    /// Runs the schema job of one org, or of every org, and waits for it.
    Schema {
        /// The org; `None` means every org.
        org: Option<OrgName>,
    },
    /// What the org's limits are and how much of them is left. 1 call an org.
    Limits {
        /// The org; `None` means every org.
        org: Option<OrgName>,
    },
    /// Lists the dead letters.
    DeadList,
    /// Tries dead letters again.
    DeadRetry {
        /// Their numbers; empty means all.
        numbers: Vec<u64>,
    },
    /// Removes dead letters.
    DeadDrop {
        /// Their numbers; empty means all.
        numbers: Vec<u64>,
    },
    /// Runs or plans a batch on a database.
    Batch(BatchCommand),
    /// Lead jobs.
    Leads {
        /// What is asked of them.
        ask: LeadsAsk,
    },
    /// Objects into a warehouse.
    Sync {
        /// What is asked.
        ask: SyncAsk,
    },
    /// Pushes rows of a warehouse into the org, and waits for it.
    Push {
        /// Names of the pushes; empty: all.
        names: Vec<String>,
    },
    /// Bulk jobs that are at the org.
    BulkJobs {
        /// The org; `None`: the first.
        org: Option<OrgName>,
        /// What is asked.
        ask: BulkJobsAsk,
    },
    /// What is in the cache.
    CacheStats,
    /// Lists the cache's keys.
    CacheKeys {
        /// Those that start with it.
        prefix: String,
    },
    /// Removes entries of the cache.
    CacheClear {
        /// Those that start with it.
        prefix: String,
    },
}

/// A batch that a person asks for, at the shell of the machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchCommand {
    /// The request: JSON text, as `POST /batch` takes it.
    pub body: String,
    /// Whether it is only planned.
    pub plan: bool,
    /// Whether it is rolled back at the end, whatever the body says.
    pub dry_run: bool,
    /// Claims to act with; whoever may open the socket is believed.
    pub claims: Option<serde_json::Map<String, serde_json::Value>>,
    /// The database; `None`: the one that has the entities.
    pub database: Option<String>,
    /// The idempotency key.
    pub idempotency_key: Option<String>,
}

/// What can be asked of lead jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum LeadsAsk {
    /// What a job would take.
    Forecast(LeadsOrder),
    /// Begins a job, or takes up an unfinished one of the same order, and says its id.
    Start(LeadsOrder),
    /// How far a job is.
    Job {
        /// Its id.
        job: String,
    },
    /// Every job that is kept, the youngest first.
    List,
    /// Tries what failed again.
    Retry {
        /// The job's id.
        job: String,
        /// Most that it may spend from now on, what it has spent included; `None`: as before.
        max_cost: Option<f64>,
    },
    /// Why most of the failed leads of a finished job have failed.
    Failures {
        /// The job's id.
        job: String,
    },
    /// Copies a report of a finished job.
    Report {
        /// The job's id.
        job: String,
        /// Its form.
        format: ReportFormat,
        /// To this file, by its full path.
        to: PathBuf,
    },
}

/// What can be asked of syncs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum SyncAsk {
    /// Syncs objects and waits for it.
    Run(SyncOrder),
    /// What a sync would do and why; nothing is written.
    Explain(SyncOrder),
}

/// A sync that a person asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncOrder {
    /// The objects; empty: all that are configured.
    pub objects: Vec<ObjectName>,
    /// Every row, whatever the watermark.
    pub full: bool,
    /// Compares the ids of all rows, which finds every row that is gone.
    pub compare_ids: bool,
    /// Reads formula fields again, due or not.
    pub formulas: bool,
    /// Counts at the org and in the table, due or not.
    pub reconcile: bool,
    /// A bulk job that is at the org already, for one object.
    pub existing_job_id: Option<String>,
}

/// What can be asked of the bulk jobs at an org.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum BulkJobsAsk {
    /// All of them.
    List,
    /// One of them.
    Show {
        /// Its id.
        job: String,
    },
    /// Deletes some.
    Delete {
        /// Their ids.
        jobs: Vec<String>,
    },
    /// Deletes those that have ended and are older.
    Clean {
        /// Age in hours.
        older_than_hours: u64,
    },
}

/// A lead job that a person asks for, at the shell of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeadsOrder {
    /// The sheet, by its full path.
    pub file: PathBuf,
    /// The org; `None`: that of the configuration.
    pub org: Option<OrgName>,
    /// Name of the sheet within the file.
    pub sheet: Option<String>,
    /// Head of the column with the ids.
    pub id_column: Option<String>,
    /// Ids in one read.
    pub read_batch: Option<usize>,
    /// Leads in one item of the assessor.
    pub assess_batch: Option<usize>,
    /// Most that it may spend, in units of the currency.
    pub max_cost: Option<f64>,
    /// Whether the model is left out.
    pub rules_only: bool,
    /// Forms of the report.
    pub reports: Vec<ReportFormat>,
}

impl std::fmt::Debug for BatchCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchCommand").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// The answer to a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It was done.
    Done(serde_json::Value),
    /// It was not, and why.
    Failed {
        /// A sentence for a person.
        message: String,
        /// The exit code that says so to a script.
        exit_code: u8,
    },
}

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no daemon listens")]
    NobodyListens,
    /// The conversation broke.
    #[error("speak to the daemon")]
    Io(#[from] io::Error),
    /// It left before it answered; what it had accepted is in its journal.
    #[error("the daemon left before it answered")]
    Left,
    /// The answer makes no sense.
    #[error("the daemon's answer cannot be read")]
    Answer(#[from] serde_json::Error),
}

/// Asks the daemon behind `socket`, waiting for its answer as long as it takes.
///
/// # Errors
/// [`ControlError::NobodyListens`] when there is none.
pub async fn ask(socket: &Path, command: &Command) -> Result<Reply, ControlError> {
    let address = match Address::of(socket) {
        Ok(address) => address,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ControlError::NobodyListens),
        Err(error) => return Err(error.into()),
    };
    let connect = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(&address.path)).await;
    let mut stream = match connect {
        Ok(Ok(stream)) => stream,
        Ok(Err(error))
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            return Err(ControlError::NobodyListens);
        }
        Ok(Err(error)) => return Err(error.into()),
        Err(_late) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    };
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_until(b'\n', &mut answer).await?;
    if answer.is_empty() {
        return Err(ControlError::Left);
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// A socket's path in a form that the system takes: it must be shorter than 108 bytes, and state folders may lie deep.
struct Address {
    path: PathBuf,
    /// Open as long as the path is used, for the path leads through it.
    _folder: Option<File>,
}

impl Address {
    const LONGEST: usize = 100;

    fn of(socket: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if socket.as_os_str().len() <= Self::LONGEST {
            return Ok(Self { path: socket.to_owned(), _folder: None });
        }
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }
}

/// Listens on `socket` until the returned task is aborted. A stale socket is replaced: whoever calls this holds the
/// state folder's lock.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen<F, Answer>(socket: &Path, perform: F) -> io::Result<tokio::task::JoinHandle<()>>
where
    F: Fn(Command) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Reply> + Send + 'static,
{
    if socket.exists() {
        std::fs::remove_file(socket)?;
    }
    let listener = UnixListener::bind(Address::of(socket)?.path.as_path())?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let perform = Arc::new(perform);
    Ok(tokio::spawn(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to be given back.
                    tracing::warn!(%error, "a control connection could not be taken");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                    continue;
                }
            };
            let perform = Arc::clone(&perform);
            tokio::spawn(async move {
                if let Err(error) = converse(stream, &*perform).await {
                    tracing::debug!(%error, "a control connection broke");
                }
            });
        }
    }))
}

async fn converse<F, Answer>(stream: UnixStream, perform: &F) -> io::Result<()>
where
    F: Fn(Command) -> Answer,
    Answer: Future<Output = Reply>,
{
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_until(b'\n', &mut line).await?;
    let reply = match serde_json::from_slice(&line) {
        Ok(command) => perform(command).await,
        Err(error) => Reply::Failed { message: format!("this is no command: {error}"), exit_code: 2 },
    };
    let mut answer = serde_json::to_vec(&reply)?;
    answer.push(b'\n');
    write.write_all(&answer).await?;
    write.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_is_answered_and_nonsense_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        assert!(matches!(ask(&socket, &Command::Pause).await, Err(ControlError::NobodyListens)));
        let task =
            listen(&socket, |command| async move { Reply::Done(serde_json::json!(format!("{command:?}"))) });
        let task = task.unwrap();
        let reply = ask(&socket, &Command::DeadRetry { numbers: vec![7] }).await.unwrap();
        assert!(matches!(reply, Reply::Done(said) if said == "DeadRetry { numbers: [7] }"));
        let mut raw = UnixStream::connect(&socket).await.unwrap();
        raw.write_all(b"{\"command\":\"explode\"}\n").await.unwrap();
        let mut answer = String::new();
        raw.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("this is no command"), "{answer}");
        task.abort();
    }

    #[tokio::test]
    async fn a_state_folder_may_lie_deeper_than_a_socket_address_is_long() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        let socket = deep.join("control.sock");
        assert!(matches!(ask(&socket, &Command::Status).await, Err(ControlError::NobodyListens)));
        std::fs::create_dir(&deep).unwrap();
        assert!(matches!(ask(&socket, &Command::Status).await, Err(ControlError::NobodyListens)));
        let task = listen(&socket, |_| async { Reply::Done(serde_json::json!("deep")) }).unwrap();
        assert!(matches!(ask(&socket, &Command::Status).await, Ok(Reply::Done(said)) if said == "deep"));
        task.abort();
    }

    #[tokio::test]
    async fn a_daemon_that_leaves_before_it_answers_is_told_from_none() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let leaving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.unwrap();
        });
        assert!(matches!(ask(&socket, &Command::Status).await, Err(ControlError::Left)));
        leaving.await.unwrap();
    }
}
