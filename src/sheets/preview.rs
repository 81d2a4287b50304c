//! A first look into a file: its sheets, its columns, its first rows, how many there are, and which column holds the ids.

use std::path::Path;

use super::cell::OwnedCell;
use super::error::SheetError;
use super::id_column::{IdColumn, SAMPLE_ROWS, find_id_column, find_ids};
use super::{OpenOptions, SheetFormat, Workbook};

/// Rows shown.
pub const PREVIEW_ROWS: usize = 10;

/// A first look into a file.
#[derive(Debug, Clone)]
pub struct Preview {
    /// What the file is.
    pub format: SheetFormat,
    /// Its sheets.
    pub sheet_names: Vec<String>,
    /// The sheet looked into.
    pub sheet: String,
    /// The heads of its columns.
    pub headers: Vec<String>,
    /// Its first rows, blank ones included, each as wide as the head.
    pub preview_rows: Vec<Vec<OwnedCell>>,
    /// All its data rows, blank ones between others included.
    pub total_rows: u64,
    /// The column that holds the ids; `None` when none does.
    pub id_column: Option<IdColumn>,
}

/// Looks into a file: into the sheet named, or the first that has ids, or the first. All of it is read, for the number of
/// rows.
///
/// # Errors
/// When the file cannot be read: see [`SheetError`]. That no column is like ids is none.
pub fn preview(
    path: &Path,
    name: &str,
    sheet: Option<&str>,
    options: &OpenOptions,
) -> Result<Preview, SheetError> {
    let mut workbook = Workbook::open(path, name, options)?;
    let (format, sheet_names) = (workbook.format(), workbook.sheet_names().to_vec());
    let with_ids = match sheet {
        Some(_) => None,
        None => find_ids(&mut workbook, None, None).ok().map(|(sheet, _)| sheet),
    };
    let mut rows = workbook.rows(sheet.or(with_ids.as_deref()))?;
    let headers = rows.headers().to_vec();
    let sample = rows.sample(SAMPLE_ROWS)?;
    let mut total_rows = sample.len() as u64;
    while rows.next_row()?.is_some() {
        total_rows += 1;
    }
    let id_column = find_id_column(&headers, &sample, None).ok();
    let sheet = rows.sheet().to_owned();
    let preview_rows = sample.into_iter().take(PREVIEW_ROWS).collect();
    Ok(Preview { format, sheet_names, sheet, headers, preview_rows, total_rows, id_column })
}
