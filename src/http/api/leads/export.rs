//! Reports made of results that a client sends back. A job has its report already; these are for clients that kept an answer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempPath;

use super::Call;
use super::envelope::Refused;
use super::export_sheet::{SentRow, count, read_result, text_of};
use super::jobs::{plain_prefix, send_report};
use super::upload::blocking;
use super::validation::{read_id, written_in};
use crate::leads::job::{LeadJobSpec, LeadSource, ReportFormat};
use crate::leads::outcome::{LeadOutcome, LeadResult, ModelVerdict, Ordinal};
use crate::leads::report_row::{ReportRow, RowPlace, RowsInMemory};
use crate::leads::{Lead, LeadCounts, LeadId, LeadSettings, Presence};
use crate::model::OrgName;
use crate::sheets::report::{ReportError, ReportHead, write_report};
use crate::sheets::{OpenOptions, Workbook, find_ids};

/// Bytes of results in one request.
const RESULTS_BYTES_MAX: usize = 8 << 20;
/// Rows of a sheet that results are joined with. Beyond, the report of a job is the way: it is streamed.
const ROWS_MAX: usize = 100_000;
/// Bytes of a column's name, and of a prefix of a file's.
const NAME_BYTES_MAX: usize = 1_024;
const RESULTS: &str = "analysis_results";

#[derive(Deserialize)]
struct Rows {
    analysis_results: Vec<Map<String, Value>>,
    original_data: Vec<SentRow>,
    lead_id_column: Option<String>,
    filename_prefix: Option<String>,
}

#[derive(Deserialize)]
struct Leads {
    analysis_data: AnalysisData,
    filename_prefix: Option<String>,
}

#[derive(Deserialize)]
struct AnalysisData {
    leads: Vec<Map<String, Value>>,
    query_info: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Single {
    lead_data: Map<String, Value>,
    filename_prefix: Option<String>,
}

/// What a report is about beside the results.
enum About {
    /// A table of the leads.
    Leads { soql: Option<String> },
    /// A sheet, given back.
    Sheet { path: PathBuf, name: String, sheet: Option<String>, id_column: Option<String> },
}

/// `POST /excel/export-analysis`.
pub(super) async fn rows(mut call: Call) -> Result<HttpResponse, Refused> {
    let sent: Rows = read(&mut call).await?;
    let prefix = prefix_of(sent.filename_prefix.as_deref(), "")?;
    let id_column = sent.lead_id_column.filter(|column| !column.trim().is_empty());
    bounded("lead_id_column", id_column.as_deref())?;
    let results = read_results(RESULTS, &sent.analysis_results)?;
    let folder = call.leads.sources.uploads.clone();
    let original = sent.original_data;
    let sheet = blocking(move || write_sheet(&folder, &original)).await?.map_err(disk)?;
    let about = About::Sheet {
        path: sheet.to_path_buf(),
        name: "original_data.csv".to_owned(),
        sheet: None,
        id_column,
    };
    send(&call, about, results, &prefix).await
}

/// `POST /excel/export-analysis-with-file`.
pub(super) async fn file(mut call: Call) -> Result<HttpResponse, Refused> {
    let mut upload = call.upload(&[RESULTS, "invalid_lead_ids"], RESULTS_BYTES_MAX).await?;
    let fields = &mut upload.fields;
    let (sheet, id_column) = (fields.name("sheet_name")?, fields.name("lead_id_column")?);
    let prefix = plain_prefix(fields.text("filename_prefix", 1_024)?.unwrap_or_default());
    let sent = match fields.take(RESULTS) {
        Some(Value::String(text)) => text,
        _ => return Err(Refused::wrong("`analysis_results` is missing: send the list of leads as JSON")),
    };
    let results: Vec<Map<String, Value>> = serde_json::from_str(&sent).map_err(|fault| {
        Refused::wrong(format!("`{RESULTS}` is no list of objects: {}", place_of(&fault)))
    })?;
    let results = read_results(RESULTS, &results)?;
    let file = upload.file()?;
    let about = About::Sheet { path: file.path_buf(), name: file.name.clone(), sheet, id_column };
    send(&call, about, results, &prefix).await
}

/// `POST /leads/export-analysis-data`.
pub(super) async fn leads(mut call: Call) -> Result<HttpResponse, Refused> {
    let sent: Leads = read(&mut call).await?;
    let prefix = prefix_of(sent.filename_prefix.as_deref(), "")?;
    let results = read_results("analysis_data.leads", &sent.analysis_data.leads)?;
    let info = sent.analysis_data.query_info.unwrap_or_default();
    let soql = text_of(info.get("final_query").or_else(|| info.get("original_query")));
    send(&call, About::Leads { soql }, results, &prefix).await
}

/// `POST /leads/export-single-lead-data`.
pub(super) async fn single(mut call: Call) -> Result<HttpResponse, Refused> {
    let sent: Single = read(&mut call).await?;
    let prefix = prefix_of(sent.filename_prefix.as_deref(), "lead")?;
    let results = read_results("lead_data", &[one_lead(sent.lead_data)])?;
    send(&call, About::Leads { soql: None }, results, &prefix).await
}

/// The lead within an answer of `GET /lead/{id}/confidence`, whether all of it, its data or the lead alone was sent.
fn one_lead(mut sent: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(data)) = sent.remove("data") {
        sent = data;
    }
    let Some(Value::Object(mut lead)) = sent.remove("lead_data") else { return sent };
    for name in ["confidence_assessment", "scores"] {
        if let (false, Some(value)) = (lead.contains_key(name), sent.remove(name)) {
            lead.insert(name.to_owned(), value);
        }
    }
    if let Some(status) = sent.get("processing_info").and_then(|info| info.get("ai_assessment_status")) {
        lead.entry("ai_assessment_status").or_insert_with(|| status.clone());
    }
    lead
}

async fn read<T: for<'de> Deserialize<'de>>(call: &mut Call) -> Result<T, Refused> {
    let bytes = call.json(RESULTS_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|fault| {
        Refused::wrong(match fault.classify() {
            serde_json::error::Category::Data => format!("the body has another form: {}", place_of(&fault)),
            _ => format!("the body is not JSON: {fault}"),
        })
    })
}

/// What is missing or of another type, without the value: it may be a person's.
fn place_of(fault: &serde_json::Error) -> String {
    let told = fault.to_string();
    let named =
        told.starts_with("missing field").then(|| told.split(" at ").next().unwrap_or_default().to_owned());
    let what = named.unwrap_or_else(|| "a value of another type".to_owned());
    format!("{what} at line {}, column {}", fault.line(), fault.column())
}

fn prefix_of(sent: Option<&str>, default: &str) -> Result<String, Refused> {
    bounded("filename_prefix", sent)?;
    Ok(plain_prefix(sent.unwrap_or(default)))
}

fn bounded(name: &str, sent: Option<&str>) -> Result<(), Refused> {
    match sent.map_or(0, str::len) {
        0..=NAME_BYTES_MAX => Ok(()),
        bytes => Err(Refused::wrong(format!("`{name}` has {bytes} bytes; it may have {NAME_BYTES_MAX}"))),
    }
}

fn read_results(name: &str, sent: &[Map<String, Value>]) -> Result<Vec<LeadResult>, Refused> {
    let one = |(index, sent): (usize, &Map<String, Value>)| {
        let ordinal = Ordinal::try_from(index).unwrap_or(Ordinal::MAX);
        read_result(ordinal, sent).map_err(|why| Refused::wrong(format!("`{name}[{index}]`: {why}")))
    };
    sent.iter().enumerate().map(one).collect()
}

async fn send(
    call: &Call,
    about: About,
    results: Vec<LeadResult>,
    prefix: &str,
) -> Result<HttpResponse, Refused> {
    let Ok(_turn) = call.leads.exports.try_acquire() else {
        return Err(Refused::busy("too many reports are made at once; send it again in a moment"));
    };
    let sources = &call.leads.sources;
    let (settings, options) = (sources.service.settings().clone(), sources.sheets.clone());
    let folder = sources.uploads.clone();
    let made = blocking(move || make(&folder, about, results, &settings, &options)).await??;
    let path = made.to_path_buf();
    // Once it is open it needs no name: the file goes with the answer.
    send_report(call, path, "export", ReportFormat::Xlsx, prefix).await
}

fn disk(error: std::io::Error) -> Refused {
    tracing::error!(%error, "a report of sent results cannot be written");
    Refused::failed("the report could not be written to the disk of the server; its log says why")
}

impl From<ReportError> for Refused {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Sheet(fault) => fault.into(),
            other => {
                tracing::error!(error = %other, "a report of sent results cannot be made");
                Self::failed("the report could not be made; the log of the server says why")
            }
        }
    }
}

/// Rows as a sheet: heads in the order in which they come up.
fn write_sheet(folder: &Path, rows: &[SentRow]) -> std::io::Result<TempPath> {
    let mut heads: Vec<&str> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (head, _) in rows.iter().flat_map(|row| &row.0) {
        places.entry(head).or_insert_with(|| {
            heads.push(head);
            heads.len() - 1
        });
    }
    let (file, path) = super::upload::create(folder, ".csv")?;
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(&heads)?;
    for row in rows {
        let mut cells = vec![String::new(); heads.len()];
        for (head, value) in &row.0 {
            cells[places[head.as_str()]] = text_of(Some(value)).unwrap_or_default();
        }
        writer.write_record(&cells)?;
    }
    writer.flush()?;
    Ok(path)
}

/// Makes the workbook. Blocks.
fn make(
    folder: &Path,
    about: About,
    results: Vec<LeadResult>,
    settings: &LeadSettings,
    options: &OpenOptions,
) -> Result<TempPath, Refused> {
    let was_asked = results.iter().any(|result| match &result.outcome {
        LeadOutcome::Assessed(assessment) => assessment.model != ModelVerdict::NotAsked,
        LeadOutcome::NoRecord | LeadOutcome::Unread { .. } => false,
    });
    let (mut workbook, rows, counts, source) = match about {
        About::Leads { soql } => {
            let (rows, counts) = table(results);
            let source = match soql {
                Some(soql) => LeadSource::Query { soql },
                None => LeadSource::Ids { ids: Vec::new() },
            };
            (None, rows, counts, source)
        }
        About::Sheet { path, name, sheet, id_column } => {
            let mut workbook = Workbook::open(&path, &name, options)?;
            let joined = join(&mut workbook, sheet.as_deref(), id_column.as_deref(), results)?;
            let (sheet, id_column) = (Some(joined.sheet), joined.id_column);
            let source = LeadSource::Sheet { file: name.clone(), name, sheet, id_column };
            (Some(workbook), joined.rows, joined.counts, source)
        }
    };
    let org = settings.org.clone().map_or_else(|| "export".parse::<OrgName>().map_err(|_| ()), Ok);
    let spec = LeadJobSpec {
        job: "export".to_owned(),
        org: org.map_err(|()| Refused::failed("no org is configured"))?,
        source,
        ask_model: was_asked,
        read_batch: settings.read_batch,
        assess_batch: settings.assess_batch,
        max_cost: None,
        reports: vec![ReportFormat::Xlsx],
    };
    let head = ReportHead {
        spec,
        counts,
        model: was_asked.then(|| "as the sent results tell".to_owned()),
        prompt_version: None,
        field_mapping: settings.fields.clone(),
        weights: settings.weights,
        org_calls: None,
        retrieval: None,
    };
    let (_, target) = super::upload::create(folder, ".xlsx").map_err(disk)?;
    let rows = &mut RowsInMemory::new(rows);
    write_report(ReportFormat::Xlsx, &target, &head, workbook.as_mut(), rows, &mut |_| true)?;
    Ok(target)
}

/// The leads one below another. One that was sent twice is a duplicate the second time.
fn table(results: Vec<LeadResult>) -> (Vec<ReportRow>, LeadCounts) {
    let mut counts = LeadCounts::default();
    let mut first_rows: HashMap<LeadId, u64> = HashMap::new();
    let mut rows = Vec::with_capacity(results.len());
    for (row, result) in (1..).zip(results) {
        let first_row = *first_rows.entry(result.lead.id).or_insert(row);
        counts.rows += 1;
        match first_row == row {
            true => count(&mut counts, &result),
            false => counts.duplicates += 1,
        }
        let place = RowPlace::Lead { result: Arc::new(result), first_row, repaired: false };
        rows.push(ReportRow { row, place });
    }
    (rows, counts)
}

struct Joined {
    /// The sheet that the ids were found in.
    sheet: String,
    id_column: String,
    rows: Vec<ReportRow>,
    counts: LeadCounts,
}

/// Finds for each row of a sheet what was sent about its lead.
fn join(
    workbook: &mut Workbook,
    sheet: Option<&str>,
    id_column: Option<&str>,
    results: Vec<LeadResult>,
) -> Result<Joined, Refused> {
    let (sheet, column) = find_ids(workbook, sheet, id_column)?;
    let mut known: HashMap<LeadId, Arc<LeadResult>> =
        results.into_iter().map(|result| (result.lead.id, Arc::new(result))).collect();
    let mut first_rows: HashMap<LeadId, u64> = HashMap::new();
    let (counts, rows) = (LeadCounts::default(), Vec::new());
    let mut joined = Joined { sheet, id_column: column.header, rows, counts };
    let counts = &mut joined.counts;
    let mut rows = workbook.rows(Some(&joined.sheet))?;
    while let Some(row) = rows.next_row()? {
        if joined.rows.len() == ROWS_MAX {
            return Err(Refused::wrong(format!(
                "the sheet has more than {ROWS_MAX} rows; take `report.xlsx` of its job, which has no such bound"
            )));
        }
        counts.rows += 1;
        let cell = row.cell(column.index);
        let place = match read_id(cell) {
            None => {
                counts.blank += 1;
                RowPlace::Blank
            }
            Some(Err(fault)) => {
                counts.invalid += 1;
                RowPlace::Invalid { written: written_in(cell), fault }
            }
            Some(Ok(read)) => {
                let first_row = *first_rows.entry(read.id).or_insert(row.number);
                let result = known.entry(read.id).or_insert_with(|| Arc::new(not_sent(read.id)));
                counts.repaired += u64::from(read.repaired);
                match first_row == row.number {
                    true => count(counts, result),
                    false => counts.duplicates += 1,
                }
                RowPlace::Lead { result: Arc::clone(result), first_row, repaired: read.repaired }
            }
        };
        joined.rows.push(ReportRow { row: row.number, place });
    }
    Ok(joined)
}

fn not_sent(id: LeadId) -> LeadResult {
    let reason = "it is not among the results that were sent".to_owned();
    let lead = Lead::without_values(id, Presence::Found);
    LeadResult { ordinal: Ordinal::MAX, lead, outcome: LeadOutcome::Unread { reason } }
}
