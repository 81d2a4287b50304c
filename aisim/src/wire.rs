//! What goes over the connection: a body that may break off, and that says when it has left whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::site::Site;

/// Told to hyper so that it drops the connection.
#[derive(Debug, thiserror::Error)]
#[error("connection cut on purpose")]
pub struct Cut;

/// Ends an entry of the log when an answer has left, or when nobody waits for it any more.
#[derive(Debug)]
pub struct Ticket {
    site: Arc<Site>,
    seq: usize,
}

impl Ticket {
    /// For the entry with this number.
    pub fn new(site: Arc<Site>, seq: usize) -> Self {
        Self { site, seq }
    }

    fn sent(&self) {
        let ended_ms = self.site.elapsed_ms();
        self.site.log.change(self.seq, |entry| {
            entry.sent_whole = true;
            entry.ended_ms = Some(ended_ms);
        });
    }
}

/// A body for hyper.
#[derive(Debug)]
pub struct WireBody {
    bytes: Bytes,
    declared: u64,
    cut: bool,
    flushed: bool,
    ticket: Option<Ticket>,
}

impl WireBody {
    /// A body that leaves whole, or breaks off in its middle.
    pub fn new(bytes: Bytes, cut: bool, ticket: Option<Ticket>) -> Self {
        let declared = bytes.len() as u64;
        let bytes = if cut { bytes.slice(..bytes.len() / 2) } else { bytes };
        Self { bytes, declared, cut, flushed: false, ticket }
    }
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if !self.cut {
            return Poll::Ready(None);
        }
        if !self.flushed {
            // An error at once would take with it what hyper has not yet written.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Cut)))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.flushed { 0 } else { self.declared })
    }
}

impl Drop for WireBody {
    fn drop(&mut self) {
        // Hyper lets a body go when it has taken all of it, or when the connection is gone.
        if let Some(ticket) = self.ticket.take().filter(|_| self.bytes.is_empty() && !self.cut) {
            ticket.sent();
        }
    }
}
