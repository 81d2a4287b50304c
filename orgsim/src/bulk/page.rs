//! One page of a query's result, in pieces, with what faults make of it.

use super::{
    csv::{Dialect, RowWriter},
    locator::Locator,
};
use crate::{
    body::{Body, Chunk},
    faults::Fault,
    org::OrgData,
    query::Picked,
    tables::Kind,
};
use std::{ops::Range, sync::Arc};

/// Bytes after which a piece is handed on.
const PIECE_BYTES: usize = 256 << 10;

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flaws {
    /// The text ends within a quoted value.
    pub truncated: bool,
    /// One row in the middle lacks its last value.
    pub short_row: bool,
    /// Each row's last value has NUL bytes around it.
    pub nul_bytes: bool,
    /// Each text goes on in a second line, which has quotes in it.
    pub embedded_newlines: bool,
    /// The header counts one row too many.
    pub wrong_record_count: bool,
}

impl Flaws {
    /// The flaws that these faults cause.
    pub fn of(faults: &[Fault]) -> Self {
        let struck = |fault: &Fault| faults.contains(fault);
        Self {
            truncated: struck(&Fault::TruncatedCsv),
            short_row: struck(&Fault::ShortRow),
            nul_bytes: struck(&Fault::NulBytes),
            embedded_newlines: struck(&Fault::EmbeddedNewlines),
            wrong_record_count: struck(&Fault::WrongRecordCount),
        }
    }

    fn in_rows(self) -> bool {
        self.truncated || self.short_row || self.nul_bytes || self.embedded_newlines
    }
}

/// The rows of a page and where the next one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    pub rows: Range<u64>,
    pub next: Option<Locator>,
}

/// The page at a locator; `None` when it lies outside the result. Pure.
pub fn extent(total: u64, at: Locator, asked: Option<u64>, most: u64) -> Option<Extent> {
    if at.from > 0 && at.from >= total {
        return None;
    }
    let rows = at.rows.unwrap_or_else(|| asked.unwrap_or(most).min(most)).max(1);
    let to = at.from.saturating_add(rows).min(total);
    let next = (to < total).then_some(Locator { from: to, rows: at.rows });
    Some(Extent { rows: at.from..to, next })
}

/// The rows a statement found and how they are written.
pub struct RowSet {
    pub writer: RowWriter,
    pub picked: Picked,
    pub dialect: Dialect,
}

/// The pieces of one page's text, header row first.
pub struct Pieces {
    org: Arc<OrgData>,
    set: Arc<RowSet>,
    flaws: Flaws,
    /// Places in the result still to be written.
    rows: Range<u64>,
    /// The place at which a flaw of a single row strikes.
    middle: u64,
    header_due: bool,
}

impl Pieces {
    /// The page of these rows.
    pub fn new(org: Arc<OrgData>, set: Arc<RowSet>, flaws: Flaws, rows: Range<u64>) -> Self {
        let middle = rows.start + (rows.end - rows.start) / 2;
        Self { org, set, flaws, rows, middle, header_due: true }
    }

    /// Appends the next piece; false when there is none.
    pub fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        let from = out.len();
        if std::mem::take(&mut self.header_due) {
            self.set.writer.push_header(out, self.set.dialect);
            if self.flaws.truncated && self.rows.is_empty() {
                out.truncate(out.len() - self.set.dialect.line_ending.bytes().len() - 1);
            }
        }
        while out.len() - from < PIECE_BYTES {
            let Some(place) = self.rows.next() else { break };
            if self.flaws.in_rows() {
                self.push_flawed(out, place);
            } else {
                self.set.writer.push(out, &self.org, self.set.picked.at(place), self.set.dialect);
            }
        }
        out.len() > from
    }

    fn push_flawed(&mut self, out: &mut Vec<u8>, place: u64) {
        let struck = place == self.middle;
        let columns = self.set.writer.width() - usize::from(self.flaws.short_row && struck);
        let flaws = self.flaws;
        let change = |out: &mut Vec<u8>, from: usize, kind: Kind| {
            if flaws.embedded_newlines && matches!(kind, Kind::Text | Kind::LongText) && out.len() > from {
                out.extend_from_slice(b"\nand \"\"more\"\"");
            }
            if flaws.nul_bytes {
                out.insert(from, 0);
                out.push(0);
            }
        };
        let row = self.set.picked.at(place);
        self.set.writer.push_changed(out, &self.org, row, self.set.dialect, columns, &change);
        if self.flaws.truncated && struck {
            out.truncate(out.len() - self.set.dialect.line_ending.bytes().len() - 1);
            self.rows.end = self.rows.start;
        }
    }
}

/// The pieces as a body: one that fits a piece is whole at once, a larger one is made while it is sent.
pub fn body(mut pieces: Pieces) -> Body {
    let first = pieces.next().unwrap_or_default();
    if pieces.rows.is_empty() {
        return Body::from(first);
    }
    Body::streamed(std::iter::once(first).chain(pieces).map(Chunk::from))
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        self.push_next(&mut piece).then_some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::an_empty_result_has_one_page(0, 0, None, Some((0..0, None)))]
    #[case::all_in_one(10, 0, None, Some((0..10, None)))]
    #[case::as_asked(10, 0, Some(4), Some((0..4, Some(4))))]
    #[case::the_last(10, 8, Some(4), Some((8..10, None)))]
    #[case::exactly_to_the_end(8, 4, Some(4), Some((4..8, None)))]
    #[case::beyond(10, 10, Some(4), None)]
    #[case::never_more_than_the_org_gives(10_000, 0, Some(9_000), Some((0..1_000, Some(1_000))))]
    #[case::none_asked(10, 0, Some(0), Some((0..1, Some(1))))]
    fn a_page_spans(
        #[case] total: u64,
        #[case] from: u64,
        #[case] asked: Option<u64>,
        #[case] expected: Option<(Range<u64>, Option<u64>)>,
    ) {
        let found = extent(total, Locator::at(from), asked, 1_000);
        assert_eq!(found.map(|page| (page.rows, page.next.map(|next| next.from))), expected);
    }

    proptest! {
        #[test]
        fn following_the_locators_meets_every_row_once(total in 0u64..5_000, asked in 1u64..900) {
            let (mut at, mut seen) = (Locator::at(0), 0);
            loop {
                let page = extent(total, at, Some(asked), 800).unwrap();
                prop_assert_eq!(page.rows.start, seen);
                seen = page.rows.end;
                let Some(next) = page.next else { break };
                at = next;
            }
            prop_assert_eq!(seen, total);
        }
    }
}
