//! The login that the sf CLI holds, by alias or user name.
//!
//! `sf org display` tells where the org is, and no longer the token: that comes from
//! `sf org auth show-access-token`. Both start a Node process and ask the org, so a session is fetched once
//! and again only after the org has refused it. Promises: the CLI's stdout alone is read, its warnings on
//! stderr are not; it runs with an open signal mask and is killed when it does not end.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use secrecy::SecretString;
use serde::Deserialize;

use crate::clock::{BoxFuture, SharedClock};

/// A command that asks the org takes a few seconds; one that hangs must not hold the login for ever.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a run of the CLI left.
#[derive(Clone, PartialEq, Eq)]
pub struct CliAnswer {
    /// Exit code; 0 is success.
    pub code: i32,
    /// All of stdout; holds secrets.
    pub stdout: Vec<u8>,
}

impl fmt::Debug for CliAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CliAnswer").field("code", &self.code).finish_non_exhaustive()
    }
}

/// Runs the sf CLI.
pub trait SfCli: fmt::Debug + Send + Sync {
    /// Runs it with these arguments to its end.
    ///
    /// Errors: it cannot be started, or does not end in time.
    fn run(&self, arguments: Vec<String>) -> BoxFuture<'_, io::Result<CliAnswer>>;
}

/// The CLI of this machine.
pub struct InstalledSf {
    program: CString,
    environment: Vec<CString>,
    clock: SharedClock,
}

impl fmt::Debug for InstalledSf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstalledSf").field("program", &self.program).finish_non_exhaustive()
    }
}

impl InstalledSf {
    /// `program` is a path or a name that is looked for on `PATH`; `environment` holds `NAME=value`.
    ///
    /// # Errors
    /// When the name holds a NUL.
    pub fn new(program: &str, environment: Vec<CString>, clock: SharedClock) -> io::Result<Self> {
        Ok(Self { program: CString::new(program)?, environment, clock })
    }

    /// Starts the program with stdout in `stdout`, stdin and stderr nowhere.
    fn start(&self, arguments: &[String], stdout: &File) -> io::Result<nix::unistd::Pid> {
        let mut words = vec![self.program.clone()];
        for argument in arguments {
            words.push(CString::new(argument.as_str())?);
        }
        let mut attributes = PosixSpawnAttr::init()?;
        // Our threads block the signals that one thread reads; a child would inherit that.
        attributes.set_sigmask(&SigSet::empty())?;
        attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
        let mut files = PosixSpawnFileActions::init()?;
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        for (ours, theirs) in [(&nothing, 0), (stdout, 1), (&nothing, 2)] {
            files.add_dup2(ours.as_raw_fd(), theirs)?;
        }
        Ok(posix_spawnp(&self.program, &files, &attributes, &words, &self.environment)?)
    }
}

impl SfCli for InstalledSf {
    fn run(&self, arguments: Vec<String>) -> BoxFuture<'_, io::Result<CliAnswer>> {
        Box::pin(async move {
            // Without a name from the start: what the CLI prints is secret.
            let mut output = tempfile::tempfile()?;
            let mut child = Child(Some(self.start(&arguments, &output)?));
            let give_up = self.clock.elapsed() + PATIENCE;
            let code = loop {
                if let Some(code) = child.ended()? {
                    break code;
                }
                if self.clock.elapsed() >= give_up {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the sf CLI did not end"));
                }
                self.clock.sleep(LOOK_EVERY).await;
            };
            let mut stdout = Vec::new();
            output.rewind()?;
            output.read_to_end(&mut stdout)?;
            Ok(CliAnswer { code, stdout })
        })
    }
}

/// A child that is killed when nobody waits for it any more.
struct Child(Option<nix::unistd::Pid>);

impl Child {
    fn ended(&mut self) -> io::Result<Option<i32>> {
        let Some(pid) = self.0 else { return Ok(Some(-1)) };
        let code = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => code,
            Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
            Ok(_) | Err(Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.0 = None;
        Ok(Some(code))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have ended meanwhile; then there is nothing to kill and something to collect.
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

/// Why the CLI gave no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliRefusal {
    /// The CLI's name of the error, such as `NamedOrgNotFoundError`.
    pub name: String,
    /// The CLI's own words.
    pub message: String,
    /// The network was at fault: later it may work.
    pub passing: bool,
}

/// Where the org is, from `sf org display --json`.
pub(super) fn instance_of(answer: &CliAnswer) -> Result<String, CliRefusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Display {
        instance_url: String,
        #[serde(default)]
        connected_status: Option<String>,
    }
    let display: Display = result_of(answer)?;
    match display.connected_status {
        Some(status) if status != "Connected" => Err(refusal("NotConnected".to_owned(), status)),
        _ => Ok(display.instance_url.trim_end_matches('/').to_owned()),
    }
}

/// The token, from `sf org auth show-access-token --json`.
pub(super) fn token_of(answer: &CliAnswer) -> Result<SecretString, CliRefusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Token {
        access_token: SecretString,
    }
    Ok(result_of::<Token>(answer)?.access_token)
}

fn result_of<T: serde::de::DeserializeOwned>(answer: &CliAnswer) -> Result<T, CliRefusal> {
    #[derive(Deserialize)]
    struct Success<T> {
        result: T,
    }
    #[derive(Deserialize, Default)]
    struct Failure {
        #[serde(default)]
        name: String,
        #[serde(default)]
        message: String,
    }
    if answer.code == 0 {
        // The reader's complaint may quote the token: it is not passed on.
        return serde_json::from_slice::<Success<T>>(&answer.stdout)
            .map(|answer| answer.result)
            .map_err(|_| refusal("UnknownAnswer".to_owned(), "its answer has another form".to_owned()));
    }
    let failure: Failure = serde_json::from_slice(&answer.stdout).unwrap_or_default();
    let message = match failure.message {
        text if text.is_empty() => format!("it ended with code {} and no message", answer.code),
        text => text,
    };
    Err(refusal(failure.name, message))
}

fn refusal(name: String, message: String) -> CliRefusal {
    let network = ["ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "socket hang up"];
    let passing = network.iter().any(|sign| message.contains(sign));
    let name = if name.is_empty() { "SfCli".to_owned() } else { name };
    CliRefusal { name, message, passing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use rstest::rstest;
    use secrecy::ExposeSecret;

    fn answer(code: i32, stdout: &str) -> CliAnswer {
        CliAnswer { code, stdout: stdout.as_bytes().to_vec() }
    }

    #[test]
    fn the_address_comes_from_display_and_the_token_from_show_access_token() {
        let display = answer(
            0,
            r#"{"status":0,"result":{"id":"00D5g0000001234EAA","accessToken":"[REDACTED] Use 'sf org auth show-access-token' to view",
               "instanceUrl":"https://acme.my.salesforce.com/","connectedStatus":"Connected"},"warnings":["Secrets are now hidden"]}"#,
        );
        assert_eq!(instance_of(&display).unwrap(), "https://acme.my.salesforce.com");
        let token = answer(0, r#"{"status":0,"result":{"accessToken":"00D5g!hush"},"warnings":[]}"#);
        assert_eq!(token_of(&token).unwrap().expose_secret(), "00D5g!hush");
    }

    #[rstest]
    #[case::no_such_alias(answer(1, r#"{"name":"NamedOrgNotFoundError","message":"No authorization information found for x.","exitCode":1,"status":1}"#), "NamedOrgNotFoundError", false)]
    #[case::signed_out(answer(0, r#"{"status":0,"result":{"instanceUrl":"https://a","connectedStatus":"RefreshTokenAuthError: expired access/refresh token"}}"#), "NotConnected", false)]
    #[case::no_network(answer(0, r#"{"status":0,"result":{"instanceUrl":"https://a","connectedStatus":"getaddrinfo ENOTFOUND a"}}"#), "NotConnected", true)]
    #[case::no_json(answer(127, "sf: hush"), "SfCli", false)]
    #[case::another_form(answer(0, r#"{"status":0,"result":{"token":"hush"}}"#), "UnknownAnswer", false)]
    fn what_the_cli_refuses_is_told(#[case] answer: CliAnswer, #[case] name: &str, #[case] passing: bool) {
        let refusal = instance_of(&answer).unwrap_err();
        assert_eq!((refusal.name.as_str(), refusal.passing), (name, passing));
        assert!(!refusal.message.contains("hush"), "{refusal:?}");
    }

    #[tokio::test]
    async fn a_program_is_run_with_its_environment_and_its_stdout_is_read() {
        let shell = InstalledSf::new("sh", vec![c"NAME=value".to_owned()], SystemClock::shared()).unwrap();
        let run = |script: &str| vec!["-c".to_owned(), script.to_owned()];
        let told = shell.run(run("echo $NAME; echo noise >&2; exit 3")).await.unwrap();
        assert_eq!((told.code, told.stdout.as_slice()), (3, b"value\n".as_slice()));
        let missing = InstalledSf::new("no-such-program-here", vec![], SystemClock::shared()).unwrap();
        assert_eq!(missing.run(vec![]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
