//! Workbooks of Excel 97 to 2003, read whole by `calamine`.
//!
//! Promises: what is encrypted, another document, or wider than memory allows is told before it is read. Memory grows with
//! the file; its rows are at most 65,536.

mod compound;
mod extent;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{Data, ExcelDateTime, Range, Reader, SheetType, SheetVisible, Xls, XlsError};

use compound::CompoundFile;

use super::cell::{FormatId, RowBuffer, Slot};
use super::error::SheetError;

/// Formats by [`FormatId`]: `calamine` tells that a number is a date, not how it is shown.
const FORMATS: [&str; 4] = ["General", "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "[h]:mm:ss"];
const DAY: FormatId = FormatId(1);
const DAY_AND_TIME: FormatId = FormatId(2);
const SPAN: FormatId = FormatId(3);
/// Days from the beginning of 1900 to that of 1904, as spreadsheets count them.
const DAYS_TO_1904: f64 = 1_462.0;

/// A workbook, in memory.
pub(super) struct XlsBook {
    book: Xls<BufReader<File>>,
    /// Sheets with rows.
    sheets: Vec<(String, SheetVisible)>,
    /// Sheets without, and what they are.
    others: Vec<(String, &'static str)>,
    formats: Vec<String>,
}

/// A pass over a worksheet.
pub(super) struct XlsRows<'a> {
    formats: &'a [String],
    cells: Range<Data>,
    next: usize,
    counts_from_1904: bool,
}

impl XlsBook {
    /// Reads the workbook.
    pub(super) fn open(mut file: File) -> Result<Self, SheetError> {
        look_into(&mut file)?;
        // A damaged file must not take the process with it, whatever the reader makes of it.
        let read = catch_unwind(AssertUnwindSafe(|| Xls::new(BufReader::new(file))));
        let book = match read {
            Ok(Ok(book)) => book,
            Ok(Err(XlsError::Password)) => return Err(SheetError::PasswordProtected),
            Ok(Err(error)) => return Err(damaged(error.to_string())),
            Err(_) => return Err(damaged("its records contradict each other".to_owned())),
        };
        let (mut sheets, mut others) = (Vec::new(), Vec::new());
        for sheet in book.sheets_metadata() {
            match sheet.typ {
                SheetType::WorkSheet => sheets.push((sheet.name.clone(), sheet.visible)),
                SheetType::ChartSheet => others.push((sheet.name.clone(), "chart sheet")),
                SheetType::DialogSheet => others.push((sheet.name.clone(), "dialog sheet")),
                SheetType::MacroSheet | SheetType::Vba => others.push((sheet.name.clone(), "macro sheet")),
            }
        }
        if sheets.is_empty() {
            return Err(SheetError::NoSheets);
        }
        Ok(Self { book, sheets, others, formats: FORMATS.map(str::to_owned).to_vec() })
    }

    pub(super) fn sheet_names(&self) -> Vec<String> {
        self.sheets.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn is_hidden(&self, place: usize) -> bool {
        self.sheets.get(place).is_some_and(|(_, visible)| *visible != SheetVisible::Visible)
    }

    /// What a sheet is that has no rows.
    pub(super) fn kind_without_rows(&self, wanted: &str) -> Option<&'static str> {
        let wanted = wanted.trim().to_lowercase();
        self.others.iter().find(|(name, _)| name.trim().to_lowercase() == wanted).map(|&(_, kind)| kind)
    }

    /// Starts a pass over a sheet.
    pub(super) fn rows(&mut self, place: usize) -> Result<XlsRows<'_>, SheetError> {
        let Some((name, _)) = self.sheets.get(place) else { return Err(SheetError::NoSheets) };
        let cells = self.book.worksheet_range(name).map_err(|error| damaged(error.to_string()))?;
        let counts_from_1904 = self.book.has_1904_epoch();
        Ok(XlsRows { formats: &self.formats, cells, next: 0, counts_from_1904 })
    }
}

fn damaged(why: String) -> SheetError {
    SheetError::Damaged { part: "the workbook".to_owned(), why }
}

impl XlsRows<'_> {
    pub(super) fn number_formats(&self) -> &[String] {
        self.formats
    }

    /// Reads the next row that holds anything, and tells its number.
    pub(super) fn read(&mut self, row: &mut RowBuffer) -> Option<u64> {
        let (first_row, first_column) = self.cells.start()?;
        while self.next < self.cells.height() {
            row.clear();
            for (column, cell) in self.cells[self.next].iter().enumerate() {
                let slot = slot_of(cell, self.counts_from_1904, &mut row.text);
                if slot != Slot::Empty {
                    row.put(first_column as usize + column, slot);
                }
            }
            self.next += 1;
            if !row.is_blank() {
                return Some(u64::from(first_row) + self.next as u64);
            }
        }
        None
    }
}

/// Makes a cell of what `calamine` read.
fn slot_of(cell: &Data, counts_from_1904: bool, text: &mut String) -> Slot {
    let begin = text.len();
    let mut number = |value: f64, format: FormatId| {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}");
        Slot::Number { value, start: begin as u32, end: text.len() as u32, format }
    };
    match cell {
        Data::Empty => Slot::Empty,
        Data::Int(value) => number(*value as f64, FormatId::GENERAL),
        Data::Float(value) => number(*value, FormatId::GENERAL),
        Data::DateTime(date) => {
            let (value, format) = dated(date, counts_from_1904);
            number(value, format)
        }
        Data::Bool(value) => Slot::Bool(*value),
        Data::String(written) | Data::DateTimeIso(written) | Data::DurationIso(written)
            if written.is_empty() =>
        {
            Slot::Empty
        }
        Data::String(written) | Data::DateTimeIso(written) | Data::DurationIso(written) => {
            text.push_str(written);
            Slot::Text { start: begin as u32, end: text.len() as u32 }
        }
        Data::Error(code) => {
            text.push_str(&code.to_string());
            Slot::Error { start: begin as u32, end: text.len() as u32 }
        }
    }
}

/// A date counted from 1900, and how it is shown.
fn dated(date: &ExcelDateTime, counts_from_1904: bool) -> (f64, FormatId) {
    let mut value = date.as_f64();
    if date.is_duration() {
        return (value, SPAN);
    }
    // Below 1 it is a time of day, which has no year to count from.
    if counts_from_1904 && value >= 1.0 {
        value += DAYS_TO_1904;
    }
    (value, if value.fract() == 0.0 { DAY } else { DAY_AND_TIME })
}

/// Looks into a compound file, and refuses what is no workbook and what would take more memory than any.
fn look_into(file: &mut File) -> Result<(), SheetError> {
    let mut bytes = Vec::new();
    let read = (|| {
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        file.seek(SeekFrom::Start(0))
    })();
    read.map_err(|source| SheetError::Io { action: "cannot read the file", source })?;
    let Some(compound) = CompoundFile::open(&bytes) else {
        return Err(SheetError::Truncated { part: "its container".to_owned() });
    };
    if compound.has("EncryptedPackage") {
        return Err(SheetError::PasswordProtected);
    }
    let Some(name) = ["Workbook", "Book"].into_iter().find(|name| compound.has(name)) else {
        return Err(SheetError::OtherFile {
            found: "an older Office document without a workbook",
            remedy: "save its table as .xlsx or .csv",
        });
    };
    let Some(workbook) = compound.stream(name) else {
        return Err(SheetError::Truncated { part: "the workbook".to_owned() });
    };
    extent::fault_in(&workbook).map_or(Ok(()), |why| Err(damaged(why)))
}
