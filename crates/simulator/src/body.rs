//! Bodies: the common type of all responses, and wrappers that truncate, observe and count a body.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aws_lc_rs::digest::{self, SHA256};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use super::ledger::Delivery;
use super::line::{End, Line};

/// The body of every response.
pub(super) type SimBody = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn full(bytes: impl Into<Bytes>) -> SimBody {
    boxed(Full::new(bytes.into()))
}

pub(super) fn boxed<B>(body: B) -> SimBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(io::Error::other).boxed_unsync()
}

/// Yields this many bytes, waits until they have left, and ends the connection. Its size hint is that of the whole body, so the
/// head announces more bytes than arrive. HTTP/2 flow control may end the wait early.
pub(super) struct Cut {
    inner: SimBody,
    left: usize,
    line: Arc<Line>,
    how: End,
    mark: Option<u64>,
}

/// Reports the delivery of a response, once.
pub(super) struct Watched {
    inner: SimBody,
    line: Arc<Line>,
    told: Option<Box<dyn FnOnce(Delivery) + Send>>,
}

/// Counts and hashes a body as it passes. Reports both at its end.
pub(super) struct Summed<B> {
    inner: B,
    sum: Sum,
    told: Option<Box<dyn FnOnce(Sum) + Send>>,
}

/// Length and hash of what has passed.
pub(super) struct Sum {
    pub length: u64,
    /// Whether the body has ended.
    pub is_whole: bool,
    hash: digest::Context,
}

// === impl Cut ===

impl Cut {
    pub fn new(inner: SimBody, after: usize, line: Arc<Line>, how: End) -> Self {
        Self { inner, left: after, line, how, mark: None }
    }
}

impl Body for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            let mark = *this.mark.get_or_insert_with(|| this.line.flushes());
            ready!(this.line.poll_flushed_since(mark, cx));
            this.line.end(this.how.clone());
            return Poll::Pending;
        }
        let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(frame.map(|frame| {
            frame.map_data(|mut data| {
                data.truncate(this.left);
                this.left -= data.len();
                data
            })
        })))
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Watched ===

impl Watched {
    pub fn new(inner: SimBody, line: Arc<Line>, told: Box<dyn FnOnce(Delivery) + Send>) -> Self {
        let mut watched = Self { inner, line, told: Some(told) };
        // An empty body is never polled.
        if watched.inner.is_end_stream() {
            watched.ended();
        }
        watched
    }

    fn ended(&mut self) {
        if let Some(told) = self.told.take() {
            self.line.tell_when_flushed(told);
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if is_last(&frame, &self.inner) {
            self.ended();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            told(Delivery::Lost);
        }
    }
}

// === impl Summed ===

impl<B> Summed<B> {
    pub fn new(inner: B, told: Box<dyn FnOnce(Sum) + Send>) -> Self {
        Self { inner, sum: Sum::new(), told: Some(told) }
    }

    /// The body is empty, so no end will come.
    pub fn finish(&mut self) {
        self.sum.is_whole = true;
        self.tell();
    }

    fn tell(&mut self) {
        if let Some(told) = self.told.take() {
            told(mem::replace(&mut self.sum, Sum::new()));
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Summed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            self.sum.add(data);
        }
        if is_last(&frame, &self.inner) {
            self.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Summed<B> {
    fn drop(&mut self) {
        self.tell();
    }
}

// === impl Sum ===

impl Sum {
    fn new() -> Self {
        Self { length: 0, is_whole: false, hash: digest::Context::new(&SHA256) }
    }

    fn add(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        self.hash.update(data);
    }

    /// SHA-256 in hex.
    pub fn hex(self) -> String {
        hex(self.hash.finish().as_ref())
    }
}

/// Whether this frame is the last that the protocol polls: trailers, or the end of the body.
fn is_last<B: Body>(frame: &Option<Result<Frame<B::Data>, B::Error>>, body: &B) -> bool {
    match frame {
        None => true,
        Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
        Some(Err(_)) => false,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
