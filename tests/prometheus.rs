//! A real Prometheus scrapes penstock, and every panel of every dashboard gets data from it.
//!
//! Needs Debian's package `prometheus`. Runs with `PENSTOCK_TEST_SERVERS=1`; a missing program is then a failure.

mod watching;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use penstock::http::{Check, Health, HttpHandle, Sources, start};
use penstock::telemetry::metrics::ACTORS;
use penstock::telemetry::{ActorState, MessageOutcome, Metrics};
use serde_json::Value;
use watching::{dashboards, expressions, in_repository, panels, servers_wanted};

const PATIENCE: Duration = Duration::from_secs(90);

#[expect(
    clippy::disallowed_methods,
    reason = "the test waits for another process, whose time is the machine's"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test waits for another process, whose time is the machine's"
)]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// A Prometheus with a folder of its own; dropped, it is gone.
struct Prometheus {
    process: Child,
    addr: SocketAddr,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `target` each second as job `penstock`, with the shipped alerts loaded.
    fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = in_repository("grafana/alerts/penstock.rules.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: penstock\n    static_configs: [{{ targets: ['{target}'] }}]\n",
            rules.display()
        );
        let config_file = folder.path().join("prometheus.yml");
        std::fs::write(&config_file, config).expect("write its config");
        let addr = free_addr();
        let log = std::fs::File::create(folder.path().join("log")).expect("its log");
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start prometheus (Debian's package `prometheus`)");
        let server = Self { process, addr, folder };
        server.wait_for("it to be ready", || server.get("/-/ready").is_ok_and(|(code, _)| code == 200));
        server.wait_for("the first scrape", || {
            server.query("up{job=\"penstock\"} == 1").is_ok_and(|result| !result.is_empty())
        });
        server
    }

    fn wait_for(&self, what: &str, mut reached: impl FnMut() -> bool) {
        let deadline = now() + PATIENCE;
        while !reached() {
            assert!(now() < deadline, "prometheus: waited in vain for {what}\n{}", self.log());
            pause(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// HTTP/1.0, so that the answer is not chunked.
    fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.addr)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((code, body.to_owned()))
    }

    /// The values of an instant query, or why there are none.
    fn query(&self, expression: &str) -> Result<Vec<String>, String> {
        let (_, body) = self
            .get(&format!("/api/v1/query?query={}", percent_encoded(expression)))
            .map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let series = answer["data"]["result"].as_array().ok_or("no vector")?;
        Ok(series.iter().map(|one| one["value"][1].as_str().unwrap_or_default().to_owned()).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Nothing to do about a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// What is wrong with the answer to one expression; `None` is good.
fn fault(answer: Result<Vec<String>, String>) -> Option<String> {
    match answer {
        Err(why) => Some(why),
        Ok(values) if values.is_empty() => Some("no series".to_owned()),
        Ok(values) => values
            .iter()
            .find(|value| value.parse::<f64>().is_ok_and(|number| !number.is_finite()))
            .map(|value| format!("a value is {value}")),
    }
}

/// Runs every expression of every panel against a Prometheus that scrapes `target`, until each has data.
///
/// # Panics
/// When an expression has no data, or NaN, after [`PATIENCE`].
fn every_panel_has_data_from(target: SocketAddr) {
    let prometheus = Prometheus::scraping(target);
    let mut wanted: Vec<(String, String)> = Vec::new();
    for (name, board) in dashboards() {
        for panel in panels(&board) {
            let title = panel["title"].as_str().unwrap_or_default();
            for expression in expressions(panel) {
                let expression = expression
                    .replace("$__rate_interval", "1m")
                    .replace("$__range", "5m")
                    .replace("$job", "penstock")
                    .replace("$instance", ".+");
                assert!(!expression.contains('$'), "{name}, `{title}`: a variable is left in {expression}");
                wanted.push((format!("{name}, `{title}`"), expression));
            }
        }
    }
    assert!(wanted.len() > 20, "only {} expressions", wanted.len());
    // A line works in bursts: an expression that had data once is good, the others are asked again.
    let mut without: Vec<(String, String, String)> =
        wanted.into_iter().map(|(panel, expression)| (panel, expression, String::new())).collect();
    let deadline = now() + PATIENCE;
    while now() < deadline {
        without.retain_mut(|(_, expression, why)| match fault(prometheus.query(expression)) {
            Some(fault) => {
                *why = fault;
                true
            }
            None => false,
        });
        if without.is_empty() {
            break;
        }
        pause(Duration::from_millis(500));
    }
    assert!(without.is_empty(), "{} expressions without data: {without:#?}", without.len());
    prometheus.wait_for("its rules to be evaluated", || rules_are_healthy(&prometheus));
}

/// Every shipped alert was evaluated on real series without an error.
fn rules_are_healthy(prometheus: &Prometheus) -> bool {
    let Ok((_, body)) = prometheus.get("/api/v1/rules") else { return false };
    let Ok(answer) = serde_json::from_str::<Value>(&body) else { return false };
    let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    for rule in &rules {
        assert_ne!(rule["health"], "err", "{rule}");
    }
    !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")
}

struct Well;

impl Health for Well {
    fn liveness(&self) -> Vec<Check> {
        vec![Check::good("stand-in")]
    }

    fn readiness(&self) -> Vec<Check> {
        vec![Check::good("stand-in")]
    }
}

/// Serves metrics that move as a working line's would.
struct StandIn {
    server: HttpHandle,
    over: Arc<AtomicBool>,
    mover: Option<JoinHandle<()>>,
}

impl StandIn {
    fn started() -> Self {
        let metrics = Metrics::new();
        let status = Arc::new(|| Value::Null);
        let sources = Sources { metrics: metrics.clone(), health: Arc::new(Well), status };
        let server = start(SocketAddr::from(([127, 0, 0, 1], 0)), sources).expect("a free port");
        let over = Arc::new(AtomicBool::new(false));
        let asked_to_stop = over.clone();
        let mover = std::thread::spawn(move || {
            while !asked_to_stop.load(Ordering::Relaxed) {
                work_a_little(&metrics);
                pause(Duration::from_millis(100));
            }
        });
        Self { server, over, mover: Some(mover) }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(mover) = self.mover.take() {
            mover.join().expect("the mover ends");
        }
    }
}

fn work_a_little(metrics: &Metrics) {
    for name in ACTORS {
        let actor = metrics.actor(name);
        actor.set_state(ActorState::Running);
        actor.incarnation.set(1);
        actor.mailbox_capacity_messages.set(64);
        actor.mailbox_capacity_bytes.set(1 << 20);
        actor.mailbox_messages.set(3);
        actor.messages(MessageOutcome::Done).inc();
        actor.handle_seconds.observe(0.004);
        actor.mailbox_wait_seconds.observe(0.001);
    }
    metrics.org_requests_total.with_label_values(&["query", "ok"]).inc();
    metrics.org_request_seconds.with_label_values(&["query"]).observe(0.08);
    metrics.store_fsync_seconds.with_label_values(&["journal"]).observe(0.002);
    metrics.config_last_reload_successful.set(1);
}

#[test]
fn every_panel_has_data() {
    if !servers_wanted("prometheus") {
        return;
    }
    let penstock = StandIn::started();
    every_panel_has_data_from(penstock.server.addr());
}

#[test]
fn a_panel_without_data_is_noticed() {
    for (answer, noticed) in [
        (Err("bad_data".to_owned()), true),
        (Ok(Vec::new()), true),
        (Ok(vec!["1".to_owned(), "NaN".to_owned()]), true),
        (Ok(vec!["+Inf".to_owned()]), true),
        (Ok(vec!["0".to_owned(), "2.5".to_owned()]), false),
    ] {
        assert_eq!(fault(answer.clone()).is_some(), noticed, "{answer:?}");
    }
}

#[test]
fn alerts_and_scrape_config_pass_promtool() {
    if !servers_wanted("promtool") {
        return;
    }
    for arguments in [
        ["check", "config", "grafana/prometheus.yml"],
        ["check", "rules", "grafana/alerts/penstock.rules.yml"],
        ["test", "rules", "grafana/alerts/penstock.test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(in_repository("."))
            .output()
            .expect("start promtool (Debian's package `prometheus`)");
        let said =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    }
}
