//! Why a sheet could not be read: each a sentence that names the place and the remedy.

use std::fmt::Write;
use std::io;

/// At most so many names are listed in a sentence.
const LISTED: usize = 40;
/// Each cut to so many characters.
const LISTED_CHARACTERS: usize = 60;

/// Why a sheet could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// The disk refused.
    #[error("{action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// No byte in it.
    #[error("the file is empty; save it again and send that")]
    EmptyFile,
    /// A sheet without any cell that holds something.
    #[error("sheet `{sheet}` is empty; name the sheet that has the rows")]
    EmptySheet {
        /// Its name.
        sheet: String,
    },
    /// No sheet at all.
    #[error("the workbook has no sheet with rows; save it again with one")]
    NoSheets,
    /// No sheet of this name.
    #[error("no sheet `{wanted}`; the sheets are {}", listed(found))]
    NoSuchSheet {
        /// The name asked for.
        wanted: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// A sheet that holds a chart, a dialog or macros.
    #[error("sheet `{sheet}` has no rows (it is a {kind}); the sheets with rows are {}", listed(found))]
    SheetWithoutRows {
        /// The name asked for.
        sheet: String,
        /// `chart sheet` and the like.
        kind: &'static str,
        /// The others.
        found: Vec<String>,
    },
    /// No column of this name.
    #[error("no column `{wanted}`; the columns found are {}", listed(found))]
    NoSuchColumn {
        /// The name asked for.
        wanted: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// No column that looks like ids.
    #[error(
        "no column holds Lead ids (15 or 18 characters from 00Q); name it, and delete rows that stand above the table's \
         heads; the columns found are {}",
        listed(found)
    )]
    NoIdColumn {
        /// Those there are.
        found: Vec<String>,
    },
    /// Encrypted.
    #[error(
        "the file is protected by a password; save it without one (File, Info, Protect Workbook) and send that"
    )]
    PasswordProtected,
    /// The file ends too early.
    #[error("the file ends in the middle of {part}: it was not copied whole; send it again")]
    Truncated {
        /// Which part of it.
        part: String,
    },
    /// The file breaks the rules of its format.
    #[error("{part} is damaged: {why}; open the file in a spreadsheet and save it again")]
    Damaged {
        /// Which part of the file.
        part: String,
        /// What is wrong.
        why: String,
    },
    /// Another kind of file.
    #[error("the file is {found}, no workbook and no list of rows; {remedy}")]
    OtherFile {
        /// What it is, with its article.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// More unpacked bytes than allowed.
    #[error(
        "{part} unpacks to more than {limit} bytes, which no list of leads needs; split the file, or raise the limit"
    )]
    TooLarge {
        /// Which part of the file.
        part: String,
        /// The limit.
        limit: u64,
    },
    /// A part that unpacks to a multiple of itself that no sheet reaches.
    #[error(
        "{part} unpacks to more than {limit} times its size, as a zip bomb does; save the rows in a new workbook"
    )]
    TooDense {
        /// Which part of the file.
        part: String,
        /// The limit.
        limit: u64,
    },
    /// A document type, which no workbook has and every XML bomb needs.
    #[error(
        "{part} declares a document type, which no spreadsheet writes; save the file again in a spreadsheet"
    )]
    DocumentType {
        /// Which part of the file.
        part: String,
    },
    /// A cell, or one row, beyond what a spreadsheet can hold.
    #[error("row {row}: {what} is longer than {limit} bytes; shorten it")]
    TooLong {
        /// The row.
        row: u64,
        /// `a cell` or `the row`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Zero bytes in text.
    #[error(
        "line {line} holds bytes of zero, so the file is no text or was damaged; save it again as CSV (UTF-8)"
    )]
    ZeroBytes {
        /// The line.
        line: u64,
    },
    /// A quote that nothing ends.
    #[error("row {row}: a quotation mark opens a cell and none closes it; close or double it")]
    UnclosedQuote {
        /// The row.
        row: u64,
    },
}

impl SheetError {
    pub(super) fn damaged(part: &str, why: impl Into<String>) -> Self {
        Self::Damaged { part: format!("`{part}`"), why: why.into() }
    }

    /// The file itself is at fault (or what was asked of it), not the machine: another try gives the same.
    pub fn is_about_the_file(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// `a`, `b` and 3 more.
fn listed(names: &[String]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().take(LISTED).enumerate() {
        let cut = match name.char_indices().nth(LISTED_CHARACTERS) {
            Some((end, _)) => format!("{}...", &name[..end]),
            None => name.clone(),
        };
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}`{cut}`");
    }
    if names.is_empty() {
        text.push_str("none");
    } else if names.len() > LISTED {
        let _ = write!(text, " and {} more", names.len() - LISTED);
    }
    text
}
