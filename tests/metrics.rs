//! `docs/metrics.md` and the code say the same, and Prometheus's own checker likes what is served.

mod watching;

use std::io::Write;
use std::process::{Command, Stdio};

use penstock::telemetry::Metrics;
use penstock::telemetry::metrics::catalogue_as_markdown;

/// To take over a change of the catalogue, replace the table by what the failure prints.
#[test]
fn the_documented_metrics_are_the_ones_in_the_code() {
    let documented = watching::text_of("docs/metrics.md");
    let table: String = documented
        .lines()
        .skip_while(|line| !line.starts_with("| name "))
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| [line, "\n"])
        .collect();
    let expected = catalogue_as_markdown();
    assert!(table == expected, "the table of docs/metrics.md should be:\n{expected}");
}

#[test]
fn the_metrics_pass_promtool() {
    if !watching::servers_wanted("promtool") {
        return;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool (Debian's package `prometheus`)");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(Metrics::new().render().as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.trim().is_empty(), "{}: {said}", output.status);
}
