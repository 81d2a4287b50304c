//! `penstock batch`: a batch from the shell.
//!
//! The answer goes to stdout as the endpoint would give it, a line about it to stderr. Exit codes: 0 every operation
//! completed, 1 something failed or was refused, 2 the command makes no sense as it was given.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{FAILED, ask_or_do, one_shot, show};
use crate::config::Config;
use crate::control::{BatchCommand, Command};

/// Larger files are refused unread, whatever the configuration allows.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// What was asked for at the shell.
pub(super) struct Ask {
    pub file: PathBuf,
    pub plan: bool,
    pub dry_run: bool,
    pub claims: Option<String>,
    pub database: Option<String>,
    pub idempotency_key: Option<String>,
}

impl Ask {
    /// Reads the file and the claims.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn into_command(self) -> Result<Command, String> {
        let claims = self.claims.as_deref().map(claims_of).transpose()?;
        let body = read(&self.file)?;
        Ok(Command::Batch(BatchCommand {
            body,
            plan: self.plan,
            dry_run: self.dry_run,
            claims,
            database: self.database,
            idempotency_key: self.idempotency_key,
        }))
    }
}

fn claims_of(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err("--claims takes a JSON object, such as '{\"roles\": [\"clerk\"]}'".to_owned()),
        Err(error) => Err(format!("--claims is no JSON: {error}")),
    }
}

fn read(file: &std::path::Path) -> Result<String, String> {
    let (name, source): (_, Box<dyn std::io::Read>) = if file.as_os_str() == "-" {
        ("stdin".to_owned(), Box::new(std::io::stdin()))
    } else {
        let name = file.display().to_string();
        let opened = std::fs::File::open(file).map_err(|error| format!("open `{name}`: {error}"))?;
        (name, Box::new(opened))
    };
    let mut body = Vec::new();
    let read = source.take(FILE_BYTES_MAX + 1).read_to_end(&mut body);
    read.map_err(|error| format!("read {name}: {error}"))?;
    if body.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{name} is larger than any batch may be"));
    }
    String::from_utf8(body).map_err(|_| format!("{name} is not UTF-8"))
}

/// Asks the daemon that holds the state folder; without one, opens the databases here, and nothing of any org.
pub(super) fn batch(config: &Config, command: Command) -> u8 {
    let here = |config: &Config, command: Command| {
        let mut without_orgs = config.clone();
        without_orgs.org.clear();
        one_shot::command(&without_orgs, command)
    };
    ask_or_do(config, command, here, show_answer)
}

fn show_answer(done: &Value) -> u8 {
    let text = done["answer"].as_str().unwrap_or_default();
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    if std::io::stdout().is_terminal() {
        show::say_line(format_args!("{}", indented(text)));
    } else {
        show::say_line(format_args!("{text}"));
    }
    let replayed = done["replayed"] == true;
    eprintln!("{}", summary(done["batch_id"].as_str().unwrap_or_default(), &answer, replayed));
    let went_well = done["status"].as_u64().is_some_and(|status| status < 300) && answer["success"] != false;
    if went_well { 0 } else { FAILED }
}

/// One line about an answer.
fn summary(batch_id: &str, answer: &Value, replayed: bool) -> String {
    if let Some(order) = answer["order"].as_array() {
        let groups = answer["groups"].as_array().map_or(0, Vec::len);
        return format!("batch {batch_id}: {} operations in {groups} groups, nothing run", order.len());
    }
    let Some(results) = answer["results"].as_object() else {
        let detail = answer["detail"].as_str().unwrap_or("no answer that can be read");
        return format!("batch {batch_id}: refused: {detail}");
    };
    let count = |status: &str| results.values().filter(|result| result["status"] == status).count();
    let mut said = format!(
        "batch {batch_id}: {} completed, {} failed, {} skipped",
        count("completed"),
        count("failed"),
        count("skipped")
    );
    if let Some(took) = answer["meta"]["elapsedMs"].as_f64() {
        said.push_str(&format!(" in {took} ms"));
    }
    if answer["outcome"] == "unknown" {
        said.push_str("; whether it was kept is not known");
    } else if answer["meta"]["dryRun"] == true {
        said.push_str("; a dry run: nothing was kept");
    } else if answer["rolledBack"] == true {
        said.push_str("; rolled back: nothing was kept");
    }
    if replayed {
        said.push_str("; the answer of an earlier run");
    }
    if let Some(detail) = answer["detail"].as_str() {
        said.push_str(&format!("\n{detail}"));
    }
    said
}

/// JSON text with line breaks, every number and text as it is. (A value read and written again would lose digits.)
fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut characters = text.chars().peekable();
    let break_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(character) = characters.next() {
        if in_text {
            out.push(character);
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '"' => {
                in_text = true;
                out.push('"');
            }
            '{' | '[' => {
                out.push(character);
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other if other.is_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::flat("{\"a\":100.00,\"b\":[]}", "{\n  \"a\": 100.00,\n  \"b\": []\n}")]
    #[case::nested("{\"a\":{\"b\":[1,2]}}", "{\n  \"a\": {\n    \"b\": [\n      1,\n      2\n    ]\n  }\n}")]
    #[case::signs_in_text("{\"a\":\"{,\\\"}:\\\\\"}", "{\n  \"a\": \"{,\\\"}:\\\\\"\n}")]
    fn an_answer_is_broken_into_lines_and_keeps_its_digits(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(indented(text), expected);
        assert_eq!(
            serde_json::from_str::<Value>(expected).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[rstest]
    #[case::done(
        json!({"success": true, "results": {"a": {"status": "completed"}}, "meta": {"elapsedMs": 4.2}}),
        "batch 01J: 1 completed, 0 failed, 0 skipped in 4.2 ms"
    )]
    #[case::rolled_back(
        json!({"detail": "Batch failed at operation 'a': no", "rolledBack": true,
               "results": {"a": {"status": "failed"}, "b": {"status": "skipped"}}, "meta": {}}),
        "batch 01J: 0 completed, 1 failed, 1 skipped; rolled back: nothing was kept\nBatch failed at operation 'a': no"
    )]
    #[case::dry_run(
        json!({"success": true, "rolledBack": true, "results": {}, "meta": {"dryRun": true}}),
        "batch 01J: 0 completed, 0 failed, 0 skipped; a dry run: nothing was kept"
    )]
    #[case::refused(json!({"detail": "`operations` is missing"}), "batch 01J: refused: `operations` is missing")]
    #[case::planned(
        json!({"order": ["a", "b"], "groups": [["a"], ["b"]]}),
        "batch 01J: 2 operations in 2 groups, nothing run"
    )]
    fn one_line_says_what_became_of_it(#[case] answer: Value, #[case] expected: &str) {
        assert_eq!(summary("01J", &answer, false), expected);
    }

    #[test]
    fn claims_are_an_object() {
        assert!(claims_of("{\"roles\": [\"clerk\"]}").is_ok());
        assert!(claims_of("[]").unwrap_err().contains("JSON object"));
        assert!(claims_of("{").unwrap_err().contains("no JSON"));
    }
}
