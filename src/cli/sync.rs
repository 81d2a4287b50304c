//! `penstock sync`, `penstock push`, `penstock bulk-jobs`: what a person sees of them.
//!
//! What came of each object goes to stdout, one block each; exit code 0 when every one succeeded, 1 when any failed.

use std::fmt::Write as _;

use serde_json::Value;

use super::FAILED;
use super::show::{list, number, print_json, say, say_line, text};

/// The results of a sync.
pub fn results(done: &Value, json: bool) -> u8 {
    if json {
        print_json(done);
    } else {
        for result in list(done, "results") {
            say(format_args!("{}", result_text(result)));
        }
    }
    match done["exit_code"].as_u64().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => code,
        None => all_good(done),
    }
}

fn result_text(result: &Value) -> String {
    let mut out = String::new();
    let (object, table) = (text(result, "sobject"), text(result, "target_table"));
    let seconds = result["sync_duration_seconds"].as_f64().unwrap_or_default();
    let (method, calls, jobs) =
        (text(result, "sync_method"), number(result, "calls"), number(result, "jobs"));
    let _ = writeln!(out, "{object} -> {table}: {method}, {calls} calls, {jobs} bulk jobs, {seconds:.1} s");
    let reason = text(result, "reason");
    if !["", "-"].contains(&reason) {
        let _ = writeln!(out, "  {reason}");
    }
    if result["success"].as_bool().unwrap_or(false) {
        let _ = writeln!(
            out,
            "  {} rows read: {} written, {} unchanged, {} deleted, {} rejected",
            number(result, "actual_records"),
            number(result, "rows_written"),
            number(result, "rows_unchanged"),
            number(result, "rows_deleted"),
            number(result, "rows_rejected"),
        );
    } else {
        let _ = writeln!(out, "  failed ({}): {}", text(result, "error_kind"), text(result, "error"));
    }
    if let Some(file) = result["reject_file"].as_str() {
        let _ = writeln!(out, "  rejected rows are in {file}");
    }
    changes_text(result, &mut out);
    for skipped in list(result, "skipped_fields") {
        let part = |at: usize| skipped.get(at).and_then(Value::as_str).unwrap_or("-");
        let _ = writeln!(out, "  left out {}: {}", part(0), part(1));
    }
    if let Some(counts) = result.get("reconciliation").filter(|counts| counts.is_object()) {
        let (org, target) = (number(counts, "org"), number(counts, "target"));
        let reason = text(counts, "reason");
        let _ = writeln!(out, "  rows at the org {org}, in the table {target}: {reason}");
    }
    for note in list(result, "notes").filter_map(Value::as_str) {
        let _ = writeln!(out, "  {note}");
    }
    out
}

fn changes_text(of: &Value, out: &mut String) {
    for change in list(of, "schema_changes") {
        let name = change["column"]["name"].as_str().or(change["name"].as_str()).unwrap_or("-");
        let _ = match text(change, "change") {
            "create_table" => {
                let columns = change["layout"]["columns"].as_array().map_or(0, Vec::len);
                writeln!(out, "  table made, {columns} columns")
            }
            "add_column" => match change["beside"].as_str() {
                Some(beside) => {
                    writeln!(out, "  column {name} added beside {beside}, whose type no longer fits")
                }
                None => writeln!(out, "  column {name} added"),
            },
            "widen" => writeln!(out, "  column {name} widened"),
            // Its field is gone or hidden, or goes to another column; which of these, a note tells.
            "retire" => writeln!(out, "  column {name} keeps its values, which stop changing"),
            "revive" => writeln!(out, "  column {name} is filled again: its field is back"),
            other => writeln!(out, "  {other} {name}"),
        };
    }
}

/// How fresh each object is, and how each push stands: a part of `penstock status`.
pub fn standing(status: &Value) {
    for object in list(&status["sync"], "objects") {
        let mut line = format!("sync {} -> {}: ", text(object, "object"), text(object, "table"));
        let _ = match object["lag_seconds"].as_f64() {
            Some(lag) => write!(line, "{} behind the org", span(lag)),
            None => write!(line, "never synced"),
        };
        if let Some(last) = object.get("last").filter(|last| last["success"] == Value::Bool(false)) {
            let _ = write!(line, "; the last sync failed: {}", text(last, "error"));
        }
        if let Some(running) = object.get("running").filter(|running| running.is_object()) {
            let _ =
                write!(line, "; {}, {} rows staged", text(running, "phase"), number(running, "rows_staged"));
            if let Some(waits) = running["waits"].as_str() {
                let _ = write!(line, ", {waits}");
            }
        } else if object["open_load"].is_object() {
            line.push_str("; a load is not over, the next sync goes on with it");
        }
        if let Some(next) = object["next"].as_str() {
            let _ = write!(line, "; next at {next}");
        }
        say_line(format_args!("{line}"));
    }
    for push in list(status, "pushes") {
        let mut line = format!("push {} -> {}: ", text(push, "push"), text(push, "object"));
        line.push_str(match (push["is_running"].as_bool(), push["is_unfinished"].as_bool()) {
            (Some(true), _) => "running",
            (_, Some(true)) => "not over, the next run goes on with it",
            _ => "idle",
        });
        if let Some(error) = push["last"]["error"].as_str() {
            let _ = write!(line, "; {error}");
        }
        if let Some(next) = push["next"].as_str() {
            let _ = write!(line, "; next at {next}");
        }
        say_line(format_args!("{line}"));
    }
}

/// `40 s`, `12 min`, `3.5 h`.
fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{:.0} s", seconds.max(0.0)),
        seconds if seconds < 6_000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}

/// What a sync would do.
pub fn explanations(done: &Value, json: bool) -> u8 {
    if json {
        print_json(done);
    } else {
        for explanation in list(done, "explanations") {
            say_line(format_args!("{}", explanation["object"].as_str().unwrap_or_default()));
            say_line(format_args!("{}", explanation["text"].as_str().unwrap_or_default().trim_end()));
        }
    }
    for failure in list(done, "failures") {
        eprintln!("penstock: {}: {}", text(failure, "object"), text(failure, "message"));
    }
    if list(done, "failures").next().is_some() { FAILED } else { 0 }
}

/// The results of pushes.
pub fn pushes(done: &Value, json: bool) -> u8 {
    if json {
        print_json(done);
    } else {
        for push in list(done, "results") {
            say(format_args!("{}", push_text(push)));
        }
    }
    all_good(done)
}

fn push_text(push: &Value) -> String {
    let mut out = String::new();
    let tally = &push["tally"];
    let written = number(tally, "written");
    let created = number(tally, "created");
    let (calls, jobs) = (counted(number(push, "calls"), "call"), counted(number(push, "jobs"), "bulk job"));
    let seconds = push["seconds"].as_f64().unwrap_or_default();
    let (name, object, operation) = (text(push, "push"), text(push, "object"), text(push, "operation"));
    let _ = writeln!(out, "{name} -> {object}: {operation}, {calls}, {jobs}, {seconds:.1} s");
    if let Some(reason) = push["choice"]["reason"].as_str() {
        let _ = writeln!(out, "  {reason}");
    }
    let _ = writeln!(
        out,
        "  {} rows of the query: {created} created, {} updated or deleted, {} refused, {} did not fit, {} of unknown fate",
        number(push, "rows_read"),
        written.saturating_sub(created),
        number(tally, "refused"),
        number(tally, "unfit"),
        number(tally, "unknown"),
    );
    if let Some(error) = push["error"].as_str() {
        let _ = writeln!(out, "  {error}");
    }
    if let (Some(table), Some(id)) = (push["results"].as_str(), push["id"].as_str()) {
        let _ = writeln!(out, "  each row's outcome: {table}, `_load` = '{id}'");
    }
    out
}

/// `1 call`, `2 calls`.
fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// 0 when every result succeeded.
fn all_good(done: &Value) -> u8 {
    let is_good = |result: &Value| result["success"].as_bool().unwrap_or(false);
    if list(done, "results").all(is_good) { 0 } else { FAILED }
}

/// Bulk jobs at the org, or one of them, or what was deleted.
pub fn bulk_jobs(done: &Value, json: bool) {
    if json {
        print_json(done);
        return;
    }
    for job in list(done, "jobs") {
        say_line(format_args!(
            "{}  {:<10} {:<14} {:<24} {:>10} rows  {}",
            text(job, "id"),
            text(job, "operation"),
            text(job, "state"),
            text(job, "object"),
            number(job, "rows"),
            text(job, "created"),
        ));
    }
    if let Some(deleted) = done.get("deleted").and_then(Value::as_u64) {
        let failed: Vec<&str> = list(done, "failed").filter_map(Value::as_str).collect();
        say_line(format_args!("{deleted} deleted, {} could not be", failed.len()));
        for job in failed {
            say_line(format_args!("  {job}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_column_that_is_left_no_field_is_said_to_be_gone() {
        let changes = json!({ "schema_changes": [
            { "change": "add_column", "column": { "name": "Sel__c__v2" }, "beside": "Sel__c" },
            { "change": "retire", "name": "Sel__c" },
        ]});
        let mut told = String::new();
        changes_text(&changes, &mut told);
        assert!(told.contains("column Sel__c keeps its values") && !told.contains("gone"), "{told}");
    }
}
