//! What a person sees of an answer; with `json`, the answer itself.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use super::FAILED;
use crate::batch::catalogue::DatabaseKind;
use crate::config::Config;
use crate::database::DatabaseSettings;
use crate::limiter::Forecast;
use crate::vectors::ObjectHit;

/// Writes data to stdout. Whoever reads it may stop before the end (`| head`), which is no fault; a stdout that cannot be
/// written (a full disk) ends the command, for its data is lost.
pub fn say(data: std::fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_fmt(data).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("penstock: write to stdout: {error}");
            std::process::exit(i32::from(FAILED));
        }
        _ => {}
    }
}

/// As [`say`], with an end of line.
pub fn say_line(data: std::fmt::Arguments<'_>) {
    say(format_args!("{data}\n"));
}

pub(super) fn print_json(value: &Value) {
    say_line(format_args!("{value:#}"));
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The reports of schema jobs. Returns the exit code: that of the first job that failed, if any did.
pub fn schema(done: &Value, json: bool) -> u8 {
    if json {
        print_json(done);
    } else {
        for report in list(done, "reports") {
            say(format_args!("{}", report_text(report)));
        }
    }
    for failure in list(done, "failures") {
        eprintln!("penstock: {}: {}", text(failure, "org"), text(failure, "message"));
    }
    let first = list(done, "failures").next();
    first.map_or(0, |failure| u8::try_from(number(failure, "exit_code")).unwrap_or(1))
}

/// `penstock check` on a good configuration.
pub fn good_config(config: &Config, path: Option<&Path>) {
    let from =
        path.map_or_else(|| "the built-in configuration".to_owned(), |path| path.display().to_string());
    let orgs: Vec<String> = config
        .org
        .iter()
        .map(|org| if org.simulated { format!("{} (simulated)", org.name) } else { org.name.to_string() })
        .collect();
    say_line(format_args!("{from} is good"));
    say_line(format_args!("  orgs    {}", orgs.join(", ")));
    if !config.database.is_empty() {
        let names: Vec<String> = config.databases().iter().map(database_text).collect();
        say_line(format_args!("  batches {}", names.join(", ")));
    }
    say_line(format_args!("  state   {}", config.state_dir.display()));
    say_line(format_args!("  output  {}", config.output_dir.display()));
}

/// A database in words. Of an address nothing is shown: it may hold a password.
fn database_text(database: &DatabaseSettings) -> String {
    let kind = match database.kind {
        DatabaseKind::Sqlite => "SQLite",
        DatabaseKind::Postgres => "PostgreSQL",
        DatabaseKind::Mysql => "MariaDB or MySQL",
    };
    match &database.path {
        Some(path) => format!("{} ({kind}, {})", database.name, path.display()),
        None => format!("{} ({kind})", database.name),
    }
}

fn numbers(value: &Value, key: &str) -> Vec<String> {
    list(value, key).map(Value::to_string).collect()
}

/// `penstock dead retry`. An item that failed again has a new number.
pub fn retried(done: &Value, json: bool) {
    if json {
        return print_json(done);
    }
    let (tried, left) = (numbers(done, "retried"), number(done, "dead_letters_left"));
    match tried.is_empty() {
        true => say_line(format_args!("no dead letters")),
        false => say_line(format_args!("tried again: {}; dead letters left: {left}", tried.join(", "))),
    }
}

/// `penstock dead drop`.
pub fn dropped(done: &Value, json: bool) {
    if json {
        return print_json(done);
    }
    let dropped = numbers(done, "dropped");
    match dropped.is_empty() {
        true => say_line(format_args!("no dead letters")),
        false => say_line(format_args!("dropped: {}", dropped.join(", "))),
    }
}

/// `penstock cache clear`.
pub fn cleared(done: &Value, json: bool) {
    if json {
        return print_json(done);
    }
    say_line(format_args!("{} entries removed", number(done, "removed")));
}

/// One report as a few lines.
pub fn report_text(report: &Value) -> String {
    let mut out = String::new();
    let failed = report.get("objects_failed").and_then(Value::as_object);
    let failed_count = failed.map_or(0, serde_json::Map::len);
    let _ = writeln!(
        out,
        "{}: {} of {} objects in the library, {failed_count} failed",
        text(report, "org"),
        number(report, "objects_written"),
        number(report, "objects_listed"),
    );
    let _ = writeln!(
        out,
        "  documents  {} ({} new or changed, {} unchanged, {} removed), {} vectors",
        number(report, "documents"),
        number(report, "documents_written"),
        number(report, "documents_unchanged"),
        number(report, "documents_removed"),
        number(report, "vectors"),
    );
    let usage = report.get("org_usage").and_then(Value::as_array).map_or_else(String::new, |usage| {
        let at = |place: usize| usage.get(place).and_then(Value::as_u64).unwrap_or(0);
        format!(", the org counts {} of {} today", at(0), at(1))
    });
    let (calls, forecast) = (number(report, "calls"), number(report, "calls_forecast"));
    let _ = writeln!(out, "  API calls  {calls} (about {forecast} were expected){usage}");
    let _ = writeln!(out, "  files      {}", text(report, "folder"));
    for family in list(report, "families_failed") {
        let _ = writeln!(out, "  not read   {}: {}", text(family, "family"), text(family, "reason"));
    }
    for (object, why) in failed.into_iter().flatten().take(20) {
        let _ = writeln!(out, "  failed     {object}: {}", why.as_str().unwrap_or("-"));
    }
    if failed_count > 20 {
        let _ = writeln!(out, "  ... and {} more; see `penstock dead list`", failed_count - 20);
    }
    out
}

/// The answer to a question.
pub fn hits(question: &str, hits: &[ObjectHit], json: bool) {
    if json {
        let value = serde_json::json!({ "question": question, "hits": hits });
        return print_json(&value);
    }
    say(format_args!("{}", hits_text(hits)));
}

/// Characters of a document that an answer shows.
const SNIPPET_CHARS: usize = 150;

/// The beginning of a text, cut between two words and marked as cut.
fn cut(text: &str, chars_max: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(chars_max) else { return text.to_owned() };
    let whole_words = text[..end].rfind(' ').unwrap_or(end);
    format!("{} ...", &text[..whole_words])
}

/// Hits as lines: the object, then its best document.
pub fn hits_text(hits: &[ObjectHit]) -> String {
    let mut out = String::new();
    if hits.is_empty() {
        out.push_str("nothing found\n");
    }
    for (place, hit) in hits.iter().enumerate() {
        let _ = writeln!(out, "{:2}. {} ({})  {:.3}", place + 1, hit.object, hit.label, hit.score);
        if let Some(best) = hit.documents.first() {
            let snippet: String = best.snippet.split_whitespace().collect::<Vec<_>>().join(" ");
            let snippet = cut(&snippet, SNIPPET_CHARS);
            let _ = writeln!(out, "      {snippet}");
        }
    }
    out
}

/// `penstock status`.
pub fn status(done: &Value, json: bool) {
    if json {
        return print_json(done);
    }
    let state = done.get("state").cloned().unwrap_or_default();
    let is = |key: &str| state.get(key).and_then(Value::as_bool).unwrap_or(false);
    let word = match (is("paused"), is("draining"), is("degraded")) {
        (true, ..) => "paused",
        (_, true, _) => "draining",
        (_, _, true) => "degraded",
        _ => "running",
    };
    if done.get("daemon").and_then(Value::as_bool) == Some(false) {
        let word = if is("paused") { "; the next one starts paused" } else { "" };
        say_line(format_args!("no daemon runs{word}"));
        for job in list(done, "unfinished_jobs") {
            say_line(format_args!("job {}: goes on at the next start", text(job, "job")));
        }
        say_line(format_args!("dead letters: {}", number(done, "dead_letters")));
        return;
    }
    say_line(format_args!("penstock {} (pid {}): {word}", text(done, "version"), number(done, "pid")));
    say_line(format_args!(
        "{:<14} {:>11} {:>15} {:>9}  restarts",
        "actor", "incarnation", "mailbox", "in hand"
    ));
    // Those without a mailbox serve the others; the rest stand in the order in which items pass them, which is the reverse of
    // the order in which they were wired.
    let (stages, servants): (Vec<_>, Vec<_>) =
        list(done, "actors").partition(|actor| actor.get("mailbox").is_some_and(|depth| !depth.is_null()));
    for actor in servants.into_iter().chain(stages.into_iter().rev()) {
        let mailbox = actor.get("mailbox");
        let capacity = actor.pointer("/capacity/0").and_then(Value::as_u64);
        let fill = match (mailbox, capacity) {
            (Some(depth), Some(capacity)) => format!("{} / {capacity}", number(depth, "fullest_lane_items")),
            _ => "-".to_owned(),
        };
        let in_hand = mailbox.map_or_else(|| "-".to_owned(), |depth| number(depth, "in_hand").to_string());
        let restarts = actor.get("restarts").and_then(Value::as_object);
        let restarts: Vec<String> =
            restarts.into_iter().flatten().map(|(why, n)| format!("{n} {why}")).collect();
        let restarts = if restarts.is_empty() { "0".to_owned() } else { restarts.join(", ") };
        say_line(format_args!(
            "{:<14} {:>11} {fill:>15} {in_hand:>9}  {restarts}",
            text(actor, "actor"),
            number(actor, "incarnation")
        ));
    }
    for job in list(done, "jobs") {
        let (written, objects) = (number(job, "written"), number(job, "objects"));
        say_line(format_args!(
            "job {}: {}, {written} of {objects} objects",
            text(job, "job"),
            text(job, "phase")
        ));
        if let Some(waits) = job.get("waits").and_then(Value::as_str) {
            say_line(format_args!("  {waits}"));
        }
        if let Some(forecast) = forecast_text(job) {
            say_line(format_args!("  {forecast}"));
        }
    }
    for org in list(done, "orgs") {
        let limiter = org.get("limiter").cloned().unwrap_or_default();
        let quota = limiter.get("quota").filter(|quota| !quota.is_null()).map_or_else(
            || "quota not seen yet".to_owned(),
            |quota| format!("{} of {} calls used today", number(quota, "used"), number(quota, "limit")),
        );
        say_line(format_args!(
            "org {}: {quota}, {} of {} calls in flight",
            text(org, "org"),
            number(&limiter, "in_flight"),
            number(&limiter, "concurrency_limit")
        ));
        let breakers = super::show_limits::breakers(org);
        if breakers != super::show_limits::ALL_CLOSED {
            say_line(format_args!("  breakers: {breakers}"));
        }
    }
    super::sync::standing(done);
    for database in list(done, "batches") {
        say_line(format_args!("{}", queue_text(database)));
    }
    say_line(format_args!("dead letters: {}", number(done, "dead_letters")));
}

/// One database and the batches before it.
fn queue_text(database: &Value) -> String {
    let connections = database.get("connections").cloned().unwrap_or_default();
    let [idle, busy, down] = ["idle", "busy", "down"].map(|state| number(&connections, state));
    let name = text(database, "database");
    if database.get("open") == Some(&Value::Bool(false)) {
        return format!("database {name}: away, tried again every now and then");
    }
    let down = if down > 0 { format!(", {down} not open") } else { String::new() };
    format!(
        "database {name}: {} entities, {} batches waiting, {} running; connections: {idle} idle, {busy} busy{down}",
        number(database, "entities"),
        number(database, "waiting"),
        number(database, "running"),
    )
}

/// What a job was expected to cost, in words.
fn forecast_text(job: &Value) -> Option<String> {
    let forecast = job.get("forecast")?.clone();
    serde_json::from_value::<Forecast>(forecast).ok().map(|forecast| forecast.to_string())
}

/// `penstock dead list`.
pub fn dead_letters(done: &Value, json: bool) {
    if json {
        return print_json(done);
    }
    let mut none = true;
    for letter in list(done, "dead_letters") {
        none = false;
        let header = letter.get("header").cloned().unwrap_or_default();
        say_line(format_args!(
            "{:>4}  {}  {}  {}  after {} attempt(s)",
            number(letter, "number"),
            text(letter, "at"),
            text(letter, "actor"),
            text(&header, "item"),
            number(letter, "attempts")
        ));
        say_line(format_args!("      {}", text(letter, "error")));
    }
    if none {
        say_line(format_args!("no dead letters"));
    }
}

/// `penstock cache stats`.
pub fn cache_stats(done: &Value, json: bool) {
    if json {
        return print_json(done);
    }
    say_line(format_args!(
        "{} entries, {} bytes packed, {} bytes on disk",
        number(done, "entries"),
        number(done, "entry_bytes"),
        number(done, "disk_bytes")
    ));
}

/// `penstock cache keys`.
pub fn keys(done: &Value, json: bool) {
    if json {
        return print_json(done);
    }
    for key in list(done, "keys").filter_map(Value::as_str) {
        say_line(format_args!("{key}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::fits("two words", 9, "two words")]
    #[case::between_words("two words", 6, "two ...")]
    #[case::one_long_word("unbreakable", 4, "unbr ...")]
    #[case::many_bytes_a_character("\u{e4}\u{e4} \u{e4}\u{e4}\u{e4}", 4, "\u{e4}\u{e4} ...")]
    fn a_long_text_is_cut_between_two_words(
        #[case] text: &str,
        #[case] chars_max: usize,
        #[case] expected: &str,
    ) {
        assert_eq!(cut(text, chars_max), expected);
    }
}
