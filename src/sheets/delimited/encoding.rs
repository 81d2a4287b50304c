//! From whatever bytes a text was written in to UTF-8, as it is read.
//!
//! Promises: constant memory. UTF-8 passes through untouched.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::sheets::error::SheetError;

/// Bytes decoded at a time.
const PIECE: usize = 16 * 1024;
/// Bytes looked at for the pattern of UTF-16 without a mark.
const PATTERN: usize = 4 * 1024;
/// Bytes proved at a time.
const PROVED: usize = 64 * 1024;

/// Reads bytes and gives UTF-8.
pub(in crate::sheets) struct Transcoder<R> {
    source: R,
    /// The first bytes, read to look for a byte order mark, not given yet.
    first: Vec<u8>,
    decoding: Option<Decoding>,
}

struct Decoding {
    decoder: Decoder,
    raw: Vec<u8>,
    at: usize,
    decoded: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Transcoder<R> {
    /// Decodes UTF-16 when its mark stands first, and takes anything else as UTF-8, without its mark.
    pub(in crate::sheets) fn by_mark(mut source: R) -> io::Result<Self> {
        let mut first = Vec::with_capacity(3);
        (&mut source).take(3).read_to_end(&mut first)?;
        let encoding = match Encoding::for_bom(&first) {
            Some((encoding, length)) => {
                first.drain(..length);
                encoding
            }
            None => UTF_8,
        };
        Ok(Self::new(source, first, encoding))
    }

    /// Decodes one encoding. A byte order mark is taken off.
    pub(in crate::sheets) fn of(mut source: R, encoding: &'static Encoding) -> io::Result<Self> {
        let mut first = Vec::with_capacity(3);
        (&mut source).take(3).read_to_end(&mut first)?;
        if let Some((marked, length)) = Encoding::for_bom(&first)
            && (marked == encoding || marked == UTF_8 || marked == UTF_16LE || marked == UTF_16BE)
        {
            first.drain(..length);
        }
        Ok(Self::new(source, first, encoding))
    }

    fn new(source: R, first: Vec<u8>, encoding: &'static Encoding) -> Self {
        if encoding == UTF_8 {
            return Self { source, first, decoding: None };
        }
        let decoding = Decoding {
            decoder: encoding.new_decoder_without_bom_handling(),
            raw: first,
            at: 0,
            decoded: Vec::new(),
            given: 0,
            ended: false,
        };
        Self { source, first: Vec::new(), decoding: Some(decoding) }
    }

    /// What is read from.
    pub(in crate::sheets) fn get_ref(&self) -> &R {
        &self.source
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() {
            return Ok(0);
        }
        match &mut self.decoding {
            None if self.first.is_empty() => self.source.read(target),
            None => {
                let count = self.first.len().min(target.len());
                target[..count].copy_from_slice(&self.first[..count]);
                self.first.drain(..count);
                Ok(count)
            }
            Some(decoding) => decoding.read(&mut self.source, target),
        }
    }
}

impl Decoding {
    fn read(&mut self, source: &mut impl Read, target: &mut [u8]) -> io::Result<usize> {
        while self.given == self.decoded.len() {
            if self.ended {
                return Ok(0);
            }
            if self.at == self.raw.len() {
                self.raw.resize(PIECE, 0);
                let read = source.read(&mut self.raw)?;
                self.raw.truncate(read);
                self.at = 0;
            }
            let last = self.raw.is_empty();
            // Three bytes of UTF-8 at most for each byte that comes in.
            self.decoded.resize(PIECE * 3 + 16, 0);
            let (result, read, written, _) =
                self.decoder.decode_to_utf8(&self.raw[self.at..], &mut self.decoded, last);
            self.at += read;
            self.decoded.truncate(written);
            self.given = 0;
            self.ended = last && result == CoderResult::InputEmpty;
        }
        let count = (self.decoded.len() - self.given).min(target.len());
        target[..count].copy_from_slice(&self.decoded[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// The encoding of a text, proved by all of it.
///
/// Marks and patterns of UTF-16 go first. Then it is UTF-8 if every byte is, and Windows-1252 otherwise.
pub(super) fn prove_encoding(mut source: impl Read) -> Result<&'static Encoding, SheetError> {
    let cannot_read = |source| SheetError::Io { action: "cannot read the file", source };
    let mut buffer = vec![0; PROVED];
    let (mut kept, mut line, mut is_first) = (0, 1_u64, true);
    let (mut is_utf8, mut has_characters) = (true, false);
    loop {
        let read = fill(&mut source, &mut buffer[kept..]).map_err(cannot_read)?;
        let is_last = read < buffer.len() - kept;
        let piece = &buffer[..kept + read];
        if is_first {
            if let Some((encoding, _)) = Encoding::for_bom(piece)
                && encoding != UTF_8
            {
                return Ok(encoding);
            }
            if let Some(encoding) = utf16_by_pattern(&piece[..piece.len().min(PATTERN)]) {
                return Ok(encoding);
            }
            is_first = false;
        }
        if let Some(zero) = memchr::memchr(0, &piece[kept..]) {
            line += memchr::memchr_iter(b'\n', &piece[kept..kept + zero]).count() as u64;
            return Err(SheetError::ZeroBytes { line });
        }
        line += memchr::memchr_iter(b'\n', &piece[kept..]).count() as u64;
        kept = 0;
        if is_utf8 {
            match std::str::from_utf8(piece) {
                Ok(text) => has_characters = has_characters || !text.is_ascii(),
                // A character that the piece cuts: the next piece begins with it.
                Err(error) if error.error_len().is_none() => {
                    let valid = error.valid_up_to();
                    has_characters = has_characters || !piece[..valid].is_ascii();
                    if is_last && has_characters {
                        return Err(SheetError::Truncated { part: "its last character".to_owned() });
                    }
                    is_utf8 = !is_last;
                    kept = piece.len() - valid;
                    buffer.copy_within(valid..valid + kept, 0);
                }
                Err(_) => is_utf8 = false,
            }
        }
        if is_last {
            return Ok(if is_utf8 { UTF_8 } else { WINDOWS_1252 });
        }
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// UTF-16 without a mark: of most pairs of bytes one, and always the same, is zero.
fn utf16_by_pattern(piece: &[u8]) -> Option<&'static Encoding> {
    let pairs = piece.len() / 2;
    let zeros = |which: usize| piece.chunks_exact(2).filter(|pair| pair[which] == 0).count();
    let (of_high, of_low) = (zeros(0), zeros(1));
    let is_most = |count: usize| pairs >= 4 && count * 10 >= pairs * 4;
    match (is_most(of_high), is_most(of_low)) {
        (true, false) => Some(UTF_16BE),
        (false, true) => Some(UTF_16LE),
        _ => None,
    }
}
