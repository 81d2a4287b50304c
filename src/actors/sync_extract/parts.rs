//! From rows as the org gives them to parts as a warehouse takes them. The hot path: no allocation for a row or a cell.
//!
//! Promises: the parts of a page are cut by what is in the page alone, so that the same page gives the same parts; a row is in
//! a part whole, or in the reject file; a number with more places behind the point than its column has is rounded, as every
//! engine would, and counted; one with more digits before the point is rejected, as is a row without its key. Keys of a
//! page's rejected rows are a part of their own.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use super::reject::Rejects;
use super::{ExtractAsk, ExtractError, KEYS_FROM, PARTS_PER_PAGE, Wanted};
use crate::salesforce::rows::{self, Column, ColumnKind, Columns, Row, epoch_days};
use crate::sync::{ColumnType, LoadMode, PartNumber, SPARED_FROM};
use crate::warehouse::{Cell, PartSource, RowChunk};

/// A part is cut at this many bytes, too: rows can be long.
const PART_BYTES: usize = 6 << 20;
/// What a row's text is taken to need before anything is known of it.
const TEXT_GUESS: usize = 256;

/// A part that is whole.
pub(super) struct Part {
    pub(super) number: PartNumber,
    pub(super) chunk: RowChunk,
}

/// A decimal column: how many digits fit on each side of the point.
#[derive(Debug, Clone, Copy)]
struct Digits {
    /// Its place in the rows.
    from: usize,
    /// Its place in the parts.
    to: usize,
    whole: usize,
    behind: usize,
}

/// What a page's rows become.
pub(super) struct PartMaker {
    wanted: Wanted,
    /// Of each cell of a part: where its value is in the rows, and what it is.
    cells: Vec<(usize, ColumnType)>,
    names: Vec<String>,
    /// The key's place in the rows.
    key: usize,
    /// The place of the record's id, where the rows have it: it may be told, for an id is nobody's data.
    id: Option<usize>,
    key_kind: ColumnType,
    /// Keys of the page's rejected rows; `None` where the load takes out no row for want of it.
    spared: Option<RowChunk>,
    decimals: Vec<Digits>,
    part_rows: usize,
    page: u32,
    piece: u32,
    /// A page is one part, given out in pieces.
    is_for_file: bool,
    /// Rows that the page is expected to have.
    expected: usize,
    chunk: RowChunk,
    /// Rows of this part, those rejected included: where the next one is cut.
    rows_seen: usize,
    /// Numbers of the row in hand that were rounded, by their place in the part.
    rounded: Vec<(usize, String)>,
    rounded_counts: Vec<u64>,
    text_bytes: usize,
    ready: VecDeque<Part>,
}

/// The columns to ask for, in the order of the layout; the key alone for keys.
pub(super) fn columns_of(ask: &ExtractAsk) -> Result<Columns, ExtractError> {
    let bad = |why: String| ExtractError::BadPlan { load: ask.plan.id.clone(), why };
    if ask.plan.layout.key >= ask.plan.layout.columns.len() {
        return Err(bad("its key is none of its columns".to_owned()));
    }
    let columns = wanted_columns(ask).map(|index| {
        let column = &ask.plan.layout.columns[index];
        Column::new(column.field.as_str(), kind_of(column.kind))
    });
    Ok(Columns::new(columns.collect()).map_err(|error| bad(error.to_string()))?.keeping_bad())
}

/// Places in the layout of what is asked for.
fn wanted_columns(ask: &ExtractAsk) -> std::ops::Range<usize> {
    let layout = &ask.plan.layout;
    match ask.wanted {
        Wanted::Rows => 0..layout.columns.len(),
        Wanted::Keys => layout.key..layout.key + 1,
    }
}

pub(super) fn kind_of(kind: ColumnType) -> ColumnKind {
    match kind {
        ColumnType::Id => ColumnKind::Id,
        ColumnType::Text => ColumnKind::Text,
        ColumnType::Boolean => ColumnKind::Boolean,
        ColumnType::Int => ColumnKind::Int,
        ColumnType::Decimal { .. } => ColumnKind::Decimal,
        ColumnType::Date => ColumnKind::Date,
        ColumnType::Time => ColumnKind::Time,
        ColumnType::DateTime => ColumnKind::DateTime,
        ColumnType::Json => ColumnKind::Json,
    }
}

impl PartMaker {
    /// For rows that come in the order of `columns`, which has every wanted column under its name.
    pub(super) fn new(ask: &ExtractAsk, columns: &Columns) -> Result<Self, ExtractError> {
        let layout = &ask.plan.layout;
        let place_of = |field: &str| {
            let known = columns.as_slice().iter().position(|known| known.name.eq_ignore_ascii_case(field));
            known.ok_or_else(|| ExtractError::BadPlan {
                load: ask.plan.id.clone(),
                why: format!("its rows have no `{field}`"),
            })
        };
        let (mut cells, mut decimals, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for column in &layout.columns[wanted_columns(ask)] {
            let from = place_of(&column.field)?;
            if let ColumnType::Decimal { precision, scale } = column.kind {
                let (whole, behind) = (usize::from(precision.saturating_sub(scale)), usize::from(scale));
                decimals.push(Digits { from, to: cells.len(), whole, behind });
            }
            cells.push((from, column.kind));
            names.push(column.field.clone());
        }
        let key = &layout.columns[layout.key];
        let spares =
            ask.wanted == Wanted::Rows && matches!(ask.plan.mode, LoadMode::Upsert | LoadMode::Replace);
        Ok(Self {
            wanted: ask.wanted,
            key: place_of(&key.field)?,
            id: place_of("Id").ok(),
            key_kind: key.kind,
            spared: spares.then(|| RowChunk::new(1)),
            decimals,
            part_rows: ask.part_rows.max(1),
            page: 0,
            piece: 0,
            is_for_file: false,
            expected: 0,
            chunk: RowChunk::new(cells.len()),
            rows_seen: 0,
            rounded: Vec::new(),
            rounded_counts: vec![0; cells.len()],
            text_bytes: 0,
            ready: VecDeque::new(),
            cells,
            names,
        })
    }

    /// Every page is one part, whose pieces all have its number: for files.
    pub(super) fn for_files(mut self) -> Self {
        self.is_for_file = true;
        self
    }

    /// A page begins, from its first row; what is left of another is dropped. `expected` rows, about.
    pub(super) fn begin_page(&mut self, page: u32, expected: u64) {
        (self.page, self.piece, self.rows_seen) = (page, 0, 0);
        self.expected = usize::try_from(expected).unwrap_or(usize::MAX);
        self.chunk.clear();
        self.ready.clear();
        if let Some(spared) = &mut self.spared {
            spared.clear();
        }
    }

    /// The number of the piece in hand.
    fn number(&self) -> PartNumber {
        let piece = if self.is_for_file { 0 } else { self.piece };
        let within = self.page.saturating_mul(PARTS_PER_PAGE).saturating_add(piece);
        PartNumber(match self.wanted {
            Wanted::Rows => within.min(KEYS_FROM - 1),
            Wanted::Keys => KEYS_FROM.saturating_add(within),
        })
    }

    /// Takes a row.
    pub(super) fn take(&mut self, row: &Row<'_>, rejects: &mut Rejects) -> Result<(), ExtractError> {
        match self.misfit(row) {
            None => self.push(row),
            Some((column, reason)) => self.reject(row, &column, &reason, rejects)?,
        }
        self.rows_seen += 1;
        let is_full = self.rows_seen >= self.part_rows
            || (self.rows_seen.is_multiple_of(32) && self.chunk.bytes() >= PART_BYTES);
        if is_full && (self.is_for_file || self.piece + 1 < PARTS_PER_PAGE) {
            self.cut();
        }
        Ok(())
    }

    /// The page is whole.
    pub(super) fn end_page(&mut self) {
        self.cut();
        if let Some(spared) = self.spared.as_mut().filter(|spared| !spared.is_empty()) {
            let number = PartNumber(SPARED_FROM.saturating_add(self.page.saturating_mul(PARTS_PER_PAGE)));
            let chunk = std::mem::replace(spared, RowChunk::new(1));
            self.ready.push_back(Part { number, chunk });
        }
    }

    /// The next part that is whole.
    pub(super) fn next_part(&mut self) -> Option<Part> {
        self.ready.pop_front()
    }

    /// Whether a part is whole.
    pub(super) fn has_part(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What was rounded, a sentence for each column.
    pub(super) fn notes(&self) -> Vec<String> {
        let counts = self.rounded_counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts
            .map(|(to, count)| {
                let scale = match self.cells[to].1 {
                    ColumnType::Decimal { scale, .. } => scale,
                    _ => 0,
                };
                let name = &self.names[to];
                format!("{count} values of `{name}` have more places than its {scale} and were rounded")
            })
            .collect()
    }

    fn cut(&mut self) {
        if !self.chunk.is_empty() {
            // Parts of one object are alike: the next one takes about the same room.
            let text = self.chunk.bytes() / self.chunk.rows().max(1);
            self.text_bytes = text.saturating_sub(16 * self.cells.len()).max(16);
            let chunk = std::mem::replace(&mut self.chunk, RowChunk::new(self.cells.len()));
            self.ready.push_back(Part { number: self.number(), chunk });
        }
        self.expected = self.expected.saturating_sub(self.rows_seen);
        self.piece += 1;
        self.rows_seen = 0;
    }

    #[inline]
    fn push(&mut self, row: &Row<'_>) {
        if self.chunk.is_empty() {
            let rows = self.part_rows.min(self.expected.max(16));
            let text = if self.text_bytes == 0 { TEXT_GUESS } else { self.text_bytes + self.text_bytes / 8 };
            self.chunk = RowChunk::with_room(self.cells.len(), rows, (rows * text).min(PART_BYTES));
        }
        let Self { chunk, cells, rounded, .. } = self;
        if rounded.is_empty() {
            chunk.push(cells.iter().map(|(from, kind)| cell_of(row.cell(*from), *kind)));
            return;
        }
        chunk.push(cells.iter().enumerate().map(|(to, (from, kind))| {
            match rounded.iter().find(|(place, _)| *place == to) {
                Some((_, number)) => Cell::Decimal(number),
                None => cell_of(row.cell(*from), *kind),
            }
        }));
        for (to, _) in rounded.drain(..) {
            self.rounded_counts[to] += 1;
        }
    }

    /// The column that a row does not fit, and why.
    fn misfit(&mut self, row: &Row<'_>) -> Option<(String, String)> {
        if row.has_bad()
            && let Some(told) = self.bad_cell(row)
        {
            return Some(told);
        }
        if matches!(row.cell(self.key), None | Some(rows::Cell::Null)) {
            let name = row.columns().as_slice().get(self.key)?.name.clone();
            return Some((name, "it is empty, and identifies the row".to_owned()));
        }
        self.rounded.clear();
        for index in 0..self.decimals.len() {
            let digits = self.decimals[index];
            let Some(rows::Cell::Decimal(Cow::Borrowed(text))) = row.cell(digits.from) else { continue };
            let unsigned = text.strip_prefix('-').unwrap_or(text);
            let whole = unsigned.find('.').unwrap_or(unsigned.len());
            if whole <= digits.whole && unsigned.len() <= whole + 1 + digits.behind {
                continue;
            }
            let rounded = rounded(text, digits.behind);
            if whole_digits(&rounded) > digits.whole {
                self.rounded.clear();
                let room = digits.whole + digits.behind;
                let reason = format!(
                    "{} digits before the point, the column has room for {} of its {room}",
                    whole_digits(&rounded),
                    digits.whole
                );
                return Some((self.names[digits.to].clone(), reason));
            }
            if rounded != text {
                self.rounded.push((digits.to, rounded));
            }
        }
        None
    }

    #[cold]
    fn bad_cell(&self, row: &Row<'_>) -> Option<(String, String)> {
        // Columns that were not asked for may be what they like.
        let from = row.bad().find(|from| self.cells.iter().any(|(wanted, _)| wanted == from))?;
        let column = row.columns().as_slice().get(from)?;
        Some((column.name.clone(), format!("it holds no {}", column.kind)))
    }

    #[cold]
    fn reject(
        &mut self,
        row: &Row<'_>,
        column: &str,
        reason: &str,
        rejects: &mut Rejects,
    ) -> Result<(), ExtractError> {
        let key = match row.cell(self.key) {
            Some(rows::Cell::Text(key)) => Some(key),
            _ => None,
        };
        let id = match self.id.and_then(|at| row.cell(at)) {
            Some(rows::Cell::Text(id)) => Some(id),
            _ => None,
        };
        rejects.take(row, key.as_deref(), id.as_deref(), column, reason)?;
        let key = cell_of(row.cell(self.key), self.key_kind);
        if let Some(spared) = self.spared.as_mut().filter(|_| key != Cell::Null) {
            spared.push([key]);
        }
        Ok(())
    }
}

/// A value as the warehouse takes it.
#[inline]
fn cell_of(cell: Option<rows::Cell<'_>>, kind: ColumnType) -> Cell<'_> {
    match cell {
        None | Some(rows::Cell::Null) => Cell::Null,
        Some(rows::Cell::Boolean(value)) => Cell::Boolean(value),
        Some(rows::Cell::Int(value)) => Cell::Int(value),
        Some(rows::Cell::Decimal(text)) => Cell::Decimal(borrowed(text)),
        Some(rows::Cell::Text(text)) => Cell::Text(borrowed(text)),
        Some(rows::Cell::Date(date)) => Cell::Date(epoch_days(date)),
        Some(rows::Cell::DateTime(epoch_ms)) => Cell::DateTime(epoch_ms),
        Some(rows::Cell::Time(ms)) => Cell::Time(ms),
        // A field of a type that nobody knows is text, and may be a structure.
        Some(rows::Cell::Json(text)) if kind == ColumnType::Json => Cell::Json(borrowed(text)),
        Some(rows::Cell::Json(text)) => Cell::Text(borrowed(text)),
    }
}

/// Cells of a row borrow from it: there is never an owned one.
#[inline]
fn borrowed(text: Cow<'_, str>) -> &str {
    match text {
        Cow::Borrowed(text) => text,
        Cow::Owned(_) => "",
    }
}

/// Digits before the point; the 0 of `0.5` takes no room.
fn whole_digits(number: &str) -> usize {
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let whole = unsigned.split('.').next().unwrap_or_default();
    if whole == "0" { 0 } else { whole.len() }
}

/// A plain decimal with at most `behind` places, rounded half away from zero, in its plain shortest form.
fn rounded(number: &str, behind: usize) -> String {
    let (sign, unsigned) = match number.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", number),
    };
    let Some((whole, fraction)) = unsigned.split_once('.').filter(|(_, places)| places.len() > behind) else {
        return number.to_owned();
    };
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes().take(behind)).collect();
    let mut carries = fraction.as_bytes()[behind] >= b'5';
    for digit in digits.iter_mut().rev() {
        if !carries {
            break;
        }
        carries = *digit == b'9';
        *digit = if carries { b'0' } else { *digit + 1 };
    }
    let point = whole.len() + usize::from(carries);
    if carries {
        digits.insert(0, b'1');
    }
    let digits = String::from_utf8(digits).unwrap_or_default();
    let (whole, fraction) = digits.split_at(point.min(digits.len()));
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    match (whole, fraction) {
        ("0", "") => "0".to_owned(),
        (whole, "") => format!("{sign}{whole}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    }
}

/// What a part is put as.
pub(super) fn source_of(number: PartNumber, chunk: RowChunk) -> PartSource {
    match number.0 < KEYS_FROM {
        true => PartSource::Rows(Arc::new(chunk)),
        false => PartSource::Keys(Arc::new(chunk)),
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
