//! `penstock limits`: an org's limits and what the limiter makes of them, for a person.

use std::fmt::Write as _;

use serde_json::Value;

use super::show::{list, number, print_json, say, text};

/// What is said when every breaker lets calls through.
pub const ALL_CLOSED: &str = "all closed";

/// Shows the answer; returns the exit code, that of the first org that could not be asked.
pub fn limits(done: &Value, json: bool) -> u8 {
    if json {
        print_json(done);
    } else {
        let with_daemon = done.get("daemon").and_then(Value::as_bool) != Some(false);
        for org in list(done, "orgs") {
            say(format_args!("{}", limits_text(org, with_daemon)));
        }
    }
    let failures: Vec<&Value> = list(done, "orgs")
        .filter_map(|org| org.get("failure"))
        .filter(|failure| !failure.is_null())
        .collect();
    for failure in &failures {
        eprintln!("penstock: {}: {}", text(failure, "org"), text(failure, "message"));
    }
    failures.first().map_or(0, |failure| u8::try_from(number(failure, "exit_code")).unwrap_or(1))
}

fn limits_text(org: &Value, with_daemon: bool) -> String {
    let mut out = format!("org {}\n", text(org, "org"));
    if org.get("limits").is_some_and(Value::is_array) {
        let _ = writeln!(out, "  {:<40} {:>12} {:>12} {:>7}", "limit", "max", "remaining", "used");
        for row in list(org, "limits") {
            let figure = |key: &str| row.get(key).and_then(Value::as_i64).unwrap_or(0);
            let (max, remaining) = (figure("max"), figure("remaining"));
            let used = percent(max.saturating_sub(remaining), max);
            let (max, remaining) = (grouped(max), grouped(remaining));
            let _ = writeln!(out, "  {:<40} {max:>12} {remaining:>12} {used:>7}", text(row, "limit"));
        }
    }
    let budget = org.get("budget").cloned().unwrap_or_default();
    let limiter = budget.get("limiter").cloned().unwrap_or_default();
    let _ = writeln!(out, "  daily allowance: {}", usage(limiter.get("quota")));
    if let Some(app) = limiter.get("app_quota").filter(|app| !app.is_null()) {
        let _ = writeln!(out, "  this app's own:  {}", usage(Some(app)));
    }
    let _ = writeln!(out, "  {:<40} {:>12} {:>12}", "priority", "stops at", "room");
    for share in list(&limiter, "shares") {
        let priority = text(share, "priority");
        let stops_at = share.get("share").and_then(Value::as_f64).unwrap_or(0.0) * 100.0;
        let room = share.get("room").and_then(Value::as_i64).map_or_else(|| "-".to_owned(), grouped);
        let waits = budget.pointer(&format!("/waits_until/{priority}")).and_then(Value::as_str);
        let waits = waits.map_or_else(String::new, |until| format!("  waits until about {until}"));
        let _ = writeln!(out, "  {priority:<40} {stops_at:>10.0} % {room:>12}{waits}");
    }
    let _ = writeln!(out, "  breakers: {}", breakers(&budget));
    // The limiter of a command that lives for one call has no rate worth telling.
    if with_daemon {
        let rate = limiter.get("rate_per_sec").and_then(Value::as_f64);
        let rate = rate.map_or_else(|| "no ceiling".to_owned(), |rate| format!("at most {rate:.1} calls/s"));
        let (in_flight, places) = (number(&limiter, "in_flight"), number(&limiter, "concurrency_limit"));
        let _ = writeln!(out, "  rate: {rate}; {in_flight} of {places} calls in flight");
    }
    out
}

/// The breakers that are not closed, in words.
pub fn breakers(budget: &Value) -> String {
    let open: Vec<String> = list(budget, "breakers")
        .filter(|breaker| text(breaker, "state") != "closed")
        .map(|breaker| {
            let (api, state) = (text(breaker, "api"), text(breaker, "state").replace('_', "-"));
            match breaker.get("retry_in_secs").and_then(Value::as_u64) {
                Some(secs) => format!("{api} {state}, next try in {secs} s"),
                None => format!("{api} {state}"),
            }
        })
        .collect();
    if open.is_empty() { ALL_CLOSED.to_owned() } else { open.join("; ") }
}

fn usage(quota: Option<&Value>) -> String {
    let Some(quota) = quota.filter(|quota| !quota.is_null()) else { return "not seen yet".to_owned() };
    let figure = |key: &str| quota.get(key).and_then(Value::as_i64).unwrap_or(0);
    let (used, limit) = (figure("used"), figure("limit"));
    format!("{} of {} calls used ({})", grouped(used), grouped(limit), percent(used, limit))
}

fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// `15000` as `15,000`.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(0, "0")]
    #[case(999, "999")]
    #[case(1_000, "1,000")]
    #[case(15_000, "15,000")]
    #[case(-1_234_567, "-1,234,567")]
    fn numbers_are_grouped_by_thousands(#[case] number: i64, #[case] expected: &str) {
        assert_eq!(grouped(number), expected);
    }

    #[test]
    fn a_person_sees_limits_shares_and_what_stands_still() {
        let org = json!({
            "org": "acme",
            "limits": [
                { "limit": "DailyApiRequests", "max": 15_000, "remaining": 4_000 },
                { "limit": "DailyScratchOrgs", "max": 0, "remaining": 0 },
            ],
            "failure": null,
            "budget": {
                "limiter": {
                    "quota": { "used": 11_000, "limit": 15_000 },
                    "app_quota": { "used": 17, "limit": 250 },
                    "shares": [
                        { "priority": "interactive", "share": 0.95, "room": 3_250, "closed": false },
                        { "priority": "bulk", "share": 0.7, "room": 0, "closed": true },
                    ],
                    "rate_per_sec": 12.34,
                    "in_flight": 3,
                    "concurrency_limit": 20,
                },
                "breakers": [
                    { "api": "rest", "state": "closed", "retry_in_secs": null },
                    { "api": "composite", "state": "half_open", "retry_in_secs": null },
                    { "api": "bulk", "state": "open", "retry_in_secs": 4 },
                ],
                "waits_until": { "bulk": "2026-01-01T02:08:00Z" },
            },
        });
        let expected = "\
org acme
  limit                                             max    remaining    used
  DailyApiRequests                               15,000        4,000  73.3 %
  DailyScratchOrgs                                    0            0       -
  daily allowance: 11,000 of 15,000 calls used (73.3 %)
  this app's own:  17 of 250 calls used (6.8 %)
  priority                                     stops at         room
  interactive                                      95 %        3,250
  bulk                                             70 %            0  waits until about 2026-01-01T02:08:00Z
  breakers: composite half-open; bulk open, next try in 4 s
";
        assert_eq!(limits_text(&org, false), expected);
        let with_daemon = format!("{expected}  rate: at most 12.3 calls/s; 3 of 20 calls in flight\n");
        assert_eq!(limits_text(&org, true), with_daemon);
    }

    #[test]
    fn an_org_that_was_not_asked_shows_what_is_known() {
        let text = limits_text(&json!({ "org": "acme", "limits": null }), true);
        assert!(text.contains("daily allowance: not seen yet"), "{text}");
        assert!(text.contains("rate: no ceiling"), "{text}");
    }
}
