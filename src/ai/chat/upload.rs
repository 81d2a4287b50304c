//! A file on its way up, read from the disk piece by piece.

use std::fs::File;
use std::io::{ErrorKind, Read};

use bytes::Bytes;
use futures_util::stream::{self, Stream};

/// Size of the pieces.
const PIECE_BYTES: usize = 256 << 10;

/// The parts of an upload one after another; the file is read off the runtime's threads.
pub(super) fn pieces(
    head: String,
    file: File,
    length: u64,
    tail: String,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    enum At {
        Head(String),
        File(u64),
        Tail,
        End,
    }
    stream::try_unfold((At::Head(head), file, tail), move |(at, mut file, mut tail)| async move {
        match at {
            At::Head(head) => Ok(Some((Bytes::from(head), (At::File(length), file, tail)))),
            At::File(0) | At::Tail => {
                let last = std::mem::take(&mut tail);
                Ok(Some((Bytes::from(last), (At::End, file, tail))))
            }
            At::File(left) => {
                let read = tokio::task::spawn_blocking(move || {
                    let size = PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES));
                    let mut piece = vec![0; size];
                    let read = file.read(&mut piece)?;
                    piece.truncate(read);
                    Ok::<_, std::io::Error>((file, piece))
                });
                let (file, piece) = read.await.map_err(std::io::Error::other)??;
                if piece.is_empty() {
                    return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the file has become shorter"));
                }
                let left = left - piece.len() as u64;
                let next = if left == 0 { At::Tail } else { At::File(left) };
                Ok(Some((Bytes::from(piece), (next, file, tail))))
            }
            At::End => Ok(None),
        }
    })
}
