//! Answer bodies in pieces, some of them compressed once and sent many times.
//!
//! A describe that goes out alone, or as one of 25 in a composite, is the same bytes. So it is deflated once,
//! ended on a byte boundary (a sync flush), and later spliced into any gzip stream: back references never
//! leave their piece, and check sums of pieces can be combined. What is kept in memory is the deflated form
//! only; a caller that wants plain text pays for inflating it.
//!
//! A body too large to be held, such as a Bulk result, is an iterator of [`Chunk`]s instead: it is asked for the
//! next one when the connection has room for it, on a thread that may take its time.

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

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

/// A part of a body.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Bytes as they are.
    Plain(Bytes),
    /// Bytes deflated ahead of time: free of charge for a client that takes gzip.
    Prepared(Arc<Prepared>),
}

impl Chunk {
    /// The bytes as they are.
    pub fn plain(self) -> Bytes {
        match self {
            Self::Plain(plain) => plain,
            Self::Prepared(prepared) => Bytes::from(prepared.plain()),
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(plain: Bytes) -> Self {
        Self::Plain(plain)
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(plain: Vec<u8>) -> Self {
        Self::Plain(Bytes::from(plain))
    }
}

impl From<Arc<Prepared>> for Chunk {
    fn from(prepared: Arc<Prepared>) -> Self {
        Self::Prepared(prepared)
    }
}

/// Chunks made while they are sent. Clones share one source: what one has taken, another does not see.
#[derive(Clone)]
struct Chunks(Arc<Mutex<Box<dyn Iterator<Item = Chunk> + Send>>>);

impl fmt::Debug for Chunks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Chunks")
    }
}

impl Iterator for Chunks {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// A gzip member put together chunk by chunk.
#[derive(Default)]
struct Member {
    crc: Crc,
}

impl Member {
    /// No name, no time, system unknown: the same body is always the same bytes.
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

    fn append(&mut self, out: &mut Vec<u8>, chunk: &Chunk) {
        match chunk {
            Chunk::Plain(plain) => {
                out.extend_from_slice(&deflate(plain));
                self.crc.update(plain);
            }
            Chunk::Prepared(prepared) => {
                out.extend_from_slice(&prepared.deflated);
                self.crc.combine(&prepared.crc);
            }
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        // An empty last block of fixed codes ends the stream.
        out.extend_from_slice(&[0x03, 0x00]);
        out.extend_from_slice(&self.crc.sum().to_le_bytes());
        out.extend_from_slice(&self.crc.amount().to_le_bytes());
    }
}

/// A body: pieces in order, then what its iterator gives.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pieces: Vec<Piece>,
    rest: Option<Chunks>,
}

/// As [`Chunk`], but small plain pieces can still grow.
#[derive(Debug, Clone)]
enum Piece {
    Plain(Vec<u8>),
    Prepared(Arc<Prepared>),
}

impl From<Piece> for Chunk {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Plain(plain) => Self::Plain(Bytes::from(plain)),
            Piece::Prepared(prepared) => Self::Prepared(prepared),
        }
    }
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
        Self { pieces: vec![Piece::Prepared(prepared)], rest: None }
    }
}

impl Body {
    /// A body made while it is sent, with chunked transfer encoding: `chunks` is asked for the next one, on a
    /// thread that may block, when the one before is on its way. Chunks of 64 kB to 1 MB serve best; an empty
    /// one is skipped. Nothing is made for a client that has gone.
    pub fn streamed(chunks: impl Iterator<Item = Chunk> + Send + 'static) -> Self {
        Self { pieces: Vec::new(), rest: Some(Chunks(Arc::new(Mutex::new(Box::new(chunks))))) }
    }

    /// Whether its length is known only at its end.
    pub fn is_streamed(&self) -> bool {
        self.rest.is_some()
    }

    /// Appends plain bytes. A streamed body is whole already.
    pub fn push(&mut self, mut plain: Vec<u8>) {
        debug_assert!(self.rest.is_none(), "what follows a stream would come before it");
        if plain.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Plain(before)) => before.append(&mut plain),
            _ => self.pieces.push(Piece::Plain(plain)),
        }
    }

    /// Appends another body; a stream in it is read to its end.
    pub fn append(&mut self, other: Self) {
        for piece in other.pieces {
            match piece {
                Piece::Plain(plain) => self.push(plain),
                prepared @ Piece::Prepared(_) => self.pieces.push(prepared),
            }
        }
        for chunk in other.rest.into_iter().flatten() {
            match chunk {
                Chunk::Plain(plain) => self.push(plain.into()),
                Chunk::Prepared(prepared) => self.pieces.push(Piece::Prepared(prepared)),
            }
        }
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_none()
    }

    /// The parts in order.
    fn into_chunks(self) -> impl Iterator<Item = Chunk> + Send {
        self.pieces.into_iter().map(Chunk::from).chain(self.rest.into_iter().flatten())
    }

    /// The bytes as they are; a stream is read to its end.
    pub fn plain(mut self) -> Bytes {
        if let ([Piece::Plain(only)], None) = (self.pieces.as_mut_slice(), &self.rest) {
            return Bytes::from(std::mem::take(only));
        }
        let mut out = Vec::new();
        self.into_chunks().for_each(|chunk| out.extend_from_slice(&chunk.plain()));
        Bytes::from(out)
    }

    /// The bytes as one gzip member; a stream is read to its end.
    pub fn gzipped(self) -> Bytes {
        let mut out = Member::HEAD.to_vec();
        let mut member = Member::default();
        self.into_chunks().for_each(|chunk| member.append(&mut out, &chunk));
        member.end(&mut out);
        Bytes::from(out)
    }

    /// The bytes as they are, piece by piece; none of them empty.
    pub fn plain_parts(self) -> impl Iterator<Item = Bytes> + Send {
        self.into_chunks().map(Chunk::plain).filter(|part| !part.is_empty())
    }

    /// One gzip member, piece by piece; none of them empty.
    pub fn gzipped_parts(self) -> impl Iterator<Item = Bytes> + Send {
        let mut chunks = self.into_chunks();
        let mut member = Some(Member::default());
        let mut head = Member::HEAD.to_vec();
        std::iter::from_fn(move || {
            let mut out = std::mem::take(&mut head);
            let open = member.as_mut()?;
            match chunks.next() {
                Some(chunk) => open.append(&mut out, &chunk),
                None => {
                    open.end(&mut out);
                    member = None;
                }
            }
            Some(Bytes::from(out))
        })
        .filter(|part| !part.is_empty())
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
            let parts: Vec<u8> = body.clone().gzipped_parts().flatten().collect();
            prop_assert_eq!(&parts, &body.clone().gzipped().to_vec());
            let chunks: Vec<Chunk> = body.clone().into_chunks().collect();
            let streamed = || Body::streamed(chunks.clone().into_iter());
            prop_assert_eq!(&gunzip(&streamed().gzipped_parts().flatten().collect::<Vec<u8>>()), &whole);
            prop_assert_eq!(&streamed().plain_parts().flatten().collect::<Vec<u8>>(), &whole);
            let mut appended = Body::default();
            appended.append(streamed());
            prop_assert_eq!(&appended.plain().to_vec(), &whole);
            prop_assert_eq!(body.plain().to_vec(), whole);
        }
    }
}
