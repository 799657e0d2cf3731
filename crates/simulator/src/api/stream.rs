//! Bodies that come piece by piece: of any size, at any pace, with trailers.

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, TRAILER};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};

use super::Upload;
use crate::body::{self, SimBody};

/// The largest piece.
pub(super) const CHUNK: usize = 65_536;

/// The repeated alphabet, long enough for a whole piece from any letter on.
static LETTERS: LazyLock<Bytes> = LazyLock::new(|| (b'a'..=b'z').cycle().take(CHUNK + 26).collect());

/// Pieces at an interval.
struct Paced<I> {
    pieces: I,
    /// The rest, if the head announces a length.
    left: Option<u64>,
    every: Duration,
    wait: Option<Pin<Box<Sleep>>>,
}

pub(super) fn bytes(length: u64, chunk: usize, every: Duration, announced: bool) -> Response<SimBody> {
    let mut at = 0;
    let pieces = std::iter::from_fn(move || {
        let piece = usize::try_from(length - at).unwrap_or(usize::MAX).min(chunk);
        let from = usize::try_from(at % 26).unwrap_or_default();
        at += piece as u64;
        (piece > 0).then(|| LETTERS.slice(from..from + piece))
    });
    let mut response = Response::new(body::boxed(Paced::new(pieces, announced.then_some(length), every)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

pub(super) fn events(count: u64, every: Duration) -> Response<SimBody> {
    let pieces = (1..=count).map(|number| Bytes::from(format!("id: {number}\ndata: event {number}\n\n")));
    let mut response = Response::new(body::boxed(Paced::new(pieces, None, every)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The request's body and trailers. HTTP/1 sends trailers only if `Trailer` has named them.
pub(super) fn echo(headers: &HeaderMap, upload: Upload) -> Response<SimBody> {
    let mut response = Response::new(body::boxed(upload));
    for name in [CONTENT_TYPE, CONTENT_ENCODING, TRAILER] {
        for value in headers.get_all(&name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response
}

pub(super) fn with_trailers() -> Response<SimBody> {
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-checksum"), HeaderValue::from_static("5"))]);
    // Without an announced length, because in HTTP/1 only a chunked body has trailers.
    let hello = Paced::new(std::iter::once(Bytes::from_static(b"hello")), None, Duration::ZERO);
    let mut response = Response::new(body::boxed(hello.with_trailers(std::future::ready(Some(Ok(trailers))))));
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-checksum"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

// === impl Paced ===

impl<I> Paced<I> {
    fn new(pieces: I, left: Option<u64>, every: Duration) -> Self {
        Self { pieces, left, every, wait: None }
    }
}

impl<I: Iterator<Item = Bytes> + Unpin> Body for Paced<I> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        let Some(piece) = self.pieces.next() else { return Poll::Ready(None) };
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
        }
        if !self.every.is_zero() {
            self.wait = Some(Box::pin(tokio::time::sleep_until(Instant::now() + self.every)));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
