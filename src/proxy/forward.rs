//! [`Authorized`] → upstream → response: the innermost service, with the limit on the wait for a response's head.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tower::Service;

use super::LocalBoxFuture;
use super::bearer::Authorized;
use super::body::{BoxError, ClientBody};
use super::error::{Broken, Failure};
use super::replay::{Attempt, Kept, Progress};
use crate::config::UpstreamConfig;
use crate::upstream::failure::{FailureKind, SendFailure};
use crate::upstream::pool::{Outcome, Pool, UpstreamBody};
use crate::upstream::verdict::{Verdict, may_resend};

/// The body of one attempt.
#[derive(Default)]
pub enum RequestBody {
    #[default]
    Empty,
    Attempt(Attempt<ClientBody>),
}

/// An attempt that brought no answer.
#[derive(Debug)]
pub enum Attempted {
    Failed(Box<SendFailure<RequestBody>>),
    /// No response head came in time: it may have been processed, and is not sent again.
    TimedOut(Duration),
    /// The upstream took nothing more of the request's body.
    Stalled(Duration),
}

/// Sends to the upstream.
#[derive(Clone)]
pub struct Forward {
    pool: Rc<Pool<RequestBody>>,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    /// On the wait for a response's head.
    response: Duration,
    /// Between two pieces of the request's body.
    idle: Duration,
}

pin_project_lite::pin_project! {
    /// An answer, within the limits.
    struct InTime<A> {
        #[pin]
        answer: A,
        #[pin]
        timer: Sleep,
        limits: Limits,
        kept: Option<Rc<Kept<ClientBody>>>,
    }
}

// === impl RequestBody ===

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Attempt(attempt) => Pin::new(attempt).poll_frame(cx).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Attempt(attempt) => attempt.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Attempt(attempt) => attempt.size_hint(),
        }
    }
}

// === impl Attempted ===

impl Attempted {
    /// `whole`: the body is kept as far as it was read. `resent`: this would not be the first repetition.
    pub fn may_resend(&self, method: &Method, whole: bool, resent: bool) -> bool {
        match self {
            Self::Failed(failure) => may_resend(failure.event(method, whole, resent)) == Verdict::Resend,
            Self::TimedOut(_) | Self::Stalled(_) => false,
        }
    }
}

impl From<Attempted> for Failure {
    fn from(attempted: Attempted) -> Self {
        let failure = match attempted {
            Attempted::TimedOut(limit) => return Self::ResponseTimeout(limit),
            Attempted::Stalled(limit) => return Self::WriteTimeout(limit),
            Attempted::Failed(failure) => failure,
        };
        tracing::debug!(kind = %failure.kind, reused = failure.reused, source = ?failure.source, "no answer from the upstream");
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

// === impl Forward ===

impl Forward {
    pub fn new(pool: Rc<Pool<RequestBody>>, config: &UpstreamConfig) -> Self {
        Self { pool, limits: Limits { response: config.response_timeout, idle: config.idle_timeout } }
    }
}

impl Service<Authorized> for Forward {
    type Response = Response<UpstreamBody>;
    type Error = Attempted;
    type Future = LocalBoxFuture<Result<Response<UpstreamBody>, Attempted>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Attempted>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, authorized: Authorized) -> Self::Future {
        let (request, upgrade, kept) = authorized.into_parts();
        if upgrade {
            let pool = Rc::clone(&self.pool);
            return Box::pin(InTime::new(async move { pool.send_upgrade(request).await }, self.limits, kept));
        }
        Box::pin(InTime::new(self.pool.send(request), self.limits, kept))
    }
}

// === impl InTime ===

impl<A> InTime<A> {
    fn new(answer: A, limits: Limits, kept: Option<Rc<Kept<ClientBody>>>) -> Self {
        let Limits { response, idle } = limits;
        // What is due is looked at only when the first deadline has passed, so that a request sets one timer.
        let timer = sleep(if kept.is_some() { response.min(idle) } else { response });
        Self { answer, timer, limits, kept }
    }
}

impl<A> Future for InTime<A>
where
    A: Future<Output = Outcome<RequestBody>>,
{
    type Output = Result<Response<UpstreamBody>, Attempted>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.answer.poll(cx) {
            return Poll::Ready(answer.map_err(Attempted::Failed));
        }
        loop {
            ready!(this.timer.as_mut().poll(cx));
            match this.limits.later(this.kept.as_deref()) {
                Ok(later) => this.timer.as_mut().reset(later),
                Err(attempted) => return Poll::Ready(Err(attempted)),
            }
        }
    }
}

// === impl Limits ===

impl Limits {
    /// The limit on the response counts from the request's end. Before, the body's own limit counts: for the client while its next
    /// piece is waited for (there the body watches itself), for the upstream while it takes nothing.
    fn later(self, kept: Option<&Kept<ClientBody>>) -> Result<Instant, Attempted> {
        let Self { response, idle } = self;
        let now = Instant::now();
        let (due, outcome) = match kept.map(Kept::progress) {
            None => (now, Attempted::TimedOut(response)),
            Some(Progress::Ended(end)) => (end + response, Attempted::TimedOut(response)),
            Some(Progress::Awaited) => return Ok(now + idle),
            Some(Progress::Given(at)) => (at + idle, Attempted::Stalled(idle)),
        };
        if due > now { Ok(due) } else { Err(outcome) }
    }
}
