//! The body of a client's request as hyper delivers it, and what happens to the rest of it after the response.
//!
//! An HTTP/2 client may get a response before it has sent everything. Dropping the rest resets the stream with NO_ERROR (RFC 9113
//! §8.1). Frames in transit then arrive on a closed stream. h2 remembers 50 such streams, each for a second. A frame of a forgotten
//! stream counts as an error of the connection, and the 256th error ends the connection with all its requests. So a short rest that
//! arrives soon is read and discarded. A drain waits for it, as for any stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// The body of a client's request.
pub struct ClientIncoming {
    /// `None`: this value is being dropped, or the rest is being discarded.
    incoming: Option<Incoming>,
    is_http2: bool,
    /// HTTP/1 only: the body is short enough to read its rest before a refusal, so that the connection survives.
    is_short: bool,
}

/// The most that is read of an unwanted body, in bytes. Up to this size, reading costs less than a new connection.
const SHORT: u64 = 64 * 1024;
const SOON: Duration = Duration::from_secs(1);

/// How long a refusal waits for the rest of a short body, which usually arrives with its head.
const AT_ONCE: Duration = Duration::from_millis(100);

// === impl ClientIncoming ===

impl ClientIncoming {
    pub fn wrap(request: Request<Incoming>) -> Request<Self> {
        let is_http2 = request.version() == Version::HTTP_2;
        // A client that expects 100 (Continue) does not send its body yet.
        let may_come = !is_http2 && !request.headers().contains_key(EXPECT);
        request.map(|incoming| {
            let is_short = may_come && !incoming.is_end_stream() && incoming.size_hint().lower() <= SHORT;
            Self { incoming: Some(incoming), is_http2, is_short }
        })
    }

    pub fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// Reads the rest of the body of a refused request, so that an HTTP/1 connection can continue. It does not wait for a long body,
    /// or for one that does not arrive at once. hyper then ends the connection with the response.
    pub async fn discard(mut self) {
        if self.is_short
            && let Some(incoming) = self.incoming.take()
        {
            let _ = tokio::time::timeout(AT_ONCE, discard(incoming)).await;
        }
    }
}

impl Body for ClientIncoming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ClientIncoming {
    fn drop(&mut self) {
        // A task ID exists only on a running worker. When a runtime shuts down, it drops a new task at once.
        if self.is_http2
            && tokio::task::try_id().is_some()
            && let Some(incoming) = self.incoming.take()
        {
            read_rest(incoming);
        }
    }
}

/// Reads the rest of a body in a task, if it is short and arrives soon. To be called on a worker.
pub fn read_rest<B: Body<Data = Bytes> + Unpin + 'static>(body: B) {
    if body.is_end_stream() || body.size_hint().lower() > SHORT {
        return;
    }
    tokio::task::spawn_local(tokio::time::timeout(SOON, discard(body)));
}

/// Reads until the end, or until more than [`SHORT`] bytes have arrived.
async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let mut left = SHORT;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64)) {
            Some(less) => left = less,
            None => return,
        }
    }
}
