//! One attempt at a request: the body that it sends, and how it can end without a response.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body::{Body, Frame, SizeHint};

use super::body::{BoxError, ClientBody};
use super::error::{Broken, Failure};
use super::replay::AttemptBody;
use crate::upstream::failure::{FailureKind, SendFailure};
use crate::upstream::verdict::{Verdict, may_resend};

/// The body of one attempt.
#[derive(Default)]
pub enum RequestBody {
    #[default]
    Empty,
    Attempt(AttemptBody<ClientBody>),
}

/// Why an attempt brought no response head.
#[derive(Debug)]
pub enum NoResponse {
    Failed(Box<SendFailure<RequestBody>>),
    /// The time limit for the response head passed. The upstream may have processed the request, so it is not sent again.
    TimedOut(Duration),
    /// The upstream stopped reading the request body.
    Stalled(Duration),
}

// === impl RequestBody ===

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Attempt(body) => Pin::new(body).poll_frame(cx).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Attempt(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Attempt(body) => body.size_hint(),
        }
    }
}

// === impl NoResponse ===

impl NoResponse {
    /// `replayable`: everything that was read of the body is kept. `resent`: the request was already sent again once.
    pub fn may_resend(&self, method: &Method, replayable: bool, resent: bool) -> bool {
        match self {
            Self::Failed(failure) => may_resend(failure.event(method, replayable, resent)) == Verdict::Resend,
            Self::TimedOut(_) | Self::Stalled(_) => false,
        }
    }
}

impl From<NoResponse> for Failure {
    fn from(outcome: NoResponse) -> Self {
        let failure = match outcome {
            NoResponse::TimedOut(limit) => return Self::ResponseTimeout(limit),
            NoResponse::Stalled(limit) => return Self::WriteTimeout(limit),
            NoResponse::Failed(failure) => failure,
        };
        tracing::debug!(kind = %failure.kind, reused = failure.reused, source = ?failure.source, "no response from the upstream");
        match failure.kind {
            FailureKind::Connect(error) => Self::Unreachable(error),
            FailureKind::Protocol | FailureKind::Tls | FailureKind::Reset(_) | FailureKind::Http1Required => {
                Self::Broken(Broken::Protocol)
            }
            FailureKind::HeadTooLarge => Self::Broken(Broken::HeadTooLarge),
            FailureKind::Coding => Self::Broken(Broken::Coding),
            FailureKind::RequestBody => Self::ClientGone,
            FailureKind::HandedBack
            | FailureKind::Refused
            | FailureKind::GoneAway
            | FailureKind::Lost
            | FailureKind::Truncated => Self::Broken(Broken::Incomplete),
        }
    }
}
