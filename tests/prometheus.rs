//! A real Prometheus scrapes a working daemon, and every panel of every dashboard gets data from it.
//!
//! Needs Debian's package `prometheus`. Runs with `PENSTOCK_TEST_SERVERS=1`; a missing program is then a failure.

mod support;
mod watching;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Daemon, Place, free_addr, get, now, pause, until};
use watching::{dashboards, expressions, in_repository, panels, servers_wanted};

const PATIENCE: Duration = Duration::from_secs(90);

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
        server.wait_for("it to be ready", || get(server.addr, "/-/ready").is_ok_and(|(code, _)| code == 200));
        server.wait_for("the first scrape", || {
            server.query("up{job=\"penstock\"} == 1").is_ok_and(|result| !result.is_empty())
        });
        server
    }

    fn wait_for(&self, what: &str, reached: impl FnMut() -> bool) {
        until(&format!("prometheus: {what}"), || self.log(), reached);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The values of an instant query, or why there are none.
    fn query(&self, expression: &str) -> Result<Vec<String>, String> {
        let path = format!("/api/v1/query?query={}", percent_encoded(expression));
        let (_, body) = get(self.addr, &path).map_err(|error| error.to_string())?;
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

/// Runs every expression of every panel against a Prometheus that scrapes `target`, until each has data; `work` keeps
/// the target busy.
///
/// # Panics
/// When an expression has no data, or NaN, after [`PATIENCE`].
fn every_panel_has_data_from(target: SocketAddr, mut work: impl FnMut()) {
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
        work();
        pause(Duration::from_millis(500));
    }
    assert!(without.is_empty(), "{} expressions without data: {without:#?}", without.len());
    prometheus.wait_for("its rules to be evaluated", || rules_are_healthy(&prometheus));
}

/// Every shipped alert was evaluated on real series without an error.
fn rules_are_healthy(prometheus: &Prometheus) -> bool {
    let Ok((_, body)) = get(prometheus.addr, "/api/v1/rules") else { return false };
    let Ok(answer) = serde_json::from_str::<Value>(&body) else { return false };
    let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    for rule in &rules {
        assert_ne!(rule["health"], "err", "{rule}");
    }
    !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")
}

/// Series that a daemon which has done schema jobs has moved, whatever else happened. Without this, a panel could show
/// the zeros of a series that nobody ever counts up.
const MOVED: [&str; 24] = [
    "penstock_actor_messages_total{actor=\"batcher\",outcome=\"done\"}",
    "penstock_actor_messages_total{actor=\"fetcher\",outcome=\"done\"}",
    "penstock_actor_messages_total{actor=\"composer\",outcome=\"done\"}",
    "penstock_actor_messages_total{actor=\"text_batcher\",outcome=\"done\"}",
    "penstock_actor_messages_total{actor=\"embedder\",outcome=\"done\"}",
    "penstock_actor_messages_total{actor=\"sync_writer\",outcome=\"done\"}",
    "penstock_actor_incarnation{actor=\"supervisor\"}",
    "penstock_actor_mailbox_capacity_messages{actor=\"fetcher\"}",
    "penstock_org_requests_total{api=\"auth\",outcome=\"ok\"}",
    "penstock_org_requests_total{api=\"rest\",outcome=\"ok\"}",
    "penstock_org_requests_total{api=\"composite\",outcome=\"ok\"}",
    "penstock_org_quota_remaining{limit=\"daily_api_requests\"}",
    "penstock_org_quota_room{priority=\"bulk\"}",
    "penstock_org_breakers{api=\"rest\",state=\"closed\"}",
    "penstock_cache_lookups_total{outcome=\"hit\"}",
    "penstock_cache_lookups_total{outcome=\"miss\"}",
    "penstock_cache_bytes",
    "penstock_schema_objects_total{outcome=\"written\"}",
    "penstock_embed_texts_total{outcome=\"embedded\"}",
    "penstock_embed_texts_total{outcome=\"unchanged\"}",
    "penstock_journal_commits_total",
    "penstock_store_bytes{store=\"journal\"}",
    "penstock_store_bytes{store=\"cache\"}",
    "penstock_store_bytes{store=\"vectors\"}",
];

fn nothing_stands_still(daemon: &Daemon) {
    daemon.until("every series to move", |daemon| {
        MOVED.iter().all(|series| daemon.metric(series).is_some_and(|value| value > 0.0))
    });
}

#[test]
fn every_panel_has_data() {
    if !servers_wanted("prometheus") {
        return;
    }
    let place = Place::new(&format!(
        "[[org]]\nname = \"demo\"\nsimulated = true\n[simulator]\nlatency_ms = 10\n\
         [schema]\ninclude = [\"A*\"]\n[api]\nlisten = \"{}\"\n\
         [[database]]\nname = \"shop\"\nkind = \"sqlite\"\ninit_sql = \"example:shop\"\n\
         [[warehouse]]\nname = \"main\"\nkind = \"sqlite\"\n\
         [[sync.object]]\nname = \"Account\"\nevery = \"2s\"\n\
         [[push]]\nname = \"names\"\nobject = \"Account\"\noperation = \"update\"\n\
         sql = \"SELECT Id, Name FROM Account WHERE NOT IsDeleted LIMIT 5\"\n",
        free_addr()
    ));
    // One of each kind, so that each series moves.
    let batches = [true, false].map(|atomic| {
        let line = r#"{"invoice_id":1,"description":"a part","unit_price":1}"#;
        let create = format!(
            r#"{{"operations":[{{"entity":"invoice_line","action":"create","store_params":{line}}}],"options":{{"atomic":{atomic}}}}}"#
        );
        let file = place.state().with_file_name(format!("batch-{atomic}.json"));
        std::fs::write(&file, create).expect("write a batch");
        file
    });
    let daemon = place.daemon();
    daemon.await_jobs("demo", 1);
    // A second run answers from the cache, and finds its texts unchanged.
    place.run(&["schema"]).good();
    nothing_stands_still(&daemon);
    daemon.until("the schedule to sync", |daemon| {
        let written = "penstock_sync_rows_total{object=\"Account\",outcome=\"written\"}";
        daemon.metric(written).is_some_and(|rows| rows > 0.0)
    });
    every_panel_has_data_from(daemon.http(), || {
        place.run(&["cache", "clear"]).good();
        place.run(&["schema"]).good();
        for batch in &batches {
            place.run(&["batch", &batch.display().to_string()]).good();
        }
        // Of what the schedule has synced.
        place.run(&["push", "names"]).good();
    });
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
