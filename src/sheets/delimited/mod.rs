//! Delimited text: which encoding and which delimiter it has, and its rows.
//!
//! Promises: constant memory. The encoding is what the whole file proves, not its beginning: UTF-16 by its mark or its
//! pattern, UTF-8 when every byte of the file is, Windows-1252 (of which Latin-1 is a part) otherwise.

pub(super) mod encoding;
pub(super) mod records;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use encoding_rs::Encoding;

use encoding::{Transcoder, prove_encoding};
use records::Records;

use super::cell::RowBuffer;
use super::error::SheetError;

/// Bytes that the delimiter is guessed from.
const SAMPLE: u64 = 64 * 1024;
/// Rows that it is guessed from.
const SAMPLE_ROWS: usize = 50;
/// What separates cells. Of as good ones the first is taken: the later ones are likelier within a text.
const DELIMITERS: [u8; 4] = [b'\t', b';', b'|', b','];

/// A file of delimited text.
pub(super) struct DelimitedBook {
    file: File,
    encoding: &'static Encoding,
    delimiter: u8,
    /// The first line is `sep=;`: a word to the spreadsheet, no row.
    has_hint: bool,
}

/// A pass over its rows.
pub(super) type DelimitedRows = Records<Transcoder<FromStart>>;

/// Reads a file from its beginning, wherever others are in it.
pub(super) struct FromStart {
    file: File,
    offset: u64,
}

impl FromStart {
    fn of(file: &File) -> Result<Self, SheetError> {
        Ok(Self { file: file.try_clone().map_err(cannot_read)?, offset: 0 })
    }
}

impl Read for FromStart {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(target, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl DelimitedBook {
    /// Finds out how the file is written; `name` tells tabs from commas where its rows do not.
    pub(super) fn open(file: File, name: &str) -> Result<Self, SheetError> {
        let encoding = prove_encoding(FromStart::of(&file)?)?;
        let mut sample = Vec::new();
        let text = Transcoder::of(FromStart::of(&file)?, encoding).map_err(cannot_read)?;
        text.take(SAMPLE).read_to_end(&mut sample).map_err(cannot_read)?;
        let is_whole = (sample.len() as u64) < SAMPLE;
        let name = name.to_ascii_lowercase();
        let prefers_tab = name.ends_with(".tsv") || name.ends_with(".tab");
        let hint = hinted_delimiter(&sample);
        let delimiter = hint.unwrap_or_else(|| guess_delimiter(&sample, is_whole, prefers_tab));
        Ok(Self { file, encoding, delimiter, has_hint: hint.is_some() })
    }

    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Whether the file begins with a byte order mark, by which some spreadsheets know what they read.
    pub(super) fn has_mark(&self) -> bool {
        let mut first = [0; 3];
        let read = self.file.read_at(&mut first, 0).unwrap_or(0);
        Encoding::for_bom(&first[..read]).is_some()
    }

    /// Starts a pass over the rows.
    pub(super) fn rows(&mut self) -> Result<DelimitedRows, SheetError> {
        let text = Transcoder::of(FromStart::of(&self.file)?, self.encoding).map_err(cannot_read)?;
        let mut records = Records::of(text, self.delimiter);
        if self.has_hint {
            records.skip_line()?;
        }
        Ok(records)
    }
}

fn cannot_read(source: io::Error) -> SheetError {
    SheetError::Io { action: "cannot read the file", source }
}

/// The delimiter that a first line `sep=;` names.
fn hinted_delimiter(sample: &[u8]) -> Option<u8> {
    let line = sample.split(|&byte| byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.get(..4)?.eq_ignore_ascii_case(b"sep=").then(|| &line[4..])? {
        [delimiter] if delimiter.is_ascii() && *delimiter != b'"' => Some(*delimiter),
        _ => None,
    }
}

/// The delimiter that cuts most rows into as many cells as the head has, and into many.
fn guess_delimiter(sample: &[u8], is_whole: bool, prefers_tab: bool) -> u8 {
    let score = |delimiter: u8| {
        let widths = widths_of(sample, is_whole, delimiter);
        let head = widths.first().copied().unwrap_or_default();
        widths.iter().filter(|&&width| width == head).count() * head.saturating_sub(1)
    };
    if prefers_tab && score(b'\t') > 0 {
        return b'\t';
    }
    let mut best = (0, if prefers_tab { b'\t' } else { b',' });
    for delimiter in DELIMITERS {
        let score = score(delimiter);
        if score > best.0 {
            best = (score, delimiter);
        }
    }
    best.1
}

/// How many cells the first rows have with a delimiter.
fn widths_of(sample: &[u8], is_whole: bool, delimiter: u8) -> Vec<usize> {
    let mut records = Records::of(sample, delimiter);
    let (mut widths, mut row) = (Vec::new(), RowBuffer::default());
    while widths.len() <= SAMPLE_ROWS {
        match records.read(&mut row) {
            Ok(Some(_)) => widths.push(row.slots.len()),
            // The sample may end within a row, and a quote is not one with every delimiter.
            Ok(None) | Err(_) => break,
        }
    }
    if !is_whole && widths.len() > 1 {
        widths.pop();
    }
    widths
}
