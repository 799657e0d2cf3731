//! Why a request got no answer, told so that [`verdict`](super::verdict) can judge whether it may be sent again.
//!
//! hyper and h2 report many errors; what counts is what they prove: was anything written, has the upstream said that it
//! did not process the request, has any byte of a response arrived.

use std::error::Error;
use std::{fmt, io};

use http::{Method, Request};

use crate::outbound::{ConnectError, Protocol};

/// A request that got no response head.
pub struct SendFailure<B> {
    pub kind: FailureKind,
    /// The request, whole, where nothing of it was written: always with `Connect` and `HandedBack`, else never. Its URI,
    /// version and `Host` may have been changed to fit a connection; the pool does that again for the next.
    pub request: Option<Request<B>>,
    /// The connection had carried an answer before: it may have died of idleness rather than of this request.
    pub reused: bool,
    /// `None`: there was no connection.
    pub protocol: Option<Protocol>,
    /// What hyper or h2 said, for the log.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailureKind {
    #[error("no connection to the upstream: {0}")]
    Connect(ConnectError),
    #[error("the connection ended before the request was written")]
    HandedBack,
    /// REFUSED_STREAM: "closed prior to any processing having occurred" (RFC 9113 §8.7).
    #[error("the upstream refused the stream before it processed the request")]
    Refused,
    /// GOAWAY whose last stream identifier is below this request's (RFC 9113 §6.8).
    #[error("the upstream went away before it processed the request")]
    GoneAway,
    /// HTTP_1_1_REQUIRED (RFC 9113 §7): the upstream wants the request over HTTP/1.1, and has not processed it.
    #[error("the upstream requires HTTP/1.1 for this request")]
    Http1Required,
    /// Closed, reset or unanswering, and no byte of a response had come.
    #[error("the connection was lost before any byte of the response")]
    Lost,
    #[error("the connection was lost within the response's head")]
    Truncated,
    /// Any other error code of HTTP/2 (RFC 9113 §7).
    #[error("the upstream reset the stream with error code {0}")]
    Reset(u32),
    /// After the handshake: an alert, or bytes that are not TLS.
    #[error("TLS failed after the handshake")]
    Tls,
    #[error("the upstream's answer is not valid HTTP")]
    Protocol,
    /// Of more bytes or fields than the library takes.
    #[error("the head of the upstream's answer is too large")]
    HeadTooLarge,
    /// In a transfer coding other than `chunked` (RFC 9112 §7).
    #[error("the upstream's answer has an unknown transfer coding")]
    Coding,
    /// The request's own body failed or ended short: the downstream's doing.
    #[error("the request's body failed")]
    RequestBody,
}

/// A failed attempt, as the verdict judges it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub failure: &'a FailureKind,
    pub method: &'a Method,
    /// The connection had carried a response before.
    pub reused: bool,
    /// The body can be sent again: nothing was read of it, or everything that was read is kept.
    pub replayable: bool,
    /// The request was already sent again once.
    pub resent: bool,
}

// === impl SendFailure ===

impl<B> SendFailure<B> {
    pub(super) fn connect(error: ConnectError, request: Request<B>) -> Box<Self> {
        let kind = FailureKind::Connect(error);
        Box::new(Self { kind, request: Some(request), reused: false, protocol: None, source: None })
    }

    pub(super) fn handed_back(request: Request<B>, reused: bool, protocol: Protocol) -> Box<Self> {
        let kind = FailureKind::HandedBack;
        Box::new(Self { kind, request: Some(request), reused, protocol: Some(protocol), source: None })
    }

    /// A response came, and is not fit to be passed on.
    pub(super) fn unfit(kind: FailureKind, reused: bool, protocol: Protocol) -> Box<Self> {
        Box::new(Self { kind, request: None, reused, protocol: Some(protocol), source: None })
    }

    /// `heard`: a byte of the response was read.
    pub(super) fn from_hyper(
        mut error: hyper::client::conn::TrySendError<Request<B>>,
        heard: bool,
        reused: bool,
        protocol: Protocol,
    ) -> Box<Self> {
        let request = error.take_message();
        let error = error.into_error();
        let kind = if request.is_some() { FailureKind::HandedBack } else { FailureKind::classify(&error, heard) };
        Box::new(Self { kind, request, reused, protocol: Some(protocol), source: Some(error.into()) })
    }

    pub(super) fn from_h2(error: &h2::Error, reused: bool) -> Box<Self> {
        // By its code: the text of a GOAWAY is the upstream's.
        let source = match error.get_io() {
            Some(error) => Some(io::Error::from(error.kind()).into()),
            None => error.reason().map(|reason| h2::Error::from(reason).into()),
        };
        let kind = FailureKind::classify_h2(error);
        Box::new(Self { kind, request: None, reused, protocol: Some(Protocol::Http2), source })
    }

    /// What the verdict wants to know. `replayable`: the caller has kept the whole body; `resent`: it was sent again
    /// already.
    pub fn event<'a>(&'a self, method: &'a Method, replayable: bool, resent: bool) -> Event<'a> {
        Event { failure: &self.kind, method, reused: self.reused, replayable, resent }
    }
}

// Not derived: the request holds the bearer token.
impl<B> fmt::Debug for SendFailure<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFailure")
            .field("kind", &self.kind)
            .field("reused", &self.reused)
            .field("protocol", &self.protocol)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Display for SendFailure<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<B> Error for SendFailure<B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|error| &**error as _)
    }
}

// === impl FailureKind ===

impl FailureKind {
    fn classify(error: &hyper::Error, heard: bool) -> Self {
        let lost = if heard { Self::Truncated } else { Self::Lost };
        if error.is_incomplete_message() {
            return lost;
        }
        if error.is_parse_too_large() {
            return Self::HeadTooLarge;
        }
        if error.is_user() {
            return Self::RequestBody;
        }
        match find::<io::Error>(error) {
            Some(error) => Self::classify_io(error.kind(), lost),
            _ => Self::Protocol,
        }
    }

    fn classify_h2(error: &h2::Error) -> Self {
        if let Some(error) = error.get_io() {
            // A head comes as one block or not at all: what had come of it was nothing that a caller saw.
            return Self::classify_io(error.kind(), Self::Lost);
        }
        match error.reason() {
            Some(h2::Reason::HTTP_1_1_REQUIRED) if error.is_remote() => Self::Http1Required,
            // h2 gives a GOAWAY of the peer's to the streams above its last identifier alone; those at or below it end
            // with their own answer, or with an I/O error.
            Some(_) if error.is_go_away() && error.is_remote() => Self::GoneAway,
            Some(h2::Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => Self::Refused,
            Some(reason) if error.is_reset() && error.is_remote() => Self::Reset(reason.into()),
            _ => Self::Protocol,
        }
    }

    fn classify_io(kind: io::ErrorKind, lost: Self) -> Self {
        match kind {
            // rustls reports what is not TLS, and alerts, as invalid data.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::Tls,
            _ => lost,
        }
    }
}

/// The first `E` among the causes of `error`.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(error.source(), |cause| (*cause).source()).find_map(|cause| cause.downcast_ref())
}
