//! A response's body, which holds its stream's place on an HTTP/2 connection until it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::h2::OpenStream;

pub struct UpstreamBody {
    incoming: Incoming,
    /// `None` on HTTP/1, where the connection itself knows when it is free again.
    stream: Option<OpenStream>,
}

// === impl UpstreamBody ===

impl UpstreamBody {
    pub(super) fn http1(incoming: Incoming) -> Self {
        Self { incoming, stream: None }
    }

    pub(super) fn http2(incoming: Incoming, stream: OpenStream) -> Self {
        let stream = if incoming.is_end_stream() { None } else { Some(stream) };
        Self { incoming, stream }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        let ended = match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(_))) => self.incoming.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
        };
        if ended {
            self.stream = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamBody")
    }
}
