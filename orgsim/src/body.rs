//! Answer bodies in pieces, some of them compressed once and sent many times.
//!
//! A describe that goes out alone, or as one of 25 in a composite, is the same bytes. So it is deflated once,
//! ended on a byte boundary (a sync flush), and later spliced into any gzip stream: back references never
//! leave their piece, and check sums of pieces can be combined. What is kept in memory is the deflated form
//! only; a caller that wants plain text pays for inflating it.

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress};
use std::sync::Arc;

/// Bytes deflated ahead of time.
#[derive(Debug)]
pub struct Prepared {
    deflated: Vec<u8>,
    crc: Crc,
}

impl Prepared {
    /// Deflates `plain`.
    pub fn new(plain: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(plain);
        Self { deflated: deflate(plain), crc }
    }

    /// Length before deflating, in bytes.
    pub fn plain_len(&self) -> usize {
        self.crc.amount() as usize
    }

    /// Bytes this holds in memory.
    pub fn held(&self) -> usize {
        self.deflated.len()
    }

    /// The bytes before deflating.
    pub fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.plain_len() + 16);
        let mut inflater = Decompress::new(false);
        let done = inflater.decompress_vec(&self.deflated, &mut plain, FlushDecompress::Sync);
        debug_assert!(done.is_ok() && plain.len() == self.plain_len(), "we deflated it ourselves");
        plain
    }
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut deflater = Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(plain.len() / 4 + 64);
    loop {
        let read = usize::try_from(deflater.total_in()).unwrap_or(usize::MAX);
        let done = deflater.compress_vec(&plain[read..], &mut out, FlushCompress::Sync);
        debug_assert!(done.is_ok(), "deflating to memory cannot fail");
        let all_read = usize::try_from(deflater.total_in()).unwrap_or(usize::MAX) >= plain.len();
        // Room left over means the flush has been written out in full.
        if all_read && out.len() < out.capacity() {
            return out;
        }
        out.reserve(out.capacity().max(1024));
    }
}

#[derive(Debug, Clone)]
enum Piece {
    Plain(Vec<u8>),
    Prepared(Arc<Prepared>),
}

/// A body: pieces in order.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pieces: Vec<Piece>,
}

impl From<Vec<u8>> for Body {
    fn from(plain: Vec<u8>) -> Self {
        let mut body = Self::default();
        body.push(plain);
        body
    }
}

impl From<Arc<Prepared>> for Body {
    fn from(prepared: Arc<Prepared>) -> Self {
        Self { pieces: vec![Piece::Prepared(prepared)] }
    }
}

impl Body {
    /// Appends plain bytes.
    pub fn push(&mut self, mut plain: Vec<u8>) {
        if plain.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Plain(before)) => before.append(&mut plain),
            _ => self.pieces.push(Piece::Plain(plain)),
        }
    }

    /// Appends another body.
    pub fn append(&mut self, other: Self) {
        for piece in other.pieces {
            match piece {
                Piece::Plain(plain) => self.push(plain),
                prepared @ Piece::Prepared(_) => self.pieces.push(prepared),
            }
        }
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes as they are.
    pub fn plain(self) -> Bytes {
        let mut pieces = self.pieces;
        if let [Piece::Plain(only)] = pieces.as_mut_slice() {
            return Bytes::from(std::mem::take(only));
        }
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Plain(plain) => out.extend_from_slice(&plain),
                Piece::Prepared(prepared) => out.extend_from_slice(&prepared.plain()),
            }
        }
        Bytes::from(out)
    }

    /// The bytes as one gzip member.
    pub fn gzipped(self) -> Bytes {
        // No name, no time, system unknown: the same body is always the same bytes.
        let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
        let mut crc = Crc::new();
        for piece in self.pieces {
            match piece {
                Piece::Plain(plain) => {
                    out.extend_from_slice(&deflate(&plain));
                    crc.update(&plain);
                }
                Piece::Prepared(prepared) => {
                    out.extend_from_slice(&prepared.deflated);
                    crc.combine(&prepared.crc);
                }
            }
        }
        // An empty last block of fixed codes ends the stream.
        out.extend_from_slice(&[0x03, 0x00]);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
        Bytes::from(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    proptest! {
        #[test]
        fn spliced_pieces_are_one_valid_gzip_member(
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..4000), 1usize..40), 0..6)
        ) {
            let mut body = Body::default();
            let mut whole = Vec::new();
            for (prepared, bytes, times) in pieces {
                let bytes = bytes.repeat(times);
                whole.extend_from_slice(&bytes);
                if prepared {
                    body.append(Body::from(Arc::new(Prepared::new(&bytes))));
                } else {
                    body.push(bytes);
                }
            }
            prop_assert_eq!(&gunzip(&body.clone().gzipped()), &whole);
            prop_assert_eq!(body.plain().to_vec(), whole);
        }
    }
}
