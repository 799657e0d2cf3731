//! Why a request got no response, in the terms by which [`verdict`](super::verdict) decides whether to send it again.
//!
//! hyper and h2 report many errors. An error is classified by what it proves. Was anything written? Did the upstream say that it
//! did not process the request? Did any byte of a response arrive?

use std::error::Error;
use std::{fmt, io};

use http::{Method, Request};

use crate::outbound::{ConnectError, Protocol};

/// A request that got no response head.
pub struct SendFailure<B> {
    pub kind: FailureKind,
    /// The whole request, if nothing of it was written. It is present with `Connect` and `HandedBack`, and with no other kind.
    /// The pool may have changed its URI, version and `Host` to fit a connection, and does so again for the next one.
    pub request: Option<Request<B>>,
    /// The connection had carried a response before, so it may have been closed for idleness, not because of this request.
    pub reused: bool,
    /// `None`: no connection was opened.
    pub protocol: Option<Protocol>,
    /// The error of hyper or h2, for the log.
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
    /// HTTP_1_1_REQUIRED (RFC 9113 §7). The upstream did not process the request.
    #[error("the upstream requires HTTP/1.1 for this request")]
    Http1Required,
    /// The connection was closed, reset or silent, and no byte of a response had arrived.
    #[error("the connection was lost before any byte of the response")]
    Lost,
    #[error("the connection was lost within the response head")]
    Truncated,
    /// Any other error code of HTTP/2 (RFC 9113 §7).
    #[error("the upstream reset the stream with error code {0}")]
    Reset(u32),
    /// After the handshake: an alert, or bytes that are not TLS.
    #[error("TLS failed after the handshake")]
    Tls,
    #[error("the response is not valid HTTP")]
    Protocol,
    /// The head has more bytes or fields than the library accepts.
    #[error("the response head is too large")]
    HeadTooLarge,
    /// A transfer coding other than `chunked` (RFC 9112 §7).
    #[error("the response has a transfer coding other than chunked")]
    Coding,
    /// The request body failed or ended too early. The client caused it.
    #[error("the request body failed")]
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

    /// A response arrived that must not be passed on.
    pub(super) fn unfit(kind: FailureKind, reused: bool, protocol: Protocol) -> Box<Self> {
        Box::new(Self { kind, request: None, reused, protocol: Some(protocol), source: None })
    }

    /// `received`: a byte of the response was read.
    pub(super) fn from_hyper(
        mut error: hyper::client::conn::TrySendError<Request<B>>,
        received: bool,
        reused: bool,
        protocol: Protocol,
    ) -> Box<Self> {
        let request = error.take_message();
        let error = error.into_error();
        let kind = if request.is_some() { FailureKind::HandedBack } else { FailureKind::classify(&error, received) };
        Box::new(Self { kind, request, reused, protocol: Some(protocol), source: Some(error.into()) })
    }

    pub(super) fn from_h2(error: &h2::Error, reused: bool) -> Box<Self> {
        // Only the code: the upstream chooses the debug data of a GOAWAY.
        let source = match error.get_io() {
            Some(error) => Some(io::Error::from(error.kind()).into()),
            None => error.reason().map(|reason| h2::Error::from(reason).into()),
        };
        let kind = FailureKind::classify_h2(error);
        Box::new(Self { kind, request: None, reused, protocol: Some(Protocol::Http2), source })
    }

    /// The failure as the verdict judges it.
    pub fn event<'a>(&'a self, method: &'a Method, replayable: bool, resent: bool) -> Event<'a> {
        Event { failure: &self.kind, method, reused: self.reused, replayable, resent }
    }
}

// Not derived, because the request contains the bearer token.
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
    fn classify(error: &hyper::Error, received: bool) -> Self {
        let lost = if received { Self::Truncated } else { Self::Lost };
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
            // h2 delivers a head whole or not at all, so no caller saw a part of it.
            return Self::classify_io(error.kind(), Self::Lost);
        }
        match error.reason() {
            Some(h2::Reason::HTTP_1_1_REQUIRED) if error.is_remote() => Self::Http1Required,
            // h2 reports a GOAWAY of the peer only on streams above its last identifier. The others end with a response or with
            // an I/O error.
            Some(_) if error.is_go_away() && error.is_remote() => Self::GoneAway,
            Some(h2::Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => Self::Refused,
            Some(reason) if error.is_reset() && error.is_remote() => Self::Reset(reason.into()),
            _ => Self::Protocol,
        }
    }

    fn classify_io(kind: io::ErrorKind, lost: Self) -> Self {
        match kind {
            // rustls reports alerts, and bytes that are not TLS, as invalid data.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::Tls,
            _ => lost,
        }
    }
}

/// Returns the first `E` among the causes of `error`.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(error.source(), |cause| (*cause).source()).find_map(|cause| cause.downcast_ref())
}
