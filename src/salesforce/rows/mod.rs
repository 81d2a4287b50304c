//! Rows in one canonical form, whichever interface delivered them.
//!
//! Promises: the same row of the same columns becomes the same bytes from REST (`+0000`, JSON), Bulk 2.0
//! (`Z`, CSV) and Bulk 1.0 (milliseconds, JSON). Null and empty are one, as they are to the org. Numbers
//! never pass through a float: `1`, `1.0` and `1e0` of a decimal column are `1`, and no digit is lost.
//! Text is kept to the character, save NULs, which are left out, and halves of surrogate pairs, which
//! become U+FFFD. Points in time are told in UTC. Compounds are compact JSON with sorted keys. What is no
//! value of its column's kind is an error that names row and column and never the value, unless the columns say that such
//! rows are wanted ([`Columns::keeping_bad`]).
//!
//! Rows are read one at a time from borrowed bytes into slots that are used again, so memory does not grow
//! with the number of rows. A row is given out once it is whole and right. After an error the rows of that
//! page which were given out already must be dropped by whoever reads the page again.

mod columns;
mod csv;
mod error;
mod json;
mod rest;
mod row;
mod value;

#[cfg(test)]
mod equality_tests;

use std::ops::ControlFlow;

pub use columns::{Column, ColumnKind, Columns};
pub use csv::{CsvOptions, CsvRows, Delimiter};
pub use error::{Place, RowsError};
pub use rest::{BulkOneRows, RestPage, RestRows};
pub use row::{Cell, Row, epoch_days};

use row::Slot;
use value::{BadValue, Piece};

/// Receives rows; `Break` ends the reading with [`RowsError::Stopped`].
pub type RowSink<'s> = dyn FnMut(&Row<'_>) -> ControlFlow<()> + 's;

/// The row that is being read.
#[derive(Debug)]
struct RowInHand {
    columns: Columns,
    slots: Vec<Slot>,
    /// Text that could not stay as it was delivered.
    rewritten: String,
    /// Rows given out before this one.
    rows_done: u64,
}

impl RowInHand {
    fn new(columns: Columns, rows_done: u64) -> Self {
        let slots = vec![Slot::Missing; columns.len()];
        Self { columns, slots, rewritten: String::new(), rows_done }
    }

    fn number(&self) -> u64 {
        self.rows_done + 1
    }

    fn place(&self, column: Option<usize>) -> Place {
        Place { row: self.number(), column: column.map(|index| self.columns.name(index).to_owned()) }
    }

    /// Begins the next row.
    fn clear(&mut self) {
        self.slots.fill(Slot::Missing);
        self.rewritten.clear();
    }

    /// Stores a value that came as text.
    fn set_text(&mut self, index: usize, piece: Piece<'_>) -> Result<(), RowsError> {
        let mut slot = value::slot_of(self.columns.kind(index), piece, &mut self.rewritten);
        if slot.is_err() && self.columns.keeps_bad() {
            slot = Ok(Slot::Bad(piece.keep_all(&mut self.rewritten)));
        }
        self.set(index, slot)
    }

    fn set(&mut self, index: usize, slot: Result<Slot, BadValue>) -> Result<(), RowsError> {
        match slot {
            Ok(slot) => {
                self.slots[index] = slot;
                Ok(())
            }
            Err(BadValue) if self.columns.keeps_bad() => {
                self.slots[index] = Slot::Bad(row::Span { start: 0, end: 0, rewritten: true });
                Ok(())
            }
            Err(BadValue) => {
                Err(RowsError::BadValue { place: self.place(Some(index)), kind: self.columns.kind(index) })
            }
        }
    }

    /// Hands the row out and counts it.
    fn give(&mut self, source: &str, sink: &mut RowSink<'_>) -> Result<(), RowsError> {
        let row = Row {
            columns: &self.columns,
            slots: &self.slots,
            source,
            rewritten: &self.rewritten,
            number: self.number(),
        };
        let flow = sink(&row);
        self.rows_done += 1;
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RowsError::Stopped),
        }
    }
}
