//! Starts the real `penstock` in folders of its own, and simulated orgs in this process that see what it asks.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod databases;
pub mod ports;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a state may take to come. Long, because builders share machines; a test that passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[expect(
    clippy::disallowed_methods,
    reason = "the tests wait for other processes, whose time is the machine's"
)]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests wait for other processes, whose time is the machine's"
)]
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// Waits for `reached`; past [`PATIENCE`] the test fails with what `seen` says.
pub fn until(what: &str, seen: impl Fn() -> String, mut reached: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !reached() {
        assert!(now() < deadline, "waited in vain for {what}\n{}", seen());
        pause(Duration::from_millis(10));
    }
}

/// Where a server of a test may listen.
pub fn free_addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], ports::free_port()))
}

/// A simulated org in this process.
pub struct Org {
    runtime: tokio::runtime::Runtime,
    server: orgsim::Server,
}

impl Org {
    /// An org on a free port that holds each answer back.
    pub fn with_latency(latency: Duration) -> Self {
        Self::start(orgsim::Options { latency, ..orgsim::Options::default() })
    }

    pub fn start(options: orgsim::Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(orgsim::Server::start(options)).expect("the org starts");
        Self { runtime, server }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn faults(&self) -> Arc<orgsim::Faults> {
        self.server.faults()
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.server.elapsed_ms()
    }

    pub fn journal(&self) -> orgsim::JournalSnapshot {
        self.server.journal()
    }

    /// Requests so far, those for tokens left out.
    pub fn calls(&self) -> usize {
        self.journal().calls.len()
    }

    /// Waits until so many requests have come.
    pub fn await_calls(&self, calls: usize, daemon: &Daemon) {
        until(&format!("{calls} calls"), || daemon.log(), || self.calls() >= calls);
    }
}

/// A section `[[org]]` for an org at `url`; `limits` are lines of its section `limits`.
pub fn org_section(name: &str, url: &str, secret: &str, limits: &str) -> String {
    format!(
        "[[org]]\nname = \"{name}\"\nlogin_url = \"{url}\"\nclient_id = \"orgsim-client\"\n\
         client_secret = \"{secret}\"\n[org.limits]\n{limits}\n"
    )
}

/// As [`org_section`] with the right secret and the name `demo`.
pub fn demo_org(url: &str, limits: &str) -> String {
    org_section("demo", url, "orgsim-secret", limits)
}

/// A command that ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit code; 128 and the signal's number when a signal ended it.
    pub fn code(&self) -> i32 {
        code_of(self.status)
    }

    /// The one JSON document on stdout.
    pub fn json(&self) -> Value {
        let mut documents = serde_json::Deserializer::from_str(&self.stdout).into_iter();
        let first: Value = documents.next().expect("a document").unwrap_or_else(|error| {
            panic!("{error}: {self:?}");
        });
        assert!(documents.next().is_none(), "more than one document: {self:?}");
        first
    }

    /// Demands success.
    pub fn good(self) -> Self {
        assert_eq!(self.code(), 0, "{self:?}");
        self
    }
}

fn code_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("it has ended")
}

/// Folders and a configuration of their own.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A place whose configuration holds `sections`. The state folder lies deep, as real ones may.
    pub fn new(sections: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        place.configure(sections);
        place
    }

    /// Replaces the configuration.
    pub fn configure(&self, sections: &str) {
        // Many daemons run side by side: the endpoint of batches and leads is open where a test says on which port.
        let api = if sections.contains("[api]") { "" } else { "[api]\nlisten = \"\"\n" };
        let text = format!(
            "state_dir = \"{}\"\noutput_dir = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{api}{sections}",
            self.state().display(),
            self.output().display()
        );
        std::fs::write(self.config(), text).expect("write the configuration");
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// What the schema job of `demo` has written for machines.
    pub fn documents(&self) -> String {
        let path = self.output().join("demo/documents.jsonl");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The report of `demo`.
    pub fn report(&self) -> Value {
        let text = std::fs::read_to_string(self.output().join("demo/report.json")).expect("the report");
        serde_json::from_str(&text).expect("JSON")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
        // Nothing of the tester's own environment: a variable `PENSTOCK__...` would override the file.
        command.env_clear().current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; `config.toml` is found in the working folder.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_into(arguments, Stdio::piped())
    }

    /// As [`Place::run`], with variables of the environment.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        ended_of(command, Stdio::piped(), arguments)
    }

    /// As [`Place::run`], with a stdout of the test's own.
    pub fn run_into(&self, arguments: &[&str], stdout: Stdio) -> Ended {
        ended_of(self.command(arguments), stdout, arguments)
    }

    /// Starts a command that nobody listens to; whoever starts it ends it.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("penstock starts")
    }

    /// Starts the daemon and waits until it serves.
    pub fn daemon(&self) -> Daemon {
        Daemon::start(self)
    }
}

fn ended_of(mut command: Command, stdout: Stdio, arguments: &[&str]) -> Ended {
    let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("penstock starts");
    let stdout = child.stdout.take().map(reading);
    let stderr = reading(child.stderr.take().expect("piped"));
    let status = ended(&mut child, &format!("penstock {arguments:?}"));
    let text = |reader: JoinHandle<String>| reader.join().expect("its output is read");
    Ended { status, stdout: stdout.map_or_else(String::new, text), stderr: text(stderr) }
}

fn reading(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

fn ended(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        if now() > deadline {
            drop(child.kill());
            panic!("{what} does not end");
        }
        pause(Duration::from_millis(5));
    }
}

/// A running daemon; dropped, it is killed.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    http: SocketAddr,
}

impl Daemon {
    fn start(place: &Place) -> Self {
        let mut child = place
            .command(&["run"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("penstock starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (told, heard) = std::sync::mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(address) = served_address(&line) {
                    let _ = told.send(address);
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let http = heard.recv_timeout(PATIENCE);
        let http = http.unwrap_or_else(|error| {
            drop(child.kill());
            panic!("the daemon does not serve: {error}\n{}", log.lock().expect("its log"))
        });
        Self { child, log, http }
    }

    /// Where it serves metrics and health.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its log lines with this message.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let lines: Vec<Value> =
            self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.into_iter().filter(|line: &Value| line["message"] == message).collect()
    }

    /// Waits for `reached`, which it asks about the daemon.
    pub fn until(&self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        until(what, || self.log(), || reached(self));
    }

    /// Waits until so many schema jobs of an org have ended well.
    pub fn await_jobs(&self, org: &str, jobs: usize) {
        self.until(&format!("{jobs} jobs of `{org}`"), |daemon| {
            daemon.logged("schema job done").iter().filter(|line| line["org"] == org).count() >= jobs
        });
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it runs");
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child of ours");
    }

    /// Waits for its end and returns the exit code.
    pub fn ended(mut self) -> i32 {
        code_of(ended(&mut self.child, "the daemon"))
    }

    /// Whether it still runs.
    pub fn is_up(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Status code and body of a page.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.http, path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    /// The value of one series, such as `penstock_paused{scope="operator"}`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn served_address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_it = line["message"] == "metrics, health and status are served";
    is_it.then(|| line["address"].as_str()?.parse().ok()).flatten()
}

/// Status code and body. HTTP/1.0, so that the answer is not chunked.
pub fn get(from: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(from)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {from}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((code, body.to_owned()))
}

/// What an undisturbed run of the same configuration writes.
pub fn undisturbed(sections: &str) -> String {
    let place = Place::new(sections);
    place.run(&["schema"]).good();
    place.documents()
}

/// Files below `folder` whose name contains `part`.
pub fn entries_with(folder: &Path, part: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(part)))
        .collect()
}
