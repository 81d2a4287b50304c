//! What a file is, told from its first bytes: a name can lie, and often does.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::error::SheetError;

/// Bytes looked at.
const LOOKED_AT: u64 = 4_096;

/// The kinds of file that rows can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// An archive: a workbook of Excel 2007 or later, or anything else in a zip.
    Zip,
    /// A compound file: an older workbook, an encrypted newer one, or another document of an older Office.
    CompoundFile,
    /// Text, as far as the first bytes tell.
    Text,
}

/// What the file is; it is read from its beginning and left there.
pub(super) fn content(mut file: &File) -> Result<Content, SheetError> {
    let mut head = Vec::new();
    let read = (|| {
        file.seek(SeekFrom::Start(0))?;
        file.take(LOOKED_AT).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(0))
    })();
    read.map_err(|source| SheetError::Io { action: "cannot read the file", source })?;
    content_of(&head)
}

/// Files that people name `.xlsx`, `.xls` or `.csv` although they are something else.
const OTHERS: [(&[u8], &str, &str); 11] = [
    (b"%PDF-", "a PDF", "export the table as .xlsx or .csv"),
    (b"{\\rtf", "a rich text document", "copy the table into a workbook"),
    (b"\x1f\x8b", "packed by gzip", "unpack it first"),
    (b"BZh", "packed by bzip2", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x89PNG", "a picture", "send the rows themselves as .xlsx or .csv"),
    (b"\xff\xd8\xff", "a picture", "send the rows themselves as .xlsx or .csv"),
    (b"SQLite format 3\0", "a database", "export the table as .csv"),
    (b"PAR1", "a Parquet file", "export the table as .csv"),
];

/// What a file is that begins with these bytes.
fn content_of(head: &[u8]) -> Result<Content, SheetError> {
    if head.is_empty() {
        return Err(SheetError::EmptyFile);
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Content::Zip);
    }
    if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Ok(Content::CompoundFile);
    }
    if let Some(&(_, found, remedy)) = OTHERS.iter().find(|(start, ..)| head.starts_with(start)) {
        return Err(SheetError::OtherFile { found, remedy });
    }
    let text =
        String::from_utf8_lossy(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)).to_ascii_lowercase();
    let text = text.trim_start();
    let is_html = ["<!doctype html", "<html", "<head", "<body", "<table", "<meta", "<style", "<div"];
    if is_html.iter().any(|start| text.starts_with(start)) {
        return Err(SheetError::OtherFile {
            found: "a web page",
            remedy: "open it in a spreadsheet and save it as .xlsx or .csv",
        });
    }
    if text.starts_with("<?xml") {
        let is_html = text.contains("<html");
        return Err(SheetError::OtherFile {
            found: if is_html { "a web page" } else { "an XML document" },
            remedy: "open it in a spreadsheet and save it as .xlsx or .csv",
        });
    }
    Ok(Content::Text)
}
