//! What the client sends, as hyper gives it, and what becomes of the rest once the request is answered.
//!
//! An HTTP/2 client may be answered before it has sent everything. To drop the rest resets its stream, with NO_ERROR (RFC 9113 §8.1),
//! and what is on its way by then comes to a stream that is closed. h2 remembers 50 such streams, each for a second. What comes for
//! others counts against the connection, and ends it behind the 256th, with all other requests on it. So a rest that is short, and
//! comes soon, is read and thrown away; a drain waits for it, as for any stream.

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
    /// `None`: it is being dropped.
    incoming: Option<Incoming>,
    is_http2: bool,
    /// HTTP/1: its rest is so short that it is read before a refusal, which else would end the connection.
    is_short: bool,
}

/// What is read of a body that nobody wants any more: to read on costs less than a new connection, up to here.
const SHORT: u64 = 64 * 1024;
const SOON: Duration = Duration::from_secs(1);

/// How long a refusal waits for the rest of a short body. It was sent with its head, or right behind it.
const AT_ONCE: Duration = Duration::from_millis(100);

// === impl ClientIncoming ===

impl ClientIncoming {
    pub fn of(request: Request<Incoming>) -> Request<Self> {
        let is_http2 = request.version() == Version::HTTP_2;
        // Who expects 100 (Continue) does not send it.
        let may_come = !is_http2 && !request.headers().contains_key(EXPECT);
        request.map(|incoming| {
            let is_short = may_come && !incoming.is_end_stream() && incoming.size_hint().lower() <= SHORT;
            Self { incoming: Some(incoming), is_http2, is_short }
        })
    }

    pub fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// Takes the rest of a body whose request is refused, so that an HTTP/1 connection can go on. Of what is long, or does not come
    /// at once, nothing is waited for: the answer then says that the connection ends.
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
        // In a task, and so on a worker: where its runtime is shut down, a new task is dropped at once.
        if self.is_http2
            && tokio::task::try_id().is_some()
            && let Some(incoming) = self.incoming.take()
        {
            read_rest(incoming);
        }
    }
}

/// Reads what is left of a body, if it is short and comes soon. On a worker alone.
pub fn read_rest<B: Body<Data = Bytes> + Unpin + 'static>(body: B) {
    if body.is_end_stream() || body.size_hint().lower() > SHORT {
        return;
    }
    // Too slow is too long as well.
    tokio::task::spawn_local(tokio::time::timeout(SOON, discard(body)));
}

/// Reads to the end, or as much as is short.
async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let mut left = SHORT;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64)) {
            Some(less) => left = less,
            None => return,
        }
    }
}
