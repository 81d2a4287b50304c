//! Analyses a sheet: as the two endpoints did that were there before, but as a job.

use actix_web::HttpResponse;
use serde_json::{Map, json};

use super::super::lead_service::{StartLeads, StartSource};
use super::Call;
use super::answering::{INVALID_LISTED, Whole, answer};
use super::envelope::Refused;
use super::parameters::{ASSESS_BATCH, READ_BATCH};
use super::seed_view::leads_analyzed;
use super::upload::UploadedFile;
use super::validation::invalid_rows;
use crate::leads::job::LeadCounts;
use crate::sheets::MOST_ROWS;

/// `POST /excel/analyze`.
pub(super) async fn analyze(call: Call) -> Result<HttpResponse, Refused> {
    run(call, false).await
}

/// `POST /excel/analyze-batch-optimized`.
pub(super) async fn analyze_batched(call: Call) -> Result<HttpResponse, Refused> {
    run(call, true).await
}

async fn run(mut call: Call, batched: bool) -> Result<HttpResponse, Refused> {
    let mut upload = call.upload(&[], 0).await?;
    let fields = &upload.fields;
    // It has never had an effect, and older clients send it: all leads of the sheet are analysed.
    fields.count("max_analyze", 1..=MOST_ROWS)?;
    let (read_batch, assess_batch) = match batched {
        true => (fields.count("batch_size", READ_BATCH)?, fields.count("ai_batch_size", ASSESS_BATCH)?),
        false => (None, None),
    };
    let (sheet, id_column) = (fields.name("sheet_name")?, fields.name("lead_id_column")?);
    let file = upload.file()?;
    let start = |is_ours| StartLeads {
        source: source_of(&file, &sheet, &id_column, is_ours),
        read_batch,
        assess_batch,
        ..with_defaults()
    };
    let service = call.service();
    let forecast = service.forecast(start(false)).await?;
    if forecast.leads == 0 {
        let rows = invalid_rows(&call, &file, sheet.as_deref(), id_column.as_deref(), INVALID_LISTED).await?;
        let ids: Vec<&str> = rows.iter().map(|row| row.written.as_str()).collect();
        let invalid = forecast.invalid;
        let message = match invalid {
            0 => "the column holds no Lead id at all; name the one that does in `lead_id_column`".to_owned(),
            _ => format!("all {invalid} ids are invalid; the list says why each is"),
        };
        let data = json!({ "invalid_lead_ids": ids, "invalid_rows": rows, "format_invalid_count": invalid });
        return Err(Refused::wrong(message).with_data(data));
    }
    let spec = service.start(start(true)).await?;
    let whole = Whole {
        message: analyzed_message,
        members: Map::new(),
        summary: Map::new(),
        with_metrics: batched,
        with_validation: true,
    };
    answer(&call, &spec, forecast.leads, whole).await
}

/// A job as clients expect it that say nothing.
pub(super) fn with_defaults() -> StartLeads {
    StartLeads {
        org: None,
        source: StartSource::Ids { ids: Vec::new() },
        ask_model: true,
        read_batch: None,
        assess_batch: None,
        max_cost: None,
        reports: Vec::new(),
        take_up: true,
    }
}

/// An upload as the source of a job.
pub(super) fn source_of(
    file: &UploadedFile,
    sheet: &Option<String>,
    id_column: &Option<String>,
    is_ours: bool,
) -> StartSource {
    StartSource::Sheet {
        path: file.path_buf(),
        name: file.name.clone(),
        sheet: sheet.clone(),
        id_column: id_column.clone(),
        is_ours,
    }
}

/// Says what was done, and what was not.
pub(super) fn analyzed_message(counts: &LeadCounts) -> String {
    let mut message = format!("analyzed {} of {} leads", leads_analyzed(counts), counts.leads);
    for (count, what) in [
        (counts.failed, "got no usable answer of the model"),
        (counts.no_record, "have no record that we may see"),
        (counts.unread, "could not be read"),
        (counts.invalid, "rows hold no Lead id"),
    ] {
        if count > 0 {
            message.push_str(&format!("; {count} {what}"));
        }
    }
    message
}
