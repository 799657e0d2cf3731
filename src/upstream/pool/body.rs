//! The body of a response. On HTTP/2 it holds the place of its stream until it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use super::open_stream::OpenStream;

pub struct UpstreamBody(Kind);

enum Kind {
    /// hyper's connection knows itself when it is free again.
    Http1(Incoming),
    Http2(Http2),
}

struct Http2 {
    stream: RecvStream,
    /// How many bytes are missing, if the head announced the length.
    left: Option<u64>,
    /// Only trailers may follow.
    data_ended: bool,
    /// Nothing follows. h2 knows it too, but locks its connection to answer, and callers ask several times per frame.
    ended: bool,
    place: Option<OpenStream>,
    /// Stops the rest of the request body.
    upload: Option<AbortHandle>,
}

/// A response that ended too early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// Only the code is shown: the upstream chooses the debug data of a GOAWAY.
    #[error("the upstream reset its response: {}", .0.description())]
    Reset(Reason),
    #[error("the connection to the upstream was lost within the response")]
    Lost,
}

// === impl UpstreamBody ===

impl UpstreamBody {
    pub(super) fn http1(incoming: Incoming) -> Self {
        Self(Kind::Http1(incoming))
    }

    pub(super) fn http2(
        response: Response<RecvStream>,
        place: Option<OpenStream>,
        upload: Option<AbortHandle>,
    ) -> Response<Self> {
        let (head, stream) = response.into_parts();
        let ended = stream.is_end_stream();
        let left = length(&head.headers).or(ended.then_some(0));
        let place = place.filter(|_| !ended);
        Response::from_parts(head, Self(Kind::Http2(Http2 { stream, left, data_ended: ended, ended, place, upload })))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Kind::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
            Kind::Http2(body) => {
                let polled = body.poll_frame(cx);
                if let Poll::Ready(Some(Ok(_))) = &polled {
                    body.ended = body.is_end_stream();
                }
                if body.ended || matches!(&polled, Poll::Ready(Some(Err(_)) | None)) {
                    body.place = None;
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(incoming) => incoming.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(incoming) => incoming.size_hint(),
            Kind::Http2(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamBody")
    }
}

// === impl Http2 ===

impl Http2 {
    /// While bytes are missing, h2 need not be asked: it reports a body that is shorter than announced as an error
    /// (RFC 9113 §8.1.1).
    fn is_end_stream(&self) -> bool {
        let missing = !self.data_ended && self.left.is_some_and(|left| left > 0);
        self.ended || (!missing && self.stream.is_end_stream())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // hyper polls again when the client has room for more, so the window reopens now.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if let Some(place) = &self.place {
                        place.took(data.len());
                    }
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(self.broken(&error)),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => self.broken(&error),
        })
    }

    /// A reset does not break a body whose announced bytes have all arrived. NO_ERROR asks the client not to send the rest of the
    /// request (RFC 9113 §8.1), and a local reset concerns the request. Without an announced length, only the end of the stream
    /// proves that the body is whole.
    fn broken(&self, error: &h2::Error) -> Option<Result<Frame<Bytes>, BodyError>> {
        let concerns_request = error.is_reset() && (error.reason() == Some(Reason::NO_ERROR) || !error.is_remote());
        let whole = concerns_request && self.left == Some(0);
        (!whole).then(|| Err(error.reason().map_or(BodyError::Lost, BodyError::Reset)))
    }
}

impl Drop for Http2 {
    // The client stopped reading the response. An upload that waits for its window would keep the stream open. The upstream may
    // open that window only after its response is read, which would never happen.
    fn drop(&mut self) {
        // The unread bytes no longer count as waiting.
        if let Some(place) = &self.place {
            place.took(self.stream.flow_control().used_capacity());
        }
        if let Some(upload) = self.upload.take().filter(|_| !self.is_end_stream()) {
            upload.abort();
        }
    }
}

/// h2 refuses an invalid length, and `framing` refuses a repeated one.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
