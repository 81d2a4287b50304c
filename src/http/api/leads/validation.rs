//! Looks into a sheet, and tells which ids are good, before anything is spent on them.
//!
//! Promises: one pass over the rows, none kept in memory beyond the ids of a small list. Whether an id is one is told from
//! the id; whether the org has its lead is asked for lists up to the threshold only, and an org that does not answer makes no
//! id invalid.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::super::lead_service::{InvalidRow, LeadProblem, LeadService, StartLeads};
use super::Call;
use super::answering::INVALID_LISTED;
use super::envelope::{Refused, success};
use super::excel::{source_of, with_defaults};
use super::upload::{UploadedFile, blocking};
use crate::leads::{IdFault, LeadId, ReadId, reads_as_number};
use crate::sheets::{self, CellView, OpenOptions, OwnedCell, SheetError, Workbook};

/// Ids in one question. Encoded in an address they take 27 bytes each, and 16 KiB are the limit.
const IDS_A_QUESTION: usize = 400;
/// Ids of a list that is checked without a file.
const LISTED_MAX: usize = 1_000;
/// Characters of a cell that are repeated.
const WRITTEN_CHARACTERS: usize = 64;

impl From<SheetError> for Refused {
    fn from(fault: SheetError) -> Self {
        if fault.is_about_the_file() {
            return Self::wrong(fault.to_string());
        }
        tracing::error!(error = %fault, "an upload cannot be read");
        Self::failed("the upload could not be read back from the disk of the server; its log says why")
    }
}

/// `POST /excel/parse`.
pub(super) async fn parse(mut call: Call) -> Result<HttpResponse, Refused> {
    let mut upload = call.upload(&[], 0).await?;
    let (file, sheet) = (upload.file()?, upload.fields.name("sheet_name")?);
    let options = call.leads.sources.sheets.clone();
    let seen =
        blocking(move || sheets::preview(file.path(), &file.name, sheet.as_deref(), &options)).await??;
    let guessed = seen.id_column.as_ref().map(|column| json!({ "header": column.header, "why": column.why }));
    let data = json!({
        "sheet_names": seen.sheet_names,
        "sheet_name": seen.sheet,
        "headers": seen.headers,
        "preview_data": seen.preview_rows.iter().map(|row| by_header(&seen.headers, row)).collect::<Vec<_>>(),
        "total_rows": seen.total_rows,
        "format": seen.format.as_str(),
        "lead_id_column": guessed,
    });
    Ok(success(format!("the sheet has {} rows", seen.total_rows), data))
}

/// A row as an object; of columns with the same head the first counts.
fn by_header<'a>(headers: &'a [String], row: &'a [OwnedCell]) -> BTreeMap<&'a str, &'a OwnedCell> {
    let mut told = BTreeMap::new();
    for (header, cell) in headers.iter().zip(row) {
        told.entry(header.as_str()).or_insert(cell);
    }
    told
}

/// `POST /excel/validate-lead-ids`.
pub(super) async fn validate_sheet(mut call: Call) -> Result<HttpResponse, Refused> {
    let mut upload = call.upload(&[], 0).await?;
    let (sheet, id_column) = (upload.fields.name("sheet_name")?, upload.fields.name("lead_id_column")?);
    let file = upload.file()?;
    let start = StartLeads { source: source_of(&file, &sheet, &id_column, false), ..with_defaults() };
    // Counts without a call to the org, the doubles of a million ids included.
    let forecast = call.service().forecast(start).await?;
    let threshold = call.service().settings().large_dataset_threshold;
    let keep = if forecast.leads <= threshold as u64 { threshold } else { 0 };
    let options = call.leads.sources.sheets.clone();
    let wanted = Wanted { sheet, id_column, valid: keep, invalid: INVALID_LISTED };
    let scan = blocking(move || scan(&file, &wanted, &options)).await??;
    let exist = match keep {
        0 => Existence::not_asked(format!(
            "lists of more than {threshold} leads are checked as they are analysed"
        )),
        _ => ask(call.service(), &scan.valid).await,
    };
    let missing = exist.missing(&scan.valid);
    let valid = forecast.leads - missing.as_ref().map_or(0, |missing| missing.len() as u64);
    let bad = forecast.invalid + missing.as_ref().map_or(0, |missing| missing.len() as u64);
    let mut invalid_ids: Vec<&str> = scan.invalid.iter().map(|row| row.written.as_str()).collect();
    invalid_ids.extend(missing.iter().flatten().map(LeadId::as_str));
    let data = json!({
        "lead_id_column": scan.id_column,
        "total_rows": forecast.rows,
        "total_lead_ids": forecast.leads + forecast.duplicates + forecast.invalid,
        "valid_count": valid,
        "invalid_count": bad,
        "format_invalid_count": forecast.invalid,
        "sf_invalid_count": missing.as_ref().map(Vec::len),
        "duplicate_count": forecast.duplicates,
        "invalid_lead_ids": invalid_ids,
        "invalid_rows": scan.invalid,
        "existence": exist.told(),
        "validation_summary": {
            "can_proceed": valid > 0,
            "all_valid": bad == 0,
            "partial_validation": bad > 0 && valid > 0,
        },
    });
    Ok(success(format!("{valid} leads are valid, {bad} ids are not"), data))
}

/// `POST /test-lead-validation`.
pub(super) async fn validate_list(mut call: Call) -> Result<HttpResponse, Refused> {
    let sent = call.object().await?.texts("lead_ids", LISTED_MAX, 1_024)?;
    let ids = sent.ok_or_else(|| Refused::wrong("`lead_ids` is missing: send a list of ids"))?;
    let read: Vec<_> = ids.iter().map(|written| LeadId::read(written)).collect();
    let valid: BTreeSet<LeadId> = read.iter().flatten().map(|read| read.id).collect();
    let exist = ask(call.service(), &valid).await;
    let told: Vec<Value> = ids
        .iter()
        .zip(&read)
        .map(|(written, read)| match read {
            Ok(read) => json!({
                "lead_id": written, "valid": true, "id": read.id, "repaired": read.repaired,
                "exists": exist.has(&read.id),
            }),
            Err(fault) => json!({
                "lead_id": cut(written), "valid": false, "fault": fault.as_str(), "reason": fault.to_string(),
            }),
        })
        .collect();
    let good = read.iter().flatten().count();
    let data = json!({
        "results": told,
        "total_lead_ids": ids.len(),
        "valid_count": good,
        "format_invalid_count": ids.len() - good,
        "sf_invalid_count": exist.missing(&valid).map(|missing| missing.len()),
        "unique_count": valid.len(),
        "existence": exist.told(),
    });
    Ok(success(format!("{good} of {} ids have the form of a Lead's", ids.len()), data))
}

/// Which leads the org has.
enum Existence {
    Known(BTreeSet<String>),
    Unknown { why: String },
}

impl Existence {
    fn not_asked(why: String) -> Self {
        Self::Unknown { why }
    }

    /// `None`: it is not known.
    fn has(&self, id: &LeadId) -> Option<bool> {
        match self {
            Self::Known(found) => Some(found.contains(id.as_str())),
            Self::Unknown { .. } => None,
        }
    }

    fn missing<'a>(&self, ids: impl IntoIterator<Item = &'a LeadId>) -> Option<Vec<LeadId>> {
        let Self::Known(found) = self else { return None };
        Some(ids.into_iter().filter(|id| !found.contains(id.as_str())).copied().collect())
    }

    fn told(&self) -> Value {
        match self {
            Self::Known(_) => json!({ "checked": true }),
            Self::Unknown { why } => json!({ "checked": false, "why": why }),
        }
    }
}

/// Asks the org which of these it has. An org that does not answer leaves it open.
async fn ask(service: &Arc<dyn LeadService>, ids: &BTreeSet<LeadId>) -> Existence {
    let ids: Vec<LeadId> = ids.iter().copied().collect();
    let mut found = BTreeSet::new();
    for some in ids.chunks(IDS_A_QUESTION) {
        match found_of(service, some).await {
            Ok(ids) => found.extend(ids),
            Err(problem) => return Existence::Unknown { why: problem.to_string() },
        }
    }
    Existence::Known(found)
}

async fn found_of(service: &Arc<dyn LeadService>, ids: &[LeadId]) -> Result<Vec<String>, LeadProblem> {
    let list = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    let soql = format!("SELECT Id FROM Lead WHERE Id IN ({list}) LIMIT {}", ids.len());
    let found = service.query_ids(&soql, ids.len()).await?;
    Ok(found.ids)
}

/// The first rows whose id is none.
pub(super) async fn invalid_rows(
    call: &Call,
    file: &UploadedFile,
    sheet: Option<&str>,
    id_column: Option<&str>,
    most: usize,
) -> Result<Vec<InvalidRow>, Refused> {
    let (path, name) = (file.path_buf(), file.name.clone());
    let options = call.leads.sources.sheets.clone();
    let wanted = Wanted {
        sheet: sheet.map(str::to_owned),
        id_column: id_column.map(str::to_owned),
        valid: 0,
        invalid: most,
    };
    Ok(blocking(move || scan_at(&path, &name, &wanted, &options)).await??.invalid)
}

struct Wanted {
    sheet: Option<String>,
    id_column: Option<String>,
    /// Good ids to keep.
    valid: usize,
    /// Rows without one to keep.
    invalid: usize,
}

struct Scan {
    id_column: String,
    valid: BTreeSet<LeadId>,
    invalid: Vec<InvalidRow>,
}

fn scan(file: &UploadedFile, wanted: &Wanted, options: &OpenOptions) -> Result<Scan, SheetError> {
    scan_at(file.path(), &file.name, wanted, options)
}

fn scan_at(
    path: &std::path::Path,
    name: &str,
    wanted: &Wanted,
    options: &OpenOptions,
) -> Result<Scan, SheetError> {
    let mut workbook = Workbook::open(path, name, options)?;
    // The sheet and the column that a job would take.
    let (sheet, column) =
        sheets::find_ids(&mut workbook, wanted.sheet.as_deref(), wanted.id_column.as_deref())?;
    let mut found = Scan { id_column: column.header, valid: BTreeSet::new(), invalid: Vec::new() };
    let mut rows = workbook.rows(Some(&sheet))?;
    while let Some(row) = rows.next_row()? {
        let cell = row.cell(column.index);
        match read_id(cell) {
            Some(Ok(read)) if found.valid.len() < wanted.valid => {
                found.valid.insert(read.id);
            }
            Some(Err(fault)) if found.invalid.len() < wanted.invalid => {
                let (row, written) = (row.number, written_in(cell));
                found.invalid.push(InvalidRow { row, written, reason: fault.to_string() });
            }
            Some(_) | None => {}
        }
    }
    Ok(found)
}

/// Words that stand for nothing, as older exports have them.
fn is_blank(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || ["nan", "none", "null"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// The id in a cell; `None`: the cell is blank.
pub(super) fn read_id(cell: CellView<'_>) -> Option<Result<ReadId, IdFault>> {
    match cell {
        CellView::Empty => None,
        CellView::Text(text) if is_blank(text) => None,
        CellView::Text(text) if reads_as_number(text) => Some(Err(IdFault::Number)),
        CellView::Text(text) => Some(LeadId::read(text)),
        CellView::Number { .. } => Some(Err(IdFault::Number)),
        CellView::Bool(_) | CellView::Error(_) => Some(Err(IdFault::NotText)),
    }
}

/// What stands in a cell, as far as it is repeated.
pub(super) fn written_in(cell: CellView<'_>) -> String {
    match cell {
        CellView::Empty => String::new(),
        CellView::Text(text) | CellView::Error(text) => cut(text),
        CellView::Number { written, .. } => cut(written),
        CellView::Bool(value) => value.to_string(),
    }
}

fn cut(written: &str) -> String {
    written.chars().take(WRITTEN_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_looked_for_where_a_job_looks_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.xlsx");
        let mut book = rust_xlsxwriter::Workbook::new();
        for (name, id, hidden) in [
            ("Cover", "a title", false),
            ("Old", "00Q5g00000AbCdFEAV", true),
            ("Data", "00Q5g00000AbCdE", false),
        ] {
            let sheet = book.add_worksheet().set_name(name).unwrap().set_hidden(hidden);
            sheet.write_row(0, 0, ["Who", "Lead"]).unwrap();
            sheet.write_row(1, 0, ["x", id]).unwrap();
        }
        book.save(&path).unwrap();
        let options = OpenOptions::new(folder.path());
        let scan = |sheet: Option<&str>| {
            let wanted = Wanted { sheet: sheet.map(str::to_owned), id_column: None, valid: 9, invalid: 9 };
            scan_at(&path, "list.xlsx", &wanted, &options)
        };
        let found = scan(None).unwrap();
        let ids: Vec<&str> = found.valid.iter().map(LeadId::as_str).collect();
        assert_eq!((found.id_column.as_str(), ids), ("Lead", vec!["00Q5g00000AbCdEEAV"]));
        assert_eq!(scan(Some("Old")).unwrap().valid.len() + scan(Some("Old")).unwrap().invalid.len(), 1);
    }
}
