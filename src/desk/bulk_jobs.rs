//! What a person at the shell asks of the bulk jobs that are at an org.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{FAILED, REFUSED, WRONG_USAGE};
use crate::actors::fetcher::chain;
use crate::control::{BulkJobsAsk, Reply};
use crate::limiter::Priority;
use crate::model::OrgName;
use crate::plant::Plant;
use crate::salesforce::bulk::BulkJob;
use crate::salesforce::{OrgClient, OrgError};

/// Performs what was asked at the shell.
pub async fn perform(plant: &Plant, org: Option<OrgName>, ask: BulkJobsAsk) -> Result<Value, Reply> {
    let client = client(plant, org)?.with_priority(Priority::Interactive);
    match ask {
        BulkJobsAsk::List => {
            let mut jobs = client.bulk_jobs().await.map_err(|error| refused(&error))?;
            jobs.sort_by_key(|job| job.created_at);
            Ok(json!({ "jobs": jobs.iter().map(view).collect::<Vec<_>>() }))
        }
        BulkJobsAsk::Show { job } => Ok(json!({ "jobs": [view(&known(&client, &job).await?)] })),
        BulkJobsAsk::Delete { jobs } => {
            // All of them are looked up before the first is deleted: a slip of the pen then deletes nothing.
            let mut found = Vec::with_capacity(jobs.len());
            for job in &jobs {
                found.push(known(&client, job).await?);
            }
            let (mut deleted, mut failed) = (0_u64, Vec::new());
            for job in found {
                match client.delete_bulk_job(&job).await {
                    Ok(()) => deleted += 1,
                    Err(error) => failed.push(format!("{}: {}", job.id, chain(&error))),
                }
            }
            Ok(json!({ "deleted": deleted, "failed": failed }))
        }
        BulkJobsAsk::Clean { older_than_hours } => {
            let age = Duration::from_secs(older_than_hours.saturating_mul(3_600));
            let before = plant.outside.clock.wall().checked_sub(age).map_err(|_| {
                let message = format!("{older_than_hours} hours reach back before the calendar begins");
                Reply::Failed { message, exit_code: WRONG_USAGE }
            })?;
            let in_use = in_use(plant)?;
            let cleaned = client.clean_bulk_jobs(before, &in_use).await;
            let cleaned = cleaned.map_err(|error| refused(&error))?;
            let failed: Vec<String> =
                cleaned.failed.iter().map(|(job, why)| format!("{job}: {why}")).collect();
            Ok(json!({
                "looked_at": cleaned.looked_at,
                "deleted": cleaned.deleted.len(),
                "deleted_jobs": cleaned.deleted,
                "failed": failed,
                "in_use": cleaned.spared,
                "left_to_the_org": cleaned.classic,
            }))
        }
    }
}

/// The client of the named org, or of the only one.
fn client(plant: &Plant, org: Option<OrgName>) -> Result<OrgClient, Reply> {
    let wrong = |message: String| Reply::Failed { message, exit_code: WRONG_USAGE };
    let of_sync = || plant.sync.as_ref().map(|desk| desk.settings().org.clone());
    let only = || plant.clients.keys().next().filter(|_| plant.clients.len() == 1).cloned();
    let Some(org) = org.or_else(of_sync).or_else(only) else {
        return Err(wrong("there are several orgs: name one with --org".to_owned()));
    };
    plant.clients.get(&org).cloned().ok_or_else(|| wrong(format!("no org is named `{org}`")))
}

/// Ids of jobs whose rows are still to be read or told: without them a load or a push would begin again.
fn in_use(plant: &Plant) -> Result<BTreeSet<String>, Reply> {
    let mut jobs = plant.sync.as_ref().map(|desk| desk.bulk_jobs_in_use()).unwrap_or_default();
    if let Some(desk) = &plant.push {
        let of_pushes = desk.bulk_jobs_in_use();
        jobs.extend(of_pushes.map_err(|error| Reply::Failed { message: chain(&error), exit_code: FAILED })?);
    }
    Ok(jobs)
}

async fn known(client: &OrgClient, id: &str) -> Result<BulkJob, Reply> {
    let job = client.bulk_job(id).await.map_err(|error| refused(&error))?;
    let unknown = || Reply::Failed { message: format!("the org has no bulk job `{id}`"), exit_code: FAILED };
    job.ok_or_else(unknown)
}

fn view(job: &BulkJob) -> Value {
    json!({
        "id": job.id,
        "kind": job.kind.as_str(),
        "operation": job.operation,
        "object": job.object,
        "state": job.state,
        "created_by": job.created_by,
        "created": job.created_at,
        "changed": job.changed_at,
        "rows": job.rows,
        "rows_failed": job.rows_failed,
        "error": job.error,
    })
}

fn refused(error: &OrgError) -> Reply {
    let exit_code = if error.is_refused_login() { REFUSED } else { FAILED };
    Reply::Failed { message: chain(error), exit_code }
}
