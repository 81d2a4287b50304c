//! The control socket: how the command line speaks to a running daemon.
//!
//! One JSON object a line each way, over a Unix socket in the state folder that only its owner may open. The daemon
//! answers every command once and closes the connection.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::model::OrgName;

/// Longest command or answer, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What can be asked of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The answer makes no sense.
    #[error("the daemon's answer cannot be read")]
    Answer(#[from] serde_json::Error),
}

/// Asks the daemon behind `socket`, waiting for its answer as long as it takes.
///
/// # Errors
/// [`ControlError::NobodyListens`] when there is none.
pub async fn ask(socket: &Path, command: &Command) -> Result<Reply, ControlError> {
    let connect = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(socket)).await;
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
    Ok(serde_json::from_slice(&answer)?)
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
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let perform = Arc::new(perform);
    Ok(tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
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
}
