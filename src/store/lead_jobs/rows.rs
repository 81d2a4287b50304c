//! The rows of a sheet as bytes, a few hundred together: what stands in each, and for a lead its id.
//!
//! Promises: the first byte is the version; the ordinals of new leads are not written, for they follow one another.

use super::packed::{KEY_BYTES, Key, Unpack, Unreadable, put_number, put_text};
use crate::leads::{IdFault, Ordinal};

/// Rows in one piece: about a page of the database. Few in tests, so that a sheet has many pieces.
pub const CHUNK_ROWS: usize = if cfg!(test) { 30 } else { 350 };
/// Longest text of what is no id.
pub const WRITTEN_CHARACTERS: usize = 64;

const VERSION: u8 = 1;

const BLANK: u8 = 0;
const LEAD: u8 = 1;
const DUPLICATE: u8 = 2;
const INVALID: u8 = 3;
const KIND: u8 = 0b0000_0111;
const REPAIRED: u8 = 0b0000_1000;
/// Rows are left out before this one.
const GAP: u8 = 0b1000_0000;

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptRow {
    /// Without an id.
    Blank,
    /// The first of its lead.
    Lead {
        /// The lead.
        key: Key,
        /// Its place.
        ordinal: Ordinal,
        /// The id was repaired.
        repaired: bool,
    },
    /// Another of a lead.
    Duplicate {
        /// The lead's place.
        ordinal: Ordinal,
        /// Where it stands first.
        first_row: u32,
        /// The id was repaired.
        repaired: bool,
    },
    /// Without a usable id.
    Invalid {
        /// What stands there.
        written: String,
        /// What is wrong with it.
        fault: IdFault,
    },
}

/// Makes a piece.
#[derive(Debug)]
pub struct ChunkWriter {
    bytes: Vec<u8>,
    last_row: u64,
}

impl ChunkWriter {
    /// A piece after `last_row`.
    pub fn new(last_row: u64) -> Self {
        let mut bytes = Vec::with_capacity(CHUNK_ROWS * (KEY_BYTES + 2));
        bytes.push(VERSION);
        put_number(&mut bytes, last_row);
        Self { bytes, last_row }
    }

    /// Appends a row, which must come after the last one.
    pub fn put(&mut self, row: u64, kept: &KeptRow) {
        let (kind, repaired) = match kept {
            KeptRow::Blank => (BLANK, false),
            KeptRow::Lead { repaired, .. } => (LEAD, *repaired),
            KeptRow::Duplicate { repaired, .. } => (DUPLICATE, *repaired),
            KeptRow::Invalid { .. } => (INVALID, false),
        };
        let left_out = row.saturating_sub(self.last_row).saturating_sub(1);
        let gap = if left_out > 0 { GAP } else { 0 };
        self.bytes.push(kind | if repaired { REPAIRED } else { 0 } | gap);
        if left_out > 0 {
            put_number(&mut self.bytes, left_out);
        }
        self.last_row = row;
        match kept {
            KeptRow::Blank => {}
            KeptRow::Lead { key, .. } => self.bytes.extend_from_slice(key),
            KeptRow::Duplicate { ordinal, first_row, .. } => {
                put_number(&mut self.bytes, u64::from(*ordinal));
                put_number(&mut self.bytes, u64::from(*first_row));
            }
            KeptRow::Invalid { written, fault } => {
                let (code, length) = fault_code(*fault);
                self.bytes.push(code);
                put_number(&mut self.bytes, u64::from(length));
                put_text(&mut self.bytes, shortened(written));
            }
        }
    }

    /// The piece.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a piece row by row.
#[derive(Debug)]
pub struct ChunkReader<'b> {
    read: Unpack<'b>,
    row: u64,
    ordinal: Ordinal,
}

impl<'b> ChunkReader<'b> {
    /// Of a piece whose first new lead has this ordinal.
    pub fn new(bytes: &'b [u8], first_ordinal: Ordinal) -> Result<Self, Unreadable> {
        let mut read = Unpack::new(bytes);
        if read.byte()? != VERSION {
            return Err(Unreadable("rows have a version that this penstock does not know"));
        }
        let row = read.number()?;
        Ok(Self { read, row, ordinal: first_ordinal })
    }

    fn read_row(&mut self) -> Result<(u64, KeptRow), Unreadable> {
        let kind = self.read.byte()?;
        let left_out = if kind & GAP == 0 { 0 } else { self.read.number()? };
        self.row = self.row.checked_add(left_out + 1).ok_or(Unreadable("a row's number is too large"))?;
        let repaired = kind & REPAIRED != 0;
        let kept = match kind & KIND {
            BLANK => KeptRow::Blank,
            LEAD => {
                let ordinal = self.ordinal;
                self.ordinal = ordinal.wrapping_add(1);
                KeptRow::Lead { key: self.read.array()?, ordinal, repaired }
            }
            DUPLICATE => {
                let ordinal = self.read.small()?;
                KeptRow::Duplicate { ordinal, first_row: self.read.small()?, repaired }
            }
            INVALID => {
                let (code, length) = (self.read.byte()?, self.read.small()?);
                let fault = fault_of(code, length)?;
                KeptRow::Invalid { written: self.read.text()?.to_owned(), fault }
            }
            _ => return Err(Unreadable("a row is of no known kind")),
        };
        Ok((self.row, kept))
    }
}

impl Iterator for ChunkReader<'_> {
    type Item = Result<(u64, KeptRow), Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.read.is_empty()).then(|| self.read_row())
    }
}

fn shortened(written: &str) -> &str {
    written.char_indices().nth(WRITTEN_CHARACTERS).map_or(written, |(end, _)| &written[..end])
}

fn fault_code(fault: IdFault) -> (u8, u16) {
    match fault {
        IdFault::Number => (0, 0),
        IdFault::NotText => (1, 0),
        IdFault::Length(length) => (2, length),
        IdFault::Characters => (3, 0),
        IdFault::OtherObject => (4, 0),
        IdFault::Checksum => (5, 0),
        IdFault::CaseLost => (6, 0),
    }
}

fn fault_of(code: u8, length: u32) -> Result<IdFault, Unreadable> {
    Ok(match code {
        0 => IdFault::Number,
        1 => IdFault::NotText,
        2 => IdFault::Length(u16::try_from(length).unwrap_or(u16::MAX)),
        3 => IdFault::Characters,
        4 => IdFault::OtherObject,
        5 => IdFault::Checksum,
        6 => IdFault::CaseLost,
        _ => return Err(Unreadable("what is wrong with a row's id is of no known kind")),
    })
}
