//! The messages of one connection: bytes out, messages in.
//!
//! Promises: whatever is to be said goes out as fast as the socket takes it, while answers are read, so that neither side
//! waits for the other with full hands; an answer is handed over whole; once the socket is broken nothing is read from it
//! any more. Of what PostgreSQL says by itself (notices, parameters, notifications) nothing is told.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::errors::{Fault, Told};
use super::tls::Secured;

/// Read at once at most.
const READ_BYTES: usize = 16 * 1024;
/// A message of more bytes is none of PostgreSQL's.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// What is below.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Secured(Box<Secured<TcpStream>>),
}

/// See the module's promises.
pub(super) struct Wire {
    stream: Stream,
    /// What is to be sent.
    pub(super) out: BytesMut,
    came: BytesMut,
    room: Box<[u8; READ_BYTES]>,
    is_open: bool,
}

/// One message of the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// Whether more messages are wanted.
pub(super) enum More {
    Yes,
    No,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            out: BytesMut::new(),
            came: BytesMut::new(),
            room: Box::new([0; READ_BYTES]),
            is_open: true,
        }
    }

    /// Sends what is to be sent, and gives each message that comes to `take`, until it wants no more.
    ///
    /// # Errors
    /// The socket broke, or `take` found what cannot be: nothing more comes of this wire.
    pub(super) async fn talk(
        &mut self,
        mut take: impl FnMut(Message<'_>, &mut BytesMut) -> Result<More, Fault> + Send,
    ) -> Result<(), Fault> {
        let talked = poll_fn(|context| self.poll_talk(context, &mut take)).await;
        self.is_open &= talked.is_ok();
        talked
    }

    fn poll_talk(
        &mut self,
        context: &mut Context<'_>,
        take: &mut impl FnMut(Message<'_>, &mut BytesMut) -> Result<More, Fault>,
    ) -> Poll<Result<(), Fault>> {
        if !self.is_open {
            return Poll::Ready(Err(Fault::Lost("the connection is closed".to_owned())));
        }
        loop {
            if let Poll::Ready(Err(error)) = self.poll_send(context) {
                // Why the server broke off may be what is left to read; if it had done something before that, nobody says
                // how much.
                self.is_open = false;
                let _ = self.poll_read(context);
                let mut told = Fault::of_socket(&error);
                while let Some(message) = next_of(&self.came)? {
                    match message.tag {
                        b'C' => break,
                        b'E' => told = Fault::Told(Told::read(message.body)),
                        _ => {}
                    }
                    let length = message.body.len() + 5;
                    self.came.advance(length);
                }
                return Poll::Ready(Err(told));
            }
            while let Some(message) = next_of(&self.came)? {
                let length = message.body.len() + 5;
                let more = take(message, &mut self.out)?;
                self.came.advance(length);
                if let More::No = more {
                    return Poll::Ready(Ok(()));
                }
            }
            if !self.out.is_empty() {
                // The last message asked for an answer of ours.
                if let Poll::Ready(Err(error)) = self.poll_send(context) {
                    return Poll::Ready(Err(Fault::of_socket(&error)));
                }
            }
            match ready!(self.poll_read(context)) {
                Ok(0) => {
                    return Poll::Ready(Err(Fault::Lost("the server closed the connection".to_owned())));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Fault::of_socket(&error))),
            }
        }
    }

    /// Reads what came while nothing was asked. Whether the connection is still there.
    pub(super) fn is_open(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        while self.is_open {
            match self.poll_read(&mut nobody) {
                Poll::Pending => break,
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => self.is_open = false,
            }
            loop {
                match next_of(&self.came) {
                    Ok(Some(Message { tag: b'N' | b'S' | b'A', body })) => {
                        let length = body.len() + 5;
                        self.came.advance(length);
                    }
                    Ok(None) => break,
                    // It says why it goes, or what nobody asked for.
                    Ok(Some(_)) | Err(_) => {
                        self.is_open = false;
                        break;
                    }
                }
            }
        }
        self.is_open
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.out.is_empty() {
            let sent = ready!(self.stream.poll_write(context, &self.out))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(sent);
        }
        self.stream.poll_flush(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.room[..]);
        ready!(self.stream.poll_read(context, &mut room))?;
        self.came.extend_from_slice(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.is_open {
            // So that the server does not have to find out; if the socket has no room for it, it does.
            self.out.clear();
            frontend::terminate(&mut self.out);
            let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// The first message, if it is there whole.
fn next_of(came: &[u8]) -> Result<Option<Message<'_>>, Fault> {
    let [tag, a, b, c, d, rest @ ..] = came else { return Ok(None) };
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if !(4..MESSAGE_BYTES_MAX).contains(&length) {
        return Err(Fault::Lost("what came is no message of PostgreSQL".to_owned()));
    }
    Ok(rest.get(..length - 4).map(|body| Message { tag: *tag, body }))
}

impl Stream {
    fn poll_read(&mut self, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, room),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, room),
            Self::Secured(stream) => Pin::new(stream).poll_read(context, room),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // What was written is on its way.
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Secured(stream) => Pin::new(stream).poll_flush(context),
        }
    }
}

/// Reads a body from its start.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (read, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*read)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes().map(|[byte]| byte)
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    pub(super) fn int(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_be_bytes)
    }

    /// So many bytes.
    pub(super) fn some(&mut self, count: usize) -> Option<&'a [u8]> {
        let (read, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(read)
    }

    /// Up to the next zero.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let read = self.some(self.0.iter().position(|byte| *byte == 0)?)?;
        self.byte()?;
        Some(read)
    }
}

/// Numbers of the types of a row's columns, from the body of a row description.
pub(super) fn types_of(body: &[u8]) -> Option<Vec<u32>> {
    let mut body = Body(body);
    let count = body.short()?;
    let mut types = Vec::with_capacity(count.into());
    for _ in 0..count {
        body.text()?;
        body.some(6)?;
        types.push(u32::from_be_bytes(body.bytes()?));
        body.some(8)?;
    }
    Some(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_when_it_is_whole() {
        let came = [b'Z', 0, 0, 0, 5, b'I', b'N'];
        assert!(next_of(&came[..5]).expect("a message").is_none());
        let message = next_of(&came).expect("a message").expect("whole");
        assert_eq!((message.tag, message.body), (b'Z', &b"I"[..]));
        assert!(next_of(b"HTTP/1.1 400 Bad Request").is_err(), "not of PostgreSQL");
        assert!(next_of(&[b'Z', 0, 0, 0, 3]).is_err());
    }

    #[test]
    fn types_are_read_and_what_is_cut_off_is_not() {
        let body = b"\x00\x01id\x00\0\0\0\x01\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01";
        assert_eq!(types_of(body), Some(vec![23]));
        for cut in 0..body.len() {
            assert_eq!(types_of(&body[..cut]), None);
        }
    }
}
