//! The desk: performs what a person asks of a plant, whether by the control socket or by a command of its own.

pub mod bulk_jobs;
pub mod leads;
pub mod push;
pub mod sync;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::actors::fetcher::chain;
use crate::actors::schema_job::{SchemaJobError, SchemaReport};
use crate::actors::schema_run::{DONE, SchemaProgress};
use crate::actors::sync_desk::SyncDesk;
use crate::control::{BatchCommand, Command, Reply};
use crate::http::api::{BatchAsk, BatchService as _, ReplyContent, is_idempotency_key};
use crate::limiter::Priority;
use crate::messages::Lane;
use crate::model::OrgName;
use crate::plant::Plant;

/// Exit code of a failed command.
pub const FAILED: u8 = 1;
/// Exit code of a command that makes no sense as it was given.
pub const WRONG_USAGE: u8 = 2;
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
        Command::Limits { org } => limits(plant, org).await,
        Command::DeadList => Ok(json!({ "dead_letters": plant.engine.dead_letters() })),
        Command::DeadRetry { numbers } => dead_retry(plant, numbers).await,
        Command::DeadDrop { numbers } => dead_drop(plant, numbers).await,
        Command::Batch(asked) => batch(plant, asked).await,
        Command::Leads { ask } => match plant.lead_service() {
            Some(service) => leads::perform(&*service, ask).await,
            None => Err(said("the configuration has no org whose leads could be read".to_owned())),
        },
        Command::Sync { ask } => match &plant.sync {
            Some(desk) => sync::perform(desk, ask).await,
            None => Err(said("no `[[sync.object]]` of the configuration says what to sync".to_owned())),
        },
        Command::Push { names } => match &plant.push {
            Some(desk) => push::perform(desk, &names).await,
            None => Err(said("no `[[push]]` of the configuration says what to push".to_owned())),
        },
        Command::BulkJobs { org, ask } => bulk_jobs::perform(plant, org, ask).await,
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
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "state": plant.engine.run_state(),
        "actors": plant.engine.status(),
        "jobs": progress(plant),
        "lead_jobs": plant.leads.jobs_behind().progress(),
        "unfinished_jobs": plant.schema.unfinished(),
        "dead_letters": plant.engine.dead_letters().len(),
        "abandoned_arbiters": plant.engine.abandoned_arbiters(),
        "orgs": plant.book.views(),
        "sync": plant.sync.as_ref().map(sync::status),
        "pushes": plant.push.as_ref().map(|desk| desk.status()),
        "batches": plant.batches.as_ref().map(|batches| batches.front.status()),
    })
}

/// How far every run is, and what those that stand still wait for.
pub fn progress(plant: &Plant) -> Vec<SchemaProgress> {
    let mut runs = plant.schema.runs.progress();
    for run in runs.iter_mut().filter(|run| run.makes_calls()) {
        run.waits = plant.book.waits_for(&run.org, run.priority);
    }
    runs
}

/// The limits of one org, or of every org, and what the limiter makes of them. An org that cannot be asked is told with
/// what is known of it.
async fn limits(plant: &Plant, org: Option<OrgName>) -> Result<Value, Reply> {
    let mut names: Vec<&OrgName> = plant.clients.keys().collect();
    names.sort_unstable();
    if let Some(wanted) = &org {
        names.retain(|name| *name == wanted);
    }
    if let (Some(wanted), true) = (&org, names.is_empty()) {
        return Err(said(format!("no org is named `{wanted}`")));
    }
    let mut orgs = Vec::new();
    for name in names {
        let Some(client) = plant.clients.get(name) else { continue };
        let asked = client.with_priority(Priority::Interactive).limits().await;
        let (limits, failure) = match asked {
            Ok(limits) => {
                let rows = limits.into_iter().map(|(limit, figures)| {
                    json!({ "limit": limit, "max": figures.max, "remaining": figures.remaining })
                });
                (Some(rows.collect::<Vec<_>>()), None)
            }
            Err(error) => {
                let exit_code = if error.is_refused_login() { REFUSED } else { FAILED };
                (None, Some(JobFailure { org: name.clone(), message: chain(&error), exit_code }))
            }
        };
        // After the call, so that its answer is in it.
        let view = plant.book.views().into_iter().find(|view| view.org == *name);
        orgs.push(json!({ "org": name, "limits": limits, "failure": failure, "budget": view }));
    }
    Ok(json!({ "orgs": orgs }))
}

/// Runs the schema job of one org. A job that the org refuses the login for is dropped: the next one is asked for anew, or
/// a restart would knock at the door again and again.
///
/// # Errors
/// See [`SchemaJobError`].
pub async fn run_schema_job(
    plant: &Plant,
    org: &OrgName,
    lane: Lane,
) -> Result<SchemaReport, SchemaJobError> {
    let record = plant.schema.accept(org, lane).await?;
    let outcome = plant.schema.run(&record).await;
    if outcome.as_ref().is_err_and(SchemaJobError::is_refused_login) {
        plant.schema.give_up(&record).await?;
    }
    outcome
}

/// A job that failed, in words.
#[derive(Debug, Clone, serde::Serialize)]
pub struct JobFailure {
    /// The org it was about.
    pub org: OrgName,
    /// Why, for a person.
    pub message: String,
    /// The exit code of a one-shot command.
    pub exit_code: u8,
}

fn job_failure(org: OrgName, error: &SchemaJobError) -> JobFailure {
    let exit_code = match error {
        SchemaJobError::Interrupted => LEFT_OVER,
        error if error.is_refused_login() => REFUSED,
        _ => FAILED,
    };
    JobFailure { org, message: chain(error), exit_code }
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
    let mut failures = Vec::new();
    for org in orgs {
        match run_schema_job(plant, &org, Lane::Normal).await {
            Ok(report) => reports.push(json!(report)),
            // One org's trouble is no other's.
            Err(error) => failures.push(job_failure(org, &error)),
        }
    }
    match failures.first() {
        Some(first) if reports.is_empty() && failures.len() == 1 => {
            Err(Reply::Failed { message: first.message.clone(), exit_code: first.exit_code })
        }
        _ => Ok(json!({ "reports": reports, "failures": failures })),
    }
}

/// Whether the schema job of an org is at work in this process.
pub fn is_running(plant: &Plant, org: &OrgName) -> bool {
    plant.schema.runs.progress().iter().any(|run| run.org == *org && run.phase != DONE)
}

/// Waits until no job has anything on the line or in the store that a little time would finish. Called after a drain:
/// the line is dry then, and a job that has got all its objects through writes its library now.
pub async fn jobs_settled(plant: &Plant) {
    const LOOK: Duration = Duration::from_millis(20);
    // Before its first object a job has nothing to lose, and may wait for the org for long.
    let settled = |phase: &str| [DONE, "starting", "listing objects"].contains(&phase);
    let writes_report = || {
        plant.leads.jobs_behind().progress().iter().any(|job| job.phase == crate::leads::JobPhase::Reporting)
    };
    let commits = || plant.sync.as_ref().is_some_and(SyncDesk::is_committing);
    while plant.schema.runs.progress().iter().any(|run| !settled(run.phase)) || writes_report() || commits() {
        plant.outside.clock.sleep(LOOK).await;
    }
}

/// Runs or plans a batch for whoever may open the control socket. The answer goes out as text: a number that went through
/// a JSON value of ours would lose digits.
async fn batch(plant: &Plant, asked: BatchCommand) -> Result<Value, Reply> {
    let wrong = |message: String| Reply::Failed { message, exit_code: WRONG_USAGE };
    let Some(batches) = &plant.batches else {
        return Err(wrong("the configuration has no [[database]] for batches".to_owned()));
    };
    if asked.idempotency_key.as_ref().is_some_and(|key| !is_idempotency_key(key.as_bytes())) {
        return Err(wrong("an idempotency key is 1 to 255 visible ASCII characters".to_owned()));
    }
    let ask = BatchAsk {
        body: asked.body.into_bytes(),
        caller: Arc::new(batches.caller_at_the_shell(asked.claims)),
        idempotency_key: asked.idempotency_key,
        lines: false,
        trace: None,
        database: asked.database,
        dry_run: asked.dry_run,
    };
    let reply = if asked.plan { batches.front.plan(ask) } else { batches.front.run(ask).await };
    let ReplyContent::Whole(answer) = reply.content else {
        return Err(said("the batch answered in lines, which nobody asked for".to_owned()));
    };
    Ok(json!({
        "batch_id": reply.batch_id,
        "status": answer.status,
        "replayed": reply.replayed,
        "answer": String::from_utf8_lossy(&answer.body),
    }))
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
