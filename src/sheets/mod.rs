//! Sheets: workbooks and delimited text, read row by row.
//!
//! Promises: memory does not grow with the number of rows (`.xls`, which `calamine` reads whole, is exempt); a file is judged
//! by its content first and by its name second; whatever a file holds, the answer is rows or a sentence that says what is
//! wrong with it, never a panic and never a row silently left out. Rows have the numbers that a spreadsheet shows.

mod cell;
mod delimited;
mod error;
mod id_column;
mod number_format;
mod preview;
pub mod report;
mod rows;
mod sniff;
mod xls;
mod xlsx;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use cell::{CellView, FormatId, OwnedCell, RowView};
pub use error::SheetError;
pub use id_column::{IdColumn, column_name, find_id_column, find_ids};
pub use preview::{PREVIEW_ROWS, Preview, preview};
pub use rows::Rows;

use delimited::DelimitedBook;
use sniff::Content;
use xls::XlsBook;
use xlsx::XlsxBook;

/// Rows that a sheet can have.
pub const MOST_ROWS: u64 = 1_048_576;
/// Columns that a sheet can have.
pub const MOST_COLUMNS: usize = 16_384;
/// Bytes that the texts of one row may have together.
const LONGEST_ROW: usize = 16 << 20;
/// The name of the one sheet that delimited text is.
const ONLY_SHEET: &str = "Sheet1";

/// What a file is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SheetFormat {
    /// Office Open XML.
    Xlsx,
    /// The binary format of Excel 97 to 2003.
    Xls,
    /// Delimited text.
    Csv,
    /// Delimited by tabs.
    Tsv,
}

impl SheetFormat {
    /// The usual extension, without a dot.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xlsx => "xlsx",
            Self::Xls => "xls",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
        }
    }
}

/// Bounds on what reading a file may take.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Where shared strings go that do not fit in memory. The file there has no name and goes with its reader.
    pub spill_folder: PathBuf,
    /// Memory for shared strings.
    pub memory_bytes: usize,
    /// The most bytes that any part of a workbook may unpack to.
    pub max_unpacked_bytes: u64,
    /// The most bytes that one packed byte of a part may unpack to.
    pub max_ratio: u64,
}

impl OpenOptions {
    /// 4 MiB for shared strings; parts of up to 2 GiB, each at most 300 times its packed size.
    pub fn new(spill_folder: impl Into<PathBuf>) -> Self {
        Self {
            spill_folder: spill_folder.into(),
            memory_bytes: 4 << 20,
            max_unpacked_bytes: 2 << 30,
            max_ratio: 300,
        }
    }
}

/// An open file with its sheets. Its rows can be read as often as one likes.
pub struct Workbook {
    format: SheetFormat,
    sheet_names: Vec<String>,
    book: Book,
}

enum Book {
    Xlsx(Box<XlsxBook>),
    Xls(Box<XlsBook>),
    Delimited(DelimitedBook),
}

impl std::fmt::Debug for Workbook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workbook")
            .field("format", &self.format)
            .field("sheets", &self.sheet_names.len())
            .finish()
    }
}

impl Workbook {
    /// Opens the file at `path`, which its owner calls `name`.
    ///
    /// # Errors
    /// When it is no workbook and no delimited text, or beyond the bounds: see [`SheetError`].
    pub fn open(path: &Path, name: &str, options: &OpenOptions) -> Result<Self, SheetError> {
        let file =
            File::open(path).map_err(|source| SheetError::Io { action: "cannot open the file", source })?;
        match sniff::content(&file)? {
            Content::Zip => {
                let book = XlsxBook::open(file, options)?;
                Ok(Self {
                    format: SheetFormat::Xlsx,
                    sheet_names: book.sheet_names(),
                    book: Book::Xlsx(Box::new(book)),
                })
            }
            Content::CompoundFile => {
                let book = XlsBook::open(file)?;
                Ok(Self {
                    format: SheetFormat::Xls,
                    sheet_names: book.sheet_names(),
                    book: Book::Xls(Box::new(book)),
                })
            }
            Content::Text => {
                let book = DelimitedBook::open(file, name)?;
                let format = if book.delimiter() == b'\t' { SheetFormat::Tsv } else { SheetFormat::Csv };
                Ok(Self { format, sheet_names: vec![ONLY_SHEET.to_owned()], book: Book::Delimited(book) })
            }
        }
    }

    /// What the file is.
    pub fn format(&self) -> SheetFormat {
        self.format
    }

    /// The sheets that have rows, hidden ones included, in their order. Delimited text has one, `Sheet1`.
    pub fn sheet_names(&self) -> &[String] {
        &self.sheet_names
    }

    /// The sheet that [`Self::rows`] reads when none is named: the first that is not hidden.
    pub fn first_sheet(&self) -> Option<&str> {
        let place = (0..self.sheet_names.len()).find(|&place| !self.is_hidden(place)).unwrap_or_default();
        self.sheet_names.get(place).map(String::as_str)
    }

    fn is_hidden(&self, place: usize) -> bool {
        match &self.book {
            Book::Xlsx(book) => book.is_hidden(place),
            Book::Xls(book) => book.is_hidden(place),
            Book::Delimited(_) => false,
        }
    }

    /// The sheets that are not hidden; the first of all when every one is.
    fn sheets_to_look_into(&self) -> Vec<String> {
        let names = self.sheet_names.iter().enumerate();
        let mut shown: Vec<String> =
            names.filter(|&(place, _)| !self.is_hidden(place)).map(|(_, name)| name.clone()).collect();
        if shown.is_empty() {
            shown.extend(self.sheet_names.first().cloned());
        }
        shown
    }

    /// Starts reading a sheet: its first row with anything in it is the head. `None` is [`Self::first_sheet`]. A name is
    /// found whatever the case of its letters.
    ///
    /// # Errors
    /// When there is no such sheet, it is empty, or its file is faulty.
    pub fn rows(&mut self, sheet: Option<&str>) -> Result<Rows<'_>, SheetError> {
        let name = match sheet {
            Some(wanted) => self.sheet_called(wanted)?.to_owned(),
            None => self.first_sheet().ok_or(SheetError::NoSheets)?.to_owned(),
        };
        let place = self.sheet_names.iter().position(|found| *found == name).unwrap_or_default();
        match &mut self.book {
            Book::Xlsx(book) => Rows::start(rows::Source::Xlsx(Box::new(book.rows(place)?)), &name),
            Book::Xls(book) => Rows::start(rows::Source::Xls(book.rows(place)?), &name),
            Book::Delimited(book) => Rows::start(rows::Source::Delimited(Box::new(book.rows()?)), &name),
        }
    }

    /// The sheet's own spelling of its name.
    fn sheet_called(&self, wanted: &str) -> Result<&str, SheetError> {
        let same = |name: &&String| name.as_str() == wanted;
        let alike = |name: &&String| name.trim().to_lowercase() == wanted.trim().to_lowercase();
        if let Some(name) = self.sheet_names.iter().find(same).or_else(|| self.sheet_names.iter().find(alike))
        {
            return Ok(name);
        }
        if matches!(self.book, Book::Delimited(_)) && wanted.trim().is_empty() {
            return Ok(ONLY_SHEET);
        }
        let found = self.sheet_names.clone();
        let without_rows = match &self.book {
            Book::Xlsx(book) => book.kind_without_rows(wanted),
            Book::Xls(book) => book.kind_without_rows(wanted),
            Book::Delimited(_) => None,
        };
        Err(match without_rows {
            Some(kind) => SheetError::SheetWithoutRows { sheet: wanted.to_owned(), kind, found },
            None => SheetError::NoSuchSheet { wanted: wanted.to_owned(), found },
        })
    }
}

#[cfg(test)]
mod tests;
