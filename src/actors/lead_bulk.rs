//! Reads leads by one Bulk query of all leads of the org, where the list is so long that this is cheaper.
//!
//! Promises: one job at the org for one lead job, however often the process dies: where it stands is noted in the job's
//! store before its next page is read, and behind a page only when what it held is written. A page that is read again
//! changes nothing.

use super::lead_run::LeadRun;
use crate::leads::Lead;
use crate::salesforce::{
    BulkCheckpoint, BulkColumns, BulkError, BulkOptions, BulkQuery, LeadColumns, OrgClient, RowReader,
};
use crate::salesforce::rows::Row;

/// Rows of one page: what one item of the line holds.
const ROWS_PER_PAGE: u32 = 10_000;
/// Note in the job's store: where the query stands.
const BULK_NOTE: &str = "bulk";

/// A Bulk query under way.
#[derive(Debug)]
pub struct BulkReading {
    query: BulkQuery,
    columns: BulkColumns,
}

fn options() -> BulkOptions {
    // Pages asked for ahead are made by tasks of their own, whose calls nobody would count for the job.
    BulkOptions { rows_per_page: ROWS_PER_PAGE, pages_at_once: 1, ..BulkOptions::default() }
}

/// Takes up the job's query, or makes one, and waits for the org to have run it.
///
/// # Errors
/// Those of the query and of the store.
pub(super) async fn begin(client: &OrgClient, run: &LeadRun, columns: &LeadColumns) -> Result<(), BulkError> {
    let columns = columns.bulk(&run.settings.fields)?;
    let noted = run.store.noted(BULK_NOTE).await.ok().flatten();
    let noted: Option<BulkCheckpoint> = noted.and_then(|text| serde_json::from_str(&text).ok());
    let mut query = match noted {
        Some(checkpoint) => client.resume_bulk_query(checkpoint, options()),
        None => {
            let soql = OrgClient::bulk_leads(&columns)?;
            client.bulk_query(&soql, true, options()).await?
        }
    };
    keep(run, query.checkpoint()).await;
    let waited = query.wait().await;
    if waited.as_ref().is_err_and(BulkError::calls_for_a_new_job) {
        forget(run).await;
    }
    waited?;
    *run.bulk.lock().await = Some(BulkReading { query, columns });
    Ok(())
}

/// Reads the next page: its leads, whether the job wants them or not.
///
/// # Errors
/// Those of the query. The same page is read again by the next call.
pub(super) async fn next_page(_client: &OrgClient, run: &LeadRun) -> Result<Vec<Lead>, BulkError> {
    let mut reading = run.bulk.lock().await;
    let mut leads = Vec::new();
    let Some(BulkReading { query, columns }) = reading.as_mut() else { return Ok(leads) };
    let mut taker = |row: &Row<'_>| {
        leads.extend(columns.lead(row));
        Ok(())
    };
    let rows_done = query.checkpoint().rows_done;
    let read = {
        let mut reader = RowReader::new(columns.columns().clone(), rows_done, &mut taker);
        query.next_page(&mut reader).await
    };
    match read {
        Ok(_) => Ok(leads),
        Err(error) if error.calls_for_a_new_job() => {
            *reading = None;
            forget(run).await;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Notes that everything up to where the query stands is written. True once there are no more pages.
pub(super) async fn settle(run: &LeadRun) -> bool {
    let reading = run.bulk.lock().await;
    let Some(reading) = reading.as_ref() else { return true };
    keep(run, reading.query.checkpoint()).await;
    reading.query.checkpoint().is_complete
}

/// Removes the job at the org.
pub(super) async fn end(run: &LeadRun) {
    if let Some(reading) = run.bulk.lock().await.take() {
        if let Err(error) = reading.query.delete().await {
            tracing::warn!(job = run.spec.job, %error, "a bulk job was left at the org");
        }
        forget(run).await;
    }
}

async fn keep(run: &LeadRun, checkpoint: &BulkCheckpoint) {
    let text = serde_json::to_string(checkpoint).unwrap_or_default();
    if let Err(error) = run.store.note(BULK_NOTE, &text).await {
        // The pages since the last note are read again, which changes nothing.
        tracing::warn!(job = run.spec.job, %error, "where the bulk query stands was not kept");
    }
}

async fn forget(run: &LeadRun) {
    if let Err(error) = run.store.note(BULK_NOTE, "").await {
        tracing::warn!(job = run.spec.job, %error, "where the bulk query stands was not kept");
    }
}
