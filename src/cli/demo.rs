//! `penstock demo`: a simulated org read into a library, a batch on the example shop, questions with their answers.
//!
//! Promises: run again it says the same and costs next to nothing: the org's answers come from the cache, the batch's from
//! its idempotency key.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use super::one_shot::with_plant;
use super::{FAILED, model_of, show, tell_problems};
use crate::config::{Config, process_environment};
use crate::control::{BatchCommand, Command, Reply};
use crate::desk;
use crate::model::OrgName;
use crate::store::state_folder::library_path;
use crate::vectors::{Search, SearchFilter};

const QUESTIONS: [&str; 3] = [
    "which field says why a deal was lost",
    "where do we keep a customer's billing address",
    "who may edit invoices",
];

/// The batch that is sent, with [`MAILBOX`] as the customer's address.
const ORDER: &str = include_str!("../../examples/batch/order.json");
/// The database it is for, which the built-in configuration has.
const SHOP: &str = "shop";
/// The customer's address in [`ORDER`]. No two customers may have the same.
const MAILBOX: &str = "grace@example.org";

/// What was sent and what came back.
struct Sent {
    request: String,
    reply: Reply,
}

/// Reads the simulated org, sends a batch, and asks the library questions.
pub(super) fn demo(sfdx: Vec<PathBuf>, latency_ms: Option<u64>, json: bool) -> u8 {
    let mut config = match Config::load(None, process_environment()) {
        Ok(config) => config,
        Err(problems) => return tell_problems(&problems),
    };
    let imported = !sfdx.is_empty();
    if let Some(org) = config.org.first_mut().filter(|_| imported) {
        // A name of its own: what the plain demo has cached and written stays as it is.
        match "sfdx".parse() {
            Ok(name) => org.name = name,
            Err(_) => return FAILED,
        }
    }
    config.simulator.sfdx = sfdx;
    config.simulator.latency_ms = latency_ms.unwrap_or(config.simulator.latency_ms);
    let Some(org) = config.org.first().map(|org| org.name.clone()) else { return FAILED };
    let of_job = org.clone();
    let outcome = with_plant(&config, !json, async move |plant| {
        if imported {
            // The project may have changed since the last time; the simulated org is asked again for nothing.
            let prefix = format!("{of_job}/");
            if let failed @ Reply::Failed { .. } = desk::perform(plant, Command::CacheClear { prefix }).await
            {
                return Err(failed);
            }
        }
        let day = plant.outside.clock.wall().strftime("%F").to_string();
        let read = desk::perform(plant, Command::Schema { org: Some(of_job) }).await;
        let request = order_of(&day);
        let reply = desk::perform(plant, Command::Batch(batch_command(request.clone(), &day))).await;
        Ok((read, Sent { request, reply }))
    });
    let (read, sent) = match outcome {
        Ok(Ok(done)) => done,
        Ok(Err(Reply::Failed { message, exit_code })) => {
            eprintln!("penstock: {message}");
            return exit_code;
        }
        Ok(Err(Reply::Done(_))) => return FAILED,
        Err(code) => return code,
    };
    let report = match read {
        Reply::Done(done) if done.pointer("/reports/0").is_none() => return show::schema(&done, json),
        Reply::Done(done) => done.pointer("/reports/0").cloned().unwrap_or_default(),
        Reply::Failed { message, exit_code } => {
            eprintln!("penstock: {message}");
            return exit_code;
        }
    };
    let place = config.state_dir.join(format!("{SHOP}.sqlite")).display().to_string();
    tell(&config, org, &report, &sent, &place, json)
}

/// The batch of a day. A repeat within the day is the same batch; by the next day its answer may be forgotten, and the
/// same customer could not be made again.
fn order_of(day: &str) -> String {
    ORDER.replace(MAILBOX, &MAILBOX.replace('@', &format!("+{day}@")))
}

fn batch_command(body: String, day: &str) -> BatchCommand {
    BatchCommand {
        body,
        plan: false,
        dry_run: false,
        claims: None,
        database: Some(SHOP.to_owned()),
        idempotency_key: Some(format!("penstock-demo-{day}")),
    }
}

fn tell(config: &Config, org: OrgName, report: &Value, sent: &Sent, place: &str, json: bool) -> u8 {
    let search = match Search::open_read_only(&library_path(&config.state_dir)) {
        Ok(search) => search,
        Err(error) => return super::tell(&error),
    };
    let model = match model_of(config) {
        Ok(model) => model,
        Err(code) => return code,
    };
    let filter = SearchFilter { limit: 3, ..SearchFilter::of(org) };
    let mut answers = Vec::new();
    for question in QUESTIONS {
        match search.search(&*model, question, &filter) {
            Ok(hits) => answers.push((question, hits)),
            Err(error) => return super::tell(&error),
        }
    }
    let request: Value = serde_json::from_str(&sent.request).unwrap_or_default();
    let (batch, replayed) = match &sent.reply {
        Reply::Done(done) => {
            let answer = done["answer"].as_str().and_then(|text| serde_json::from_str(text).ok());
            (answer.unwrap_or_default(), done["replayed"] == true)
        }
        Reply::Failed { message, .. } => (serde_json::json!({ "detail": message }), false),
    };
    let code = if batch["success"] == true { 0 } else { FAILED };
    if json {
        let answers: Vec<Value> = answers
            .iter()
            .map(|(question, hits)| serde_json::json!({ "question": question, "hits": hits }))
            .collect();
        let all = serde_json::json!({ "report": report, "batch": batch, "answers": answers });
        show::say_line(format_args!("{all:#}"));
        return code;
    }
    show::say(format_args!("{}", show::report_text(report)));
    for (question, hits) in &answers {
        show::say_line(format_args!("\n? {question}"));
        show::say(format_args!("{}", show::hits_text(hits)));
    }
    show::say(format_args!("\n{}", batch_text(&request, &batch, replayed, place)));
    let of_org = if filter.org.as_str() == "sfdx" { " --org sfdx" } else { "" };
    show::say_line(format_args!("\nAsk your own: penstock search \"...\"{of_org}"));
    code
}

/// What was sent, what came back, and how to do it oneself.
fn batch_text(request: &Value, answer: &Value, replayed: bool, place: &str) -> String {
    let mut out = String::new();
    let operations = request["operations"].as_array().map_or(&[][..], Vec::as_slice);
    let _ = writeln!(out, "batch: {} dependent writes in one transaction on {place}", operations.len());
    if answer["success"] != true {
        let detail = answer["detail"].as_str().unwrap_or("no answer that can be read");
        let _ = writeln!(out, "  refused    {detail}");
        return out;
    }
    for operation in operations {
        let [id, entity, action] =
            ["id", "entity", "action"].map(|key| operation[key].as_str().unwrap_or("-"));
        let key = format!("{entity}_id");
        let stored = &answer["results"][id]["data"][&key];
        let references: Vec<String> = operation["store_params"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(column, value)| Some((column, value.as_str()?)))
            .filter(|(_, value)| value.starts_with("$ref:"))
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        let what = format!("{action} {entity}");
        let came_back = format!("{key} {stored}");
        let line = format!("  {id:<9}  {what:<20} -> {came_back:<18} {}", references.join(", "));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let milliseconds = &answer["meta"]["elapsedMs"];
    let _ = match replayed {
        true => writeln!(
            out,
            "  committed  earlier today: the same idempotency key, so the same answer, and nothing twice"
        ),
        false => writeln!(out, "  committed  together, in {milliseconds} ms"),
    };
    let _ = writeln!(out, "Send your own: penstock batch FILE, or POST /batch to the daemon (penstock run)");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_another_day_is_another_customer_with_another_key() {
        let (one, other) = (order_of("2026-11-23"), order_of("2026-11-24"));
        assert!(one.contains("\"grace+2026-11-23@example.org\""), "{one}");
        assert_ne!(one, other);
        let key = |day| batch_command(String::new(), day).idempotency_key;
        assert_ne!(key("2026-11-23"), key("2026-11-24"));
    }

    #[test]
    fn a_batch_is_told_as_what_was_sent_and_the_keys_that_came_back() {
        let request: Value = serde_json::from_str(ORDER).unwrap();
        let answer = json!({
            "success": true,
            "results": {
                "grace": { "data": { "customer_id": 3 } },
                "bill": { "data": { "invoice_id": 2, "customer_id": 3 } },
                "line": { "data": { "invoice_line_id": 7, "invoice_id": 2 } },
            },
            "meta": { "elapsedMs": 0.9 },
        });
        let told = batch_text(&request, &answer, false, "state/shop.sqlite");
        let expected = "\
batch: 3 dependent writes in one transaction on state/shop.sqlite
  grace      create customer      -> customer_id 3
  bill       create invoice       -> invoice_id 2       customer_id = $ref:grace.customer_id
  line       create invoice_line  -> invoice_line_id 7  invoice_id = $ref:bill.invoice_id
  committed  together, in 0.9 ms
Send your own: penstock batch FILE, or POST /batch to the daemon (penstock run)
";
        assert_eq!(told, expected);
        assert!(batch_text(&request, &answer, true, "x").contains("nothing twice"));
    }

    #[test]
    fn a_batch_that_was_refused_is_told_with_the_reason() {
        let told = batch_text(&json!({}), &json!({ "detail": "the queue is full" }), false, "x");
        assert!(told.ends_with("  refused    the queue is full\n"), "{told}");
    }
}
