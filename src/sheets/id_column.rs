//! Which column holds the ids.

use super::cell::OwnedCell;
use super::error::SheetError;
use super::rows::lettered;
use super::{MOST_COLUMNS, Workbook};
use crate::leads::LeadId;

/// The column that holds the ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdColumn {
    /// Its index; the first column is 0.
    pub index: usize,
    /// Its head.
    pub header: String,
    /// Why it is this one, as a sentence.
    pub why: String,
}

/// Names that columns of Lead ids go by, the likeliest first, as [`plain`] tells them.
const NAMES: [&str; 8] =
    ["leadid", "leadid18", "leadid15", "salesforceid", "salesforceleadid", "sfid", "sfdcid", "id"];

/// Rows that the column of ids is guessed from.
pub(super) const SAMPLE_ROWS: usize = 100;

/// The sheet and the column that hold the ids: in the sheet named, or in the first of those not hidden that has such a
/// column.
///
/// # Errors
/// When none has one: what is wrong with the sheet named, or with the first.
pub fn find_ids(
    workbook: &mut Workbook,
    sheet: Option<&str>,
    column: Option<&str>,
) -> Result<(String, IdColumn), SheetError> {
    let candidates = workbook.sheets_to_look_into();
    let mut look_into = |sheet: &str| {
        let mut rows = workbook.rows(Some(sheet))?;
        let sample = rows.sample(SAMPLE_ROWS)?;
        Ok((rows.sheet().to_owned(), find_id_column(rows.headers(), &sample, column)?))
    };
    if let Some(sheet) = sheet {
        return look_into(sheet);
    }
    let mut first_fault = None;
    for sheet in candidates {
        match look_into(&sheet) {
            Ok(found) => return Ok(found),
            Err(fault) => {
                first_fault.get_or_insert(fault);
            }
        }
    }
    Err(first_fault.unwrap_or(SheetError::NoSheets))
}

/// What a column is called: its head, or where it has none its letter, as `Column B`. A column beyond the last head has
/// none: a title may stand where the heads were looked for.
pub fn column_name(headers: &[String], index: usize) -> String {
    headers.get(index).cloned().unwrap_or_else(|| lettered(index))
}

/// The column that `B` or `Column B` means.
fn by_letters(wanted: &str) -> Option<usize> {
    let wanted = wanted.trim().to_ascii_uppercase();
    let letters = wanted.strip_prefix("COLUMN ").unwrap_or(&wanted).trim();
    let is_column = (1..=3).contains(&letters.len()) && letters.bytes().all(|byte| byte.is_ascii_uppercase());
    if !is_column {
        return None;
    }
    let number = letters.bytes().fold(0, |number, byte| number * 26 + usize::from(byte - b'A') + 1);
    (number <= MOST_COLUMNS).then(|| number - 1)
}

/// The column named, by its head or its letter, or the one that holds most Lead ids in the sample, or the one whose head
/// says that it does. Columns that only the sample reaches count too.
///
/// # Errors
/// When no column has the name, or none is like ids: the sentence lists the columns.
pub fn find_id_column(
    headers: &[String],
    sample: &[Vec<OwnedCell>],
    wanted: Option<&str>,
) -> Result<IdColumn, SheetError> {
    let column = |index: usize, why: String| IdColumn { index, header: column_name(headers, index), why };
    let widest = sample.iter().map(Vec::len).max().map(|widest| widest.max(headers.len()));
    if let Some(wanted) = wanted {
        let same = headers.iter().position(|header| header == wanted.trim());
        let alike =
            || headers.iter().position(|header| header.to_lowercase() == wanted.trim().to_lowercase());
        // As far as the rows reach: `Key` is a column's letters too.
        let within = widest.unwrap_or(headers.len());
        let lettered = || by_letters(wanted).filter(|index| *index < within);
        return match same.or_else(alike).or_else(lettered) {
            Some(index) => Ok(column(index, "named".to_owned())),
            None => Err(SheetError::NoSuchColumn { wanted: wanted.to_owned(), found: headers.to_vec() }),
        };
    }
    let ids_in = |index: usize| {
        let is_id = |row: &&Vec<OwnedCell>| matches!(row.get(index), Some(OwnedCell::Text(text)) if LeadId::read(text).is_ok());
        sample.iter().filter(is_id).count()
    };
    let rank = |index: usize| {
        let name = plain(headers.get(index)?);
        NAMES.iter().position(|known| **known == name)
    };
    // Most ids; of as many, the better name; of as good ones, the first.
    let best = (0..widest.unwrap_or(headers.len()))
        .map(|index| (ids_in(index), rank(index), index))
        .max_by_key(|&(ids, rank, index)| (ids, std::cmp::Reverse((rank.unwrap_or(NAMES.len()), index))));
    match best {
        Some((ids @ 1.., _, index)) => {
            Ok(column(index, format!("{ids} of the first {} rows hold a Lead's id", sample.len())))
        }
        Some((0, Some(_), index)) => Ok(column(index, "its name says that it holds the ids".to_owned())),
        _ => Err(SheetError::NoIdColumn { found: headers.to_vec() }),
    }
}

/// Letters and digits alone, in lower case: `Lead ID` and `lead_id` are `leadid`.
fn plain(header: &str) -> String {
    header.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
