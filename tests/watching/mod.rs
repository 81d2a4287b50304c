//! What the tests of `grafana/` and `docs/metrics.md` share.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of this repository.
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of this repository.
pub fn text_of(path: &str) -> String {
    std::fs::read_to_string(in_repository(path)).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

/// Every dashboard: file name and JSON.
pub fn dashboards() -> Vec<(String, Value)> {
    let mut found: Vec<_> = std::fs::read_dir(in_repository("grafana/dashboards"))
        .expect("grafana/dashboards")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
        .filter(|name| name.ends_with(".json"))
        .map(|name| {
            let text = text_of(&format!("grafana/dashboards/{name}"));
            let board = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, board)
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(!found.is_empty(), "no dashboard");
    found
}

/// All panels but rows, those in collapsed rows too.
pub fn panels(board: &Value) -> Vec<&Value> {
    let mut all = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        if panel["type"] == "row" {
            all.extend(panel["panels"].as_array().into_iter().flatten());
        } else {
            all.push(panel);
        }
    }
    all
}

/// The expressions of one panel.
pub fn expressions(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().expect("targets");
    targets.iter().map(|target| target["expr"].as_str().expect("an expression")).collect()
}

/// Every metric a text names, without the suffixes a histogram's series have.
pub fn metrics_named_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.starts_with("penstock_"))
        .map(|word| {
            let of_time = || {
                let base = ["_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
                base.filter(|base| base.ends_with("_seconds"))
            };
            word.strip_suffix("_bucket").or_else(of_time).unwrap_or(word).to_owned()
        })
        .collect()
}

/// Whether tests that need a server run; they say so when they do not.
pub fn servers_wanted(what: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of penstock")]
    let wanted = std::env::var("PENSTOCK_TEST_SERVERS").is_ok_and(|value| value == "1");
    if !wanted {
        // Past the harness, which would keep the line of a test that passes.
        let _ = writeln!(std::io::stderr(), "skipped: needs {what}; PENSTOCK_TEST_SERVERS=1 runs it");
    }
    wanted
}
