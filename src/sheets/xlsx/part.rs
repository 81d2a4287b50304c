//! One part of a workbook, unpacked and taken apart as it is read.
//!
//! Promises: no part gives more bytes than its bounds, whatever its header says; no piece of XML is held that is longer than
//! [`LONGEST_PIECE`]; elements nest no deeper than [`DEEPEST`]; a document type is refused, so no entity can be declared.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use crate::sheets::delimited::encoding::Transcoder;
use crate::sheets::error::SheetError;

/// Text of one cell, in bytes. A spreadsheet stops at 32,767 characters.
pub(super) const LONGEST_CELL: usize = 1 << 20;
/// Text, tag or comment of one piece. A long text comes in one.
const LONGEST_PIECE: u64 = 2 << 20;
/// Elements within elements. A sheet has six.
const DEEPEST: usize = 64;
/// Unpacked at a time.
const BUFFER: usize = 32 * 1024;
/// A part may be this long however well it was packed: blank rows pack a thousandfold.
const ALWAYS_ALLOWED: u64 = 4 << 20;

/// The archive that a workbook is.
pub(super) type Archive = ZipArchive<BufReader<File>>;

/// The bounds of every part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_unpacked_bytes: u64,
    pub(super) max_ratio: u64,
}

/// A breach of [`Bounds`], remembered while it travels through the XML reader as an I/O error.
#[derive(Debug, Clone, Copy)]
enum Breach {
    TooLarge(u64),
    TooDense(u64),
    LongPiece,
}

/// Unpacks a part and counts.
struct Unpacked<'a> {
    file: ZipFile<'a, BufReader<File>>,
    bounds: Bounds,
    packed: u64,
    unpacked: u64,
    breach: Option<Breach>,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(target)?;
        self.unpacked += read as u64;
        if self.unpacked > self.bounds.max_unpacked_bytes {
            self.breach = Some(Breach::TooLarge(self.bounds.max_unpacked_bytes));
        } else if self.unpacked > ALWAYS_ALLOWED && self.unpacked / self.bounds.max_ratio.max(1) > self.packed
        {
            self.breach = Some(Breach::TooDense(self.bounds.max_ratio));
        }
        if self.breach.is_some() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(read) }
    }
}

/// What the XML reader reads from.
struct Bounded<'a> {
    source: Transcoder<Unpacked<'a>>,
    buffer: Box<[u8]>,
    at: usize,
    filled: usize,
    /// Bytes of the piece being read.
    piece: u64,
    long_piece: bool,
}

impl Read for Bounded<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(target.len());
        target[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Bounded<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.filled {
            if self.piece > LONGEST_PIECE {
                self.long_piece = true;
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.filled = self.source.read(&mut self.buffer)?;
            self.at = 0;
        }
        Ok(&self.buffer[self.at..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
        self.piece += count as u64;
    }
}

/// The XML of one part.
pub(super) struct Xml<'a> {
    reader: Reader<Bounded<'a>>,
    buffer: Vec<u8>,
    depth: usize,
    part: String,
}

/// What stands next, as far as texts are concerned.
enum Piece {
    Text,
    Skipped,
    Run,
    End,
    Nothing,
}

impl<'a> Xml<'a> {
    /// Opens the part; `None` when there is none.
    pub(super) fn open(
        archive: &'a mut Archive,
        part: &str,
        bounds: Bounds,
    ) -> Result<Option<Self>, SheetError> {
        let Some(index) = index_of(archive, part) else { return Ok(None) };
        let file = match archive.by_index(index) {
            Ok(file) => file,
            Err(error) => return Err(archive_error(error, &format!("`{part}`"))),
        };
        let packed = file.compressed_size();
        let unpacked = Unpacked { file, bounds, packed, unpacked: 0, breach: None };
        let source = Transcoder::by_mark(unpacked).map_err(|error| read_error(error, part))?;
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let bounded = Bounded { source, buffer, at: 0, filled: 0, piece: 0, long_piece: false };
        Ok(Some(Self {
            reader: Reader::from_reader(bounded),
            buffer: Vec::with_capacity(1024),
            depth: 0,
            part: part.to_owned(),
        }))
    }

    /// The name of the part.
    pub(super) fn part(&self) -> &str {
        &self.part
    }

    /// The next piece. Behind the last it is `Eof`, which comes only when every element has ended.
    pub(super) fn next(&mut self) -> Result<Event<'_>, SheetError> {
        self.buffer.clear();
        self.reader.get_mut().piece = 0;
        match self.reader.read_event_into(&mut self.buffer) {
            Ok(event) => {
                match &event {
                    Event::Start(_) if self.depth == DEEPEST => {
                        return Err(SheetError::damaged(&self.part, "elements nest too deep"));
                    }
                    Event::Start(_) => self.depth += 1,
                    Event::End(_) => self.depth = self.depth.saturating_sub(1),
                    Event::DocType(_) => {
                        return Err(SheetError::DocumentType { part: format!("`{}`", self.part) });
                    }
                    Event::Eof if self.depth > 0 => {
                        return Err(SheetError::Truncated { part: format!("`{}`", self.part) });
                    }
                    _ => {}
                }
                Ok(event)
            }
            Err(error) => Err(xml_error(error, self.reader.get_mut(), &self.part)),
        }
    }

    /// Passes over the element whose start was told last.
    pub(super) fn skip(&mut self) -> Result<(), SheetError> {
        let outside = self.depth - 1;
        while self.depth > outside {
            self.next()?;
        }
        Ok(())
    }

    /// Appends the text of the element whose start was told last; elements in it are passed over.
    pub(super) fn text(&mut self, target: &mut String) -> Result<(), SheetError> {
        let (outside, begin) = (self.depth - 1, target.len());
        loop {
            // Elements within have no text of ours.
            let is_ours = self.depth == outside + 1;
            match self.next()? {
                Event::Text(text) if is_ours => target.push_str(&text.xml10_content()),
                Event::CData(text) if is_ours => target.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) if is_ours => match resolve(&reference) {
                    Some(character) => target.push(character),
                    None => {
                        let why = format!("it refers to `&{};`, which it cannot declare", &*reference);
                        return Err(SheetError::damaged(&self.part, why));
                    }
                },
                Event::End(_) if is_ours => return Ok(()),
                _ => {}
            }
            if target.len() - begin > LONGEST_CELL {
                let why = format!("it holds a text longer than {LONGEST_CELL} bytes");
                return Err(SheetError::damaged(&self.part, why));
            }
        }
    }

    /// Appends the text of the item whose start was told last: its own, or that of its runs one after the other. How it is
    /// pronounced (`rPh`) is left out.
    pub(super) fn rich_text(&mut self, target: &mut String) -> Result<(), SheetError> {
        let (outside, begin) = (self.depth - 1, target.len());
        loop {
            let piece = match self.next()? {
                Event::Start(start) => match start.local_name().as_ref() {
                    "t" => Piece::Text,
                    "r" => Piece::Run,
                    _ => Piece::Skipped,
                },
                Event::End(_) => Piece::End,
                _ => Piece::Nothing,
            };
            match piece {
                Piece::Text => self.text(target)?,
                Piece::Skipped => self.skip()?,
                Piece::End if self.depth == outside => return Ok(()),
                Piece::Run | Piece::End | Piece::Nothing => {}
            }
            if target.len() - begin > LONGEST_CELL {
                let why = format!("it holds a text longer than {LONGEST_CELL} bytes");
                return Err(SheetError::damaged(&self.part, why));
            }
        }
    }
}

/// The value of an attribute, whatever its prefix.
pub(super) fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = start.attributes();
    attributes.with_checks(false).flatten().find(|attribute| attribute.key.local_name().as_ref() == name).map(
        |attribute| match attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0) {
            Ok(value) => value.into_owned(),
            Err(_) => attribute.value.into_owned(),
        },
    )
}

/// Replaces `_x000D_` and the like, from `begin` on, by what they stand for.
pub(super) fn resolve_escapes(text: &mut String, begin: usize) {
    if memchr::memmem::find(&text.as_bytes()[begin..], b"_x").is_none() {
        return;
    }
    let written = text.split_off(begin);
    let mut rest = written.as_str();
    while let Some(at) = rest.find("_x") {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(unit) = escape_at(rest) else {
            text.push_str("_x");
            rest = &rest[2..];
            continue;
        };
        rest = &rest[ESCAPE..];
        let low = escape_at(rest).filter(|low| (0xdc00..0xe000).contains(low));
        match (char::from_u32(u32::from(unit)), low) {
            (Some(character), _) => text.push(character),
            (None, Some(low)) if (0xd800..0xdc00).contains(&unit) => {
                rest = &rest[ESCAPE..];
                text.extend(char::decode_utf16([unit, low]).flatten());
            }
            (None, _) => text.push(char::REPLACEMENT_CHARACTER),
        }
    }
    text.push_str(rest);
}

/// Length of `_x000D_`.
const ESCAPE: usize = 7;

/// The UTF-16 unit that an escape at the beginning of a text stands for.
fn escape_at(text: &str) -> Option<u16> {
    let escape = text.as_bytes().get(..ESCAPE)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"_x")?.strip_suffix(b"_")?).ok()?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// The five entities of XML, and characters by number.
fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    match &**reference {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => reference.resolve_char_ref().ok().flatten(),
    }
}

/// The part's place in the archive. Some writers spell it in another case, or with backslashes.
pub(super) fn index_of(archive: &Archive, part: &str) -> Option<usize> {
    archive.index_for_name(part).or_else(|| {
        archive.file_names_raw().position(|name| {
            name.len() == part.len()
                && name.iter().zip(part.bytes()).all(|(&found, wanted)| {
                    found.eq_ignore_ascii_case(&wanted) || (found == b'\\' && wanted == b'/')
                })
        })
    })
}

/// What an error of the archive means.
pub(super) fn archive_error(error: ZipError, part: &str) -> SheetError {
    match error {
        ZipError::Io(error) => read_error(error, part.trim_matches('`')),
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => {
            SheetError::PasswordProtected
        }
        error => SheetError::Damaged { part: part.to_owned(), why: error.to_string() },
    }
}

fn read_error(error: io::Error, part: &str) -> SheetError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SheetError::Truncated { part: format!("`{part}`") },
        // What the unpacker says of data that are not what was packed.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            SheetError::damaged(part, "it cannot be unpacked")
        }
        _ => SheetError::Io { action: "cannot read the file", source: error },
    }
}

fn xml_error(error: quick_xml::Error, reader: &mut Bounded<'_>, part: &str) -> SheetError {
    let breach = reader.source.get_ref().breach.or(reader.long_piece.then_some(Breach::LongPiece));
    let part_named = || format!("`{part}`");
    match (breach, error) {
        (Some(Breach::TooLarge(limit)), _) => SheetError::TooLarge { part: part_named(), limit },
        (Some(Breach::TooDense(limit)), _) => SheetError::TooDense { part: part_named(), limit },
        (Some(Breach::LongPiece), _) => {
            SheetError::damaged(part, format!("it holds a piece longer than {LONGEST_PIECE} bytes"))
        }
        (None, quick_xml::Error::Io(error)) => {
            read_error(io::Error::new(error.kind(), error.to_string()), part)
        }
        (None, quick_xml::Error::Syntax(_)) => SheetError::Truncated { part: part_named() },
        (None, quick_xml::Error::Encoding(_)) => SheetError::damaged(part, "it is not written in UTF-8"),
        (None, error) => SheetError::damaged(part, error.to_string()),
    }
}
