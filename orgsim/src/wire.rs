//! What goes over the connection: a body whole or made while it is sent, and everything that can go wrong with it.
//!
//! A cut, a drip or a false length is decided by [`Damage`] when the answer leaves; what the answer says is not
//! this file's concern.

use crate::{body::Body, gate::InFlight};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Sleep};

/// Told to hyper so that it drops the connection without an answer or in the middle of one.
#[derive(Debug, thiserror::Error)]
#[error("connection cut on purpose")]
pub struct Cut;

/// What happens to the bytes of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// No answer: the connection is closed.
    pub no_answer: bool,
    /// No answer: the connection is reset.
    pub reset: bool,
    /// The connection is cut within the body.
    pub cut: Option<CutAt>,
    /// The body travels with chunked transfer encoding even when its length is known.
    pub chunked: bool,
    /// The body ends too early while length and framing agree.
    pub short: bool,
    /// `Content-Length` differs from the body's length by so many bytes.
    pub length_off_by: i64,
    /// So many bytes at a time, with this pause before each.
    pub drip: Option<(usize, Duration)>,
}

/// Where the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutAt {
    /// In the middle; of a body made while it is sent, in the middle of its first part.
    Middle,
    /// After so many bytes, as they travel.
    Byte(u64),
}

/// What is left to do with a connection once hyper has let go of it.
#[derive(Debug, Default)]
pub enum Aftermath {
    /// Close it.
    #[default]
    Close,
    /// Let it go as it is: it broke in the middle of something.
    Drop,
    /// Reset it: the client sees `ECONNRESET`.
    Reset,
    /// Write these bytes, then close it: an answer that hyper would refuse to send.
    Write(Vec<u8>),
}

/// One connection's aftermath, reachable from its requests.
#[derive(Debug, Clone, Default)]
pub struct Connection(Arc<Mutex<Aftermath>>);

impl Connection {
    /// Decides what happens after hyper.
    pub fn ends_with(&self, aftermath: Aftermath) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = aftermath;
    }

    /// Hyper gave it up; what has been decided otherwise stands.
    pub fn broke(&self) {
        let mut aftermath = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*aftermath, Aftermath::Close) {
            *aftermath = Aftermath::Drop;
        }
    }

    /// What has been decided.
    pub fn aftermath(&self) -> Aftermath {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type Parts = Box<dyn Iterator<Item = Bytes> + Send>;

enum Source {
    Whole(Bytes),
    /// Nobody is at work on the next part.
    Resting(Option<Parts>),
    Working(JoinHandle<(Parts, Option<Bytes>)>),
}

/// A body for hyper.
pub struct WireBody {
    source: Source,
    /// Taken from the source and not yet sent.
    at_hand: Bytes,
    /// Bytes still to be announced as coming; `None`: chunked.
    declared: Option<u64>,
    /// Bytes until the connection breaks.
    until_cut: Option<u64>,
    cut_in_the_middle: bool,
    flushed: bool,
    short: bool,
    drip: Option<(usize, Duration)>,
    pause: Option<Pin<Box<Sleep>>>,
    /// The request counts as running until its answer is out.
    _in_flight: Option<InFlight>,
}

impl WireBody {
    /// A body, compressed or not, with its damage.
    pub fn new(body: Body, gzip: bool, damage: &Damage, in_flight: Option<InFlight>) -> Self {
        let (source, mut declared) = if body.is_streamed() {
            let parts: Parts =
                if gzip { Box::new(body.gzipped_parts()) } else { Box::new(body.plain_parts()) };
            (Source::Resting(Some(parts)), None)
        } else {
            let mut bytes = if gzip { body.gzipped() } else { body.plain() };
            if damage.short {
                bytes.truncate(bytes.len() / 2);
            }
            let length = bytes.len() as u64;
            (Source::Whole(bytes), Some(length))
        };
        let whole = declared;
        if damage.length_off_by > 0 {
            declared = declared.map(|length| length.saturating_add_signed(damage.length_off_by));
        }
        if damage.chunked {
            declared = None;
        }
        let until_cut = match damage.cut {
            Some(CutAt::Byte(at)) => Some(at),
            Some(CutAt::Middle) => whole.map(|length| length / 2),
            // All of it is sent, and then less than was announced.
            None => whole.filter(|_| damage.length_off_by > 0),
        };
        Self {
            source,
            at_hand: Bytes::new(),
            declared,
            until_cut,
            cut_in_the_middle: damage.cut == Some(CutAt::Middle),
            flushed: false,
            short: damage.short,
            drip: damage.drip,
            pause: None,
            _in_flight: in_flight,
        }
    }

    /// The next bytes of the source.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.source {
                Source::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
                Source::Whole(bytes) => return Poll::Ready(Some(std::mem::take(bytes))),
                Source::Resting(parts) => match parts.take() {
                    Some(parts) => self.source = work(parts),
                    None => return Poll::Ready(None),
                },
                Source::Working(task) => {
                    let done = ready!(Pin::new(task).poll(cx));
                    let Ok((parts, Some(part))) = done else {
                        self.source = Source::Resting(None);
                        return Poll::Ready(None);
                    };
                    if self.short {
                        // Half of what came first is all there is.
                        self.source = Source::Resting(None);
                        return Poll::Ready(Some(part.slice(..part.len() / 2)));
                    }
                    // One part ahead: made while the one at hand is being sent.
                    self.source = work(parts);
                    if self.cut_in_the_middle && self.until_cut.is_none() {
                        self.until_cut = Some(part.len() as u64 / 2);
                    }
                    return Poll::Ready(Some(part));
                }
            }
        }
    }
}

fn work(mut parts: Parts) -> Source {
    Source::Working(tokio::task::spawn_blocking(move || {
        let part = parts.next();
        (parts, part)
    }))
}

impl HttpBody for WireBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        if this.at_hand.is_empty() && this.until_cut != Some(0) {
            if let Some(part) = ready!(this.poll_source(cx)) {
                this.at_hand = part;
            } else if this.until_cut.is_some() {
                // A cut beyond the end still is a cut.
                this.until_cut = Some(0);
            } else {
                return Poll::Ready(None);
            }
        }
        if this.until_cut == Some(0) {
            if !this.flushed {
                // An error at once would take with it what hyper has not yet written.
                this.flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(Cut)));
        }
        if let Some((_, every)) = this.drip {
            let pause = this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let mut most = this.drip.map_or(usize::MAX, |(bytes, _)| bytes.max(1));
        if let Some(until_cut) = this.until_cut {
            most = most.min(usize::try_from(until_cut).unwrap_or(usize::MAX));
        }
        let data = this.at_hand.split_to(this.at_hand.len().min(most));
        let sent = data.len() as u64;
        this.until_cut = this.until_cut.map(|left| left - sent);
        this.declared = this.declared.map(|left| left.saturating_sub(sent));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        let spent = matches!(&self.source, Source::Whole(bytes) if bytes.is_empty());
        spent && self.at_hand.is_empty() && self.until_cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
