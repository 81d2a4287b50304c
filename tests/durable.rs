//! The guarantee *durable* on real processes: what a daemon had accepted when it was killed with -9, the next one finishes by
//! itself, and nothing that its cache had acknowledged is asked of the org again.
//!
//! `scripts/kill-nine.sh` does the same at twenty random moments on the whole org.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test says so by failing")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use orgsim::{Options, Server};

/// Long enough for a loaded machine; a test that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(180);

/// A penstock of its own process; killed when the test ends, however it ends.
struct Penstock(Child);

impl Drop for Penstock {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Folder(PathBuf);

impl Folder {
    /// A folder with a configuration that reads part of the org at `url`.
    fn new(parent: &Path, name: &str, url: &str) -> Self {
        let folder = Self(parent.join(name));
        fs::create_dir_all(&folder.0).unwrap();
        folder.configure(url, true);
        folder
    }

    fn configure(&self, url: &str, at_start: bool) {
        let place = self.0.display();
        let text = format!(
            "state_dir = \"{place}/state\"\noutput_dir = \"{place}/output\"\n\
             [http]\nlisten = \"\"\n\
             [schema]\nevery = \"\"\nat_start = {at_start}\ninclude = [\"*__c\", \"Opportunity*\", \"Account\"]\n\
             [[org]]\nname = \"trial\"\nlogin_url = \"{url}\"\nclient_id = \"orgsim-client\"\n\
             client_secret = \"orgsim-secret\"\n"
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
        command.args(words).arg("--config").arg(self.config()).stdin(Stdio::null());
        command
    }

    fn daemon(&self) -> Penstock {
        let log = File::options().create(true).append(true).open(self.0.join("log")).unwrap();
        Penstock(self.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn documents(&self) -> Option<BTreeSet<String>> {
        let text = fs::read_to_string(self.0.join("output/trial/documents.jsonl")).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }

    /// Objects whose describe the cache holds; asked without a daemon.
    fn described(&self) -> BTreeSet<String> {
        let output = self.command(&["cache", "keys", "trial/", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let keys = answer["keys"].as_array().unwrap().iter().filter_map(|key| key.as_str());
        keys.filter_map(|key| Some(key.split_once("/describe/")?.1.to_owned())).collect()
    }
}

async fn until(what: &str, folder: &Folder, mut holds: impl FnMut() -> bool) {
    let reached = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, reached).await;
    assert!(in_time.is_ok(), "waited for: {what}\n{}", folder.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_what_a_killed_daemon_had_accepted_the_next_one_finishes() {
    let options = Options { latency: Duration::from_millis(30), ..Options::default() };
    let org = Server::start(options).await.unwrap();
    let work = tempfile::tempdir().unwrap();

    let calm = Folder::new(work.path(), "calm", &org.url());
    let output = calm.command(&["schema", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = calm.documents().expect("the undisturbed run wrote its documents");
    let describes = |calls: &[orgsim::Call]| -> Vec<String> {
        calls.iter().flat_map(|call| call.described.iter().cloned()).collect()
    };
    let all = describes(&org.journal().calls).len();
    assert!(all > 100, "only {all} describes");

    org.reset_journal();
    let trial = Folder::new(work.path(), "trial", &org.url());
    let mut daemon = trial.daemon();
    until("a third of the describes", &trial, || describes(&org.journal().calls).len() >= all / 3).await;
    // `kill` is SIGKILL: no handler, no flush, no goodbye.
    daemon.0.kill().unwrap();
    daemon.0.wait().unwrap();
    assert!(trial.documents().is_none(), "the kill came after the end, so nothing was shown");
    // Few or none when the kill came between an answer and its flush; the script looks at many moments.
    let known = trial.described();
    // What was on its way at the kill is booked once its answer is ready.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let last = org.journal().calls.last().map_or(0, |call| call.seq);

    // The next daemon is told to start nothing: whatever it does, it had accepted before.
    trial.configure(&org.url(), false);
    let _next = trial.daemon();
    until("the documents", &trial, || trial.documents().is_some()).await;
    assert!(trial.documents().unwrap() == expected, "another library came out");

    let calls = org.journal().calls;
    let later: Vec<_> = calls.into_iter().filter(|call| call.seq > last).collect();
    let again: Vec<String> = describes(&later).into_iter().filter(|object| known.contains(object)).collect();
    assert!(again.is_empty(), "asked again although the cache had them: {again:?}");
}
