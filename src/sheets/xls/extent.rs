//! How far the sheets of an older workbook reach, told from its records before anybody makes room for their cells.
//!
//! `calamine` makes room for the rectangle that a sheet's cells span, and for the one that the sheet says it spans: two
//! cells in opposite corners, or one lie, would take all the memory there is.

use super::compound::{u16_at, u32_at};

/// Cells that the sheets of a workbook may span together.
const MOST_CELLS: u64 = 8_000_000;
/// Cells of the widest and longest sheet of that time.
const MOST_SAID: u64 = 65_536 * 256;
/// Sheets looked at.
const MOST_SHEETS: usize = 1_000;

const BEGIN: u16 = 0x0809;
const END: u16 = 0x000a;
const SHEET: u16 = 0x0085;
const DIMENSIONS: u16 = 0x0200;
const SEVERAL_NUMBERS: u16 = 0x00bd;
/// Formula, number, label, truth value or error, rich label, shared label, small number.
const CELLS: [u16; 7] = [0x0006, 0x0203, 0x0204, 0x0205, 0x00d6, 0x00fd, 0x027e];

/// Why the sheets of this workbook should not be read; `None` when they may.
pub(super) fn fault_in(workbook: &[u8]) -> Option<String> {
    let sheets: Vec<usize> = records(workbook, 0)
        .take_while(|&(kind, _)| kind != END)
        .filter(|&(kind, _)| kind == SHEET)
        .filter_map(|(_, content)| u32_at(content, 0))
        .map(|at| at as usize)
        .collect();
    if sheets.len() > MOST_SHEETS {
        return Some(format!("it has more than {MOST_SHEETS} sheets"));
    }
    let mut cells = 0;
    for at in sheets {
        if at > workbook.len() {
            return Some("a sheet begins behind its end".to_owned());
        }
        match extent(workbook, at) {
            Ok(extent) => cells += extent,
            Err(fault) => return Some(fault),
        }
        if cells > MOST_CELLS {
            return Some(format!("its sheets span more than {MOST_CELLS} cells"));
        }
    }
    None
}

/// Cells in the rectangle that a sheet's cells span.
fn extent(workbook: &[u8], at: usize) -> Result<u64, String> {
    let (mut rows, mut columns) = ((u64::MAX, 0), (u64::MAX, 0));
    let mut within = 0_u32;
    for (kind, content) in records(workbook, at) {
        match kind {
            BEGIN => within += 1,
            END if within <= 1 => break,
            END => within -= 1,
            DIMENSIONS => check_said(content)?,
            _ if kind == SEVERAL_NUMBERS || CELLS.contains(&kind) => {
                let (Some(row), Some(column)) = (u16_at(content, 0), u16_at(content, 2)) else { continue };
                let last = match kind {
                    SEVERAL_NUMBERS => u16_at(content, content.len() - 2).unwrap_or(column).max(column),
                    _ => column,
                };
                rows = (rows.0.min(row.into()), rows.1.max(row.into()));
                columns = (columns.0.min(column.into()), columns.1.max(last.into()));
            }
            _ => {}
        }
    }
    Ok(if rows.0 > rows.1 { 0 } else { (rows.1 - rows.0 + 1) * (columns.1 - columns.0 + 1) })
}

/// What a sheet says that it spans: from the first row to behind the last, and the same of columns.
fn check_said(content: &[u8]) -> Result<(), String> {
    let said = if content.len() == 10 {
        let number = |at| u16_at(content, at).map(u64::from);
        (number(0), number(2), number(6))
    } else {
        let number = |at| u32_at(content, at).map(u64::from);
        (number(0), number(4), u16_at(content, 10).map(u64::from))
    };
    let (Some(first), Some(behind), Some(columns)) = said else { return Ok(()) };
    if behind * columns > MOST_SAID || (behind > 0 && columns > 0 && first >= behind) {
        return Err("a sheet says that it spans what no sheet can".to_owned());
    }
    Ok(())
}

/// Records from a place on, as far as they are whole.
fn records(stream: &[u8], at: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = stream.get(at..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, length) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
        let content = rest.get(4..4 + length)?;
        rest = &rest[4 + length..];
        Some((kind, content))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &(content.len() as u16).to_le_bytes(), content].concat()
    }

    fn cell(row: u16, column: u16) -> Vec<u8> {
        record(0x0203, &[&row.to_le_bytes()[..], &column.to_le_bytes(), &[0; 10]].concat())
    }

    /// A workbook of one sheet with these records.
    fn workbook(records: &[Vec<u8>]) -> Vec<u8> {
        let globals = [record(BEGIN, &[0; 16]), record(SHEET, &[0; 8]), record(END, &[])].concat();
        let at = (globals.len() as u32).to_le_bytes();
        let sheet = record(SHEET, &[&at[..], &[0; 4]].concat());
        let globals = [record(BEGIN, &[0; 16]), sheet, record(END, &[])].concat();
        [globals, record(BEGIN, &[0; 16]), records.concat(), record(END, &[])].concat()
    }

    #[test]
    fn two_cells_in_opposite_corners_are_refused_and_a_full_column_is_not() {
        assert_eq!(fault_in(&workbook(&[cell(0, 0), cell(65_535, 100)])), None);
        let fault = fault_in(&workbook(&[cell(0, 0), cell(65_535, 255)]));
        assert_eq!(fault.as_deref(), Some("its sheets span more than 8000000 cells"));
        let several = record(SEVERAL_NUMBERS, &[0xff, 0xff, 0, 0, 0xff, 0xff]);
        assert!(fault_in(&workbook(&[cell(0, 0), several])).is_some());
        // An embedded chart has records of its own, which end before the sheet does.
        let chart = [record(BEGIN, &[0; 16]), record(END, &[])].concat();
        assert!(fault_in(&workbook(&[chart, cell(0, 0), cell(65_535, 65_535)])).is_some());
    }

    #[test]
    fn a_sheet_is_not_believed_to_be_larger_than_a_sheet_can_be() {
        let said = |first: u32, behind: u32, columns: u16| {
            let rows = [first.to_le_bytes(), behind.to_le_bytes()].concat();
            fault_in(&workbook(&[record(
                DIMENSIONS,
                &[&rows[..], &[0, 0], &columns.to_le_bytes(), &[0, 0]].concat(),
            )]))
        };
        assert_eq!(said(0, 0, 0), None);
        assert_eq!(said(0, 65_536, 256), None);
        assert!(said(0, u32::MAX, 1).is_some());
        assert!(said(0, 65_536, 257).is_some());
        assert!(said(7, 7, 1).is_some());
    }

    #[test]
    fn a_sheet_behind_the_end_is_refused() {
        let globals = [record(BEGIN, &[0; 16]), record(SHEET, &[0xff; 8]), record(END, &[])].concat();
        assert!(fault_in(&globals).is_some());
    }
}
