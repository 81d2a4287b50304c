//! Leads that a person's statement finds. Nothing is sent to the org that the guard has not read as a statement on leads.

use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

use super::super::lead_service::{QueriedIds, StartLeads, StartSource};
use super::Call;
use super::answering::{Whole, addresses, answer, end_of};
use super::envelope::{Refused, success};
use super::excel::{analyzed_message, with_defaults};
use super::seed_view::{analyzed, rounded};
use crate::leads::outcome::LeadOutcome;
use crate::salesforce::lead_query::{GuardedQuery, guard};

/// Most rows that a statement may find.
const FOUND_MAX: u64 = 50_000;
/// Bytes of a statement. The org takes 100,000 characters.
const SOQL_BYTES_MAX: usize = 100_000;
/// Leads of one request, and how many when it does not say.
const PREVIEW: (u64, u64) = (1_000, 100);
const ANALYZE: (u64, u64) = (500, 100);
const LIST: (u64, u64) = (1_000, 100);

fn guarded(parameter: &str, text: &str, limit: u64) -> Result<GuardedQuery, Refused> {
    guard(text, limit).map_err(|fault| Refused::wrong(format!("`{parameter}`: {fault}")))
}

/// `POST /leads/preview-query`.
pub(super) async fn preview(mut call: Call) -> Result<HttpResponse, Refused> {
    let sent = call.object().await?;
    let limit = sent.count("preview_limit", 1..=PREVIEW.0)?.unwrap_or(PREVIEW.1 as usize);
    let query =
        guarded("soql_query", sent.text("soql_query", SOQL_BYTES_MAX)?.unwrap_or_default(), FOUND_MAX)?;
    let found = call.service().query_ids(&query.soql, limit).await?;
    let data = json!({
        "total_found": found.total,
        "preview_count": found.ids.len(),
        "lead_ids": found.ids,
        "query_info": {
            "original_query": query.original,
            "final_query": query.soql,
            "total_found": found.total,
        },
    });
    Ok(success(format!("the query finds {} leads", found.total), data))
}

/// `POST /leads/analyze-query`.
pub(super) async fn analyze(mut call: Call) -> Result<HttpResponse, Refused> {
    let sent = call.object().await?;
    let limit = sent.whole("max_analyze", 1..=ANALYZE.0)?.unwrap_or(ANALYZE.1);
    let ask_model = sent.truth("include_ai_assessment")?.unwrap_or(true);
    let text = sent.text("soql_query", SOQL_BYTES_MAX)?.unwrap_or_default();
    let all = guarded("soql_query", text, FOUND_MAX)?;
    let query = guarded("soql_query", text, limit)?;
    let found = call.service().query_ids(&all.soql, 1).await?;
    let taken = found.total.min(limit);
    let query_info = json!({
        "original_query": query.original,
        "final_query": query.soql,
        "total_found": found.total,
        "analyzed_count": taken,
        "skipped_count": found.total - taken,
        "include_ai_assessment": ask_model,
    });
    let members = single_member("query_info", query_info);
    if found.total == 0 {
        return Ok(nothing_found(members, &found));
    }
    let source = StartSource::Query { soql: query.soql };
    let start = StartLeads { source, ask_model, ..with_defaults() };
    let spec = call.service().start(start).await?;
    let whole = Whole {
        message: analyzed_message,
        members,
        summary: single_member("total_query_results", found.total.into()),
        with_metrics: false,
        with_validation: false,
    };
    answer(&call, &spec, taken, whole).await
}

fn single_member(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

/// A query without leads needs no job.
fn nothing_found(mut data: Map<String, Value>, found: &QueriedIds) -> HttpResponse {
    let summary = json!({
        "total_query_results": found.total,
        "leads_analyzed": 0,
        "leads_with_issues": 0,
        "not_in_tam_count": 0,
        "suspicious_enrichment_count": 0,
        "issue_percentage": 0.0,
        "avg_confidence_score": null,
        "ai_assessments_successful": 0,
        "ai_assessments_failed": 0,
    });
    data.insert("summary".to_owned(), summary);
    data.insert("leads".to_owned(), json!([]));
    success("the query finds no leads", data.into())
}

/// `GET /leads`: what a condition finds, by rules alone. Nothing is paid for it.
pub(super) async fn list(call: Call) -> Result<HttpResponse, Refused> {
    let sent = call.query()?;
    let limit = sent.whole("limit", 1..=LIST.0)?.unwrap_or(LIST.1);
    let text = sent.text("where", SOQL_BYTES_MAX)?.unwrap_or_default();
    let all = guarded("where", text, FOUND_MAX)?;
    let query = guarded("where", text, limit)?;
    let found = call.service().query_ids(&all.soql, 1).await?;
    let mut data = Map::new();
    let mut records = Vec::new();
    if found.total > 0 {
        let source = StartSource::Query { soql: query.soql };
        let spec = call.service().start(StartLeads { source, ask_model: false, ..with_defaults() }).await?;
        let view = end_of(call.service(), &spec.job).await?;
        let results = call.service().results(&spec.job, 0, LIST.0 as usize).await?;
        records.extend(results.iter().filter_map(|result| match &result.outcome {
            LeadOutcome::Assessed(assessment) => Some(Value::Object(analyzed(result, assessment))),
            LeadOutcome::NoRecord | LeadOutcome::Unread { .. } => None,
        }));
        data = addresses(&spec.job);
        data.insert("unread".to_owned(), view.progress.counts.unread.into());
        data.insert("execution_time".to_owned(), rounded(view.progress.elapsed_secs).into());
    }
    let message = format!("{} of {} leads", records.len(), found.total);
    data.insert("done".to_owned(), (found.total <= limit).into());
    data.insert("records".to_owned(), records.into());
    data.insert("totalSize".to_owned(), found.total.into());
    Ok(success(message, data.into()))
}
