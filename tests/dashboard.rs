//! The dashboards keep the rules of Grafana's dashboard linter, and fit the catalogue of metrics both ways.

mod watching;

use std::collections::{BTreeMap, BTreeSet};

use penstock::telemetry::metrics::CATALOGUE;
use serde_json::Value;
use watching::{dashboards, expressions, metrics_named_in, panels, text_of};

/// Metrics that neither a panel nor an alert uses, each with the reason.
const UNWATCHED: [(&str, &str); 0] = [];

/// What the linter would say about one dashboard; empty is good.
fn lint(board: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut rule = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    rule(board["uid"].as_str().is_some_and(|uid| !uid.is_empty()), "no fixed uid".into());
    rule(board["editable"] == false, "editable".into());
    rule(board["timezone"] == "utc", "timezone is not utc".into());
    rule(board["graphTooltip"] == 1, "no shared crosshair".into());
    rule((39..=41).contains(&board["schemaVersion"].as_i64().unwrap_or(0)), "schemaVersion".into());
    rule(board["tags"].as_array().is_some_and(|tags| tags.contains(&"penstock".into())), "no tag".into());

    let variables: BTreeMap<&str, &Value> = board["templating"]["list"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|variable| (variable["name"].as_str().unwrap_or_default(), variable))
        .collect();
    let source = variables.get("datasource").copied().unwrap_or(&Value::Null);
    rule(source["type"] == "datasource" && source["query"] == "prometheus", "variable `datasource`".into());
    for name in ["job", "instance"] {
        let variable = variables.get(name).copied().unwrap_or(&Value::Null);
        let whole = variable["type"] == "query"
            && variable["datasource"]["uid"] == "${datasource}"
            && variable["multi"] == true
            && variable["includeAll"] == true
            && variable["allValue"] == ".+"
            && variable["refresh"] == 2;
        rule(whole, format!("variable `{name}`"));
    }

    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(board) {
        let title = panel["title"].as_str().unwrap_or_default();
        rule(!title.is_empty() && titles.insert(title), format!("`{title}`: no title of its own"));
        rule(ids.insert(panel["id"].as_i64()), format!("`{title}`: id is taken"));
        let described = panel["description"].as_str().is_some_and(|text| text.ends_with('.'));
        rule(described, format!("`{title}`: no description"));
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty());
        rule(unit, format!("`{title}`: no unit"));
        rule(panel["datasource"]["uid"] == "${datasource}", format!("`{title}`: datasource"));
        let place = &panel["gridPos"];
        let fits = place["x"].as_i64().zip(place["w"].as_i64()).is_some_and(|(x, w)| x + w <= 24);
        rule(fits, format!("`{title}`: outside the grid"));
        rule(!expressions(panel).is_empty(), format!("`{title}`: no target"));
        let targets = panel["targets"].as_array().expect("targets");
        for target in targets {
            rule(target["datasource"]["uid"] == "${datasource}", format!("`{title}`: target's datasource"));
            let legend = target["legendFormat"].as_str().is_some_and(|legend| !legend.is_empty());
            rule(legend, format!("`{title}`: no legend"));
        }
        for expression in expressions(panel) {
            for what in lint_expression(expression) {
                rule(false, format!("`{title}`: {what} in {expression}"));
            }
        }
    }
    for annotation in board["annotations"]["list"].as_array().into_iter().flatten() {
        for what in lint_expression(annotation["expr"].as_str().unwrap_or_default()) {
            rule(false, format!("annotation: {what}"));
        }
    }
    found
}

/// Selectors name job and instance; windows of rates follow the scrape interval.
fn lint_expression(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("penstock_").chain(expression.match_indices("process_")) {
        let rest = &expression[at..];
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let Some(selector) = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next())
        else {
            found.push(format!("`{name}` without a selector"));
            continue;
        };
        for matcher in ["job=~\"$job\"", "instance=~\"$instance\""] {
            if !selector.contains(matcher) {
                found.push(format!("`{name}` without {matcher}"));
            }
        }
    }
    for part in expression.split('[').skip(1) {
        let window = part.split(']').next().unwrap_or_default();
        // A total over the range shown is the one other window with a meaning.
        if window != "$__rate_interval" && window != "$__range" {
            found.push(format!("window [{window}]"));
        }
    }
    let (opened, closed) = (expression.matches('(').count(), expression.matches(')').count());
    if opened != closed {
        found.push("brackets do not match".to_owned());
    }
    found
}

#[test]
fn every_dashboard_keeps_the_rules() {
    for (name, board) in dashboards() {
        let found = lint(&board);
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

/// The rules would be worth nothing if they let everything pass.
#[test]
fn the_rules_catch_what_they_should() {
    let (_, good) = dashboards().swap_remove(0);
    let breaks: [(&str, &str, Value); 8] = [
        ("/editable", "editable", true.into()),
        ("/uid", "no fixed uid", "".into()),
        ("/templating/list/1/multi", "variable `job`", false.into()),
        ("/panels/0/description", "no description", "".into()),
        ("/panels/0/title", "no title of its own", "".into()),
        ("/panels/0/fieldConfig/defaults/unit", "no unit", "".into()),
        ("/panels/0/targets/0/expr", "without a selector", "sum(penstock_paused)".into()),
        (
            "/panels/0/targets/0/expr",
            "window [5m]",
            "rate(penstock_paused{job=~\"$job\", instance=~\"$instance\"}[5m])".into(),
        ),
    ];
    for (pointer, expected, value) in breaks {
        let mut board = good.clone();
        *board.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        let found = lint(&board);
        assert!(found.iter().any(|what| what.contains(expected)), "{pointer}: {found:?}");
    }
}

#[test]
fn uids_are_taken_once() {
    let boards = dashboards();
    let uids: BTreeSet<_> = boards.iter().map(|(_, board)| board["uid"].as_str()).collect();
    assert_eq!(uids.len(), boards.len());
}

#[test]
fn the_mailbox_panels_show_the_line_in_flow_order() {
    let line = dashboards().into_iter().find(|(_, board)| board["uid"] == "penstock-line");
    let (_, board) = line.expect("the line's dashboard");
    let order = [
        "batcher",
        "fetcher",
        "composer",
        "text_batcher",
        "embedder",
        "sync_writer",
        "lead_intake",
        "assessor",
    ];
    for title in ["Mailbox fill, items", "Mailbox fill, bytes"] {
        let panel = panels(&board).into_iter().find(|panel| panel["title"] == title).expect(title);
        let legends: Vec<_> = panel["targets"]
            .as_array()
            .expect("targets")
            .iter()
            .map(|target| target["legendFormat"].as_str().expect("a legend"))
            .collect();
        assert_eq!(legends, order, "{title}");
    }
}

fn used() -> BTreeSet<String> {
    let mut texts = vec![text_of("grafana/alerts/penstock.rules.yml")];
    for (_, board) in dashboards() {
        texts.extend(panels(&board).iter().flat_map(|panel| expressions(panel)).map(str::to_owned));
    }
    metrics_named_in(&texts.join("\n"))
}

#[test]
fn panels_and_alerts_use_only_metrics_there_are() {
    let known: BTreeSet<String> = CATALOGUE.iter().map(|line| line.name.to_owned()).collect();
    let mut named = used();
    for (_, board) in dashboards() {
        // Variables and annotations too.
        named.extend(metrics_named_in(&board.to_string()));
    }
    named.extend(metrics_named_in(&text_of("grafana/alerts/penstock.test.yml")));
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_metric_is_watched_by_a_panel_or_an_alert() {
    let used = used();
    let allowed: BTreeSet<&str> = UNWATCHED.iter().map(|(name, _)| *name).collect();
    let unwatched: Vec<_> = CATALOGUE
        .iter()
        .map(|line| line.name)
        .filter(|name| !used.contains(*name) && !allowed.contains(name))
        .collect();
    assert!(unwatched.is_empty(), "{unwatched:?}");
    let needless: Vec<_> = allowed.iter().filter(|name| used.contains(**name)).collect();
    assert!(needless.is_empty(), "watched after all: {needless:?}");
}

#[test]
fn every_alert_has_a_quiet_and_a_firing_test() {
    let tests = text_of("grafana/alerts/penstock.test.yml");
    let rules = text_of("grafana/alerts/penstock.rules.yml");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    for alert in alerts {
        for kind in ["is quiet", "fires"] {
            assert!(tests.contains(&format!("- name: {alert} {kind}\n")), "{alert} {kind}");
        }
    }
}
