//! The desk: performs what a person asks of a plant, whether by the control socket or by a command of its own.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::actors::fetcher::chain;
use crate::actors::schema_job::{SchemaJobError, SchemaReport};
use crate::actors::schema_run::DONE;
use crate::control::{Command, Reply};
use crate::messages::Lane;
use crate::model::OrgName;
use crate::plant::Plant;

/// Exit code of a failed command.
pub const FAILED: u8 = 1;
/// Exit code of a refused login.
pub const REFUSED: u8 = 77;
/// Exit code of work that goes on at the next start.
pub const LEFT_OVER: u8 = 75;

/// Performs a command and says how it went.
pub async fn perform(plant: &Arc<Plant>, command: Command) -> Reply {
    let outcome = match command {
        Command::Status => Ok(status(plant)),
        Command::Pause => {
            plant.engine.pause().await.map(|()| json!({"paused": true})).map_err(|error| failed(&error))
        }
        Command::Resume => {
            plant.engine.resume().await.map(|()| json!({"paused": false})).map_err(|error| failed(&error))
        }
        Command::Schema { org } => schema(plant, org).await,
        Command::DeadList => Ok(json!({ "dead_letters": plant.engine.dead_letters() })),
        Command::DeadRetry { numbers } => dead_retry(plant, numbers).await,
        Command::DeadDrop { numbers } => dead_drop(plant, numbers).await,
        Command::CacheStats => {
            plant.cache.stats().await.map(|stats| json!(stats)).map_err(|error| failed(&error))
        }
        Command::CacheKeys { prefix } => plant
            .cache
            .keys(&prefix)
            .await
            .map(|keys| json!({ "keys": keys }))
            .map_err(|error| failed(&error)),
        Command::CacheClear { prefix } => {
            let cleared = plant.cache.clear(&prefix).await;
            cleared.map(|removed| json!({ "removed": removed })).map_err(|error| failed(&error))
        }
    };
    outcome.map_or_else(|reply| reply, Reply::Done)
}

fn failed(error: &dyn std::error::Error) -> Reply {
    Reply::Failed { message: chain(error), exit_code: FAILED }
}

fn said(message: String) -> Reply {
    Reply::Failed { message, exit_code: FAILED }
}

/// Everything `penstock status` shows, from memory.
pub fn status(plant: &Plant) -> Value {
    let limiters: Vec<Value> = plant
        .book
        .snapshot()
        .into_iter()
        .map(|(org, limiter)| json!({ "org": org, "limiter": limiter }))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "state": plant.engine.run_state(),
        "actors": plant.engine.status(),
        "jobs": plant.schema.runs.progress(),
        "unfinished_jobs": plant.schema.unfinished(),
        "dead_letters": plant.engine.dead_letters().len(),
        "abandoned_arbiters": plant.engine.abandoned_arbiters(),
        "orgs": limiters,
    })
}

/// Runs the schema job of one org.
///
/// # Errors
/// See [`SchemaJobError`].
pub async fn run_schema_job(
    plant: &Plant,
    org: &OrgName,
    lane: Lane,
) -> Result<SchemaReport, SchemaJobError> {
    let record = plant.schema.accept(org, lane).await?;
    plant.schema.run(&record).await
}

/// A failed job in words, with the exit code for a one-shot command.
pub fn job_failure(error: &SchemaJobError) -> Reply {
    let exit_code = match error {
        SchemaJobError::Interrupted => LEFT_OVER,
        error if error.is_refused_login() => REFUSED,
        _ => FAILED,
    };
    Reply::Failed { message: chain(error), exit_code }
}

async fn schema(plant: &Plant, org: Option<OrgName>) -> Result<Value, Reply> {
    let orgs: Vec<OrgName> = match org {
        Some(org) => vec![org],
        None => {
            let mut orgs: Vec<_> = plant.clients.keys().cloned().collect();
            orgs.sort_unstable();
            orgs
        }
    };
    let mut reports = Vec::new();
    for org in orgs {
        if plant.schema.runs.progress().iter().any(|run| run.org == org && run.phase != DONE) {
            return Err(said(format!("the schema job of `{org}` runs already; see `penstock status`")));
        }
        let report = run_schema_job(plant, &org, Lane::Normal).await.map_err(|error| job_failure(&error))?;
        reports.push(json!(report));
    }
    Ok(json!({ "reports": reports }))
}

fn all_if_none(plant: &Plant, numbers: Vec<u64>) -> Vec<u64> {
    if numbers.is_empty() {
        return plant.engine.dead_letters().iter().map(|letter| letter.number).collect();
    }
    numbers
}

async fn dead_retry(plant: &Plant, numbers: Vec<u64>) -> Result<Value, Reply> {
    let numbers = all_if_none(plant, numbers);
    plant.schema.retry_letters(&numbers).await.map_err(said)?;
    Ok(json!({ "retried": numbers, "dead_letters_left": plant.engine.dead_letters().len() }))
}

async fn dead_drop(plant: &Plant, numbers: Vec<u64>) -> Result<Value, Reply> {
    let numbers = all_if_none(plant, numbers);
    for number in &numbers {
        plant.engine.drop_dead_letter(*number).await.map_err(said)?;
    }
    Ok(json!({ "dropped": numbers }))
}
