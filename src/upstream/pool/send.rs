//! Sends a request on an open connection or waits for one, and sends it on another if the connection hands it back.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::future::Either;
use http::Request;

use crate::upstream::failure::{FailureKind, SendFailure};

use super::target::Target;
use super::{Pool, RequestBody, SendResult, Slot};

/// How often a request that an ending connection hands back is sent on another one. After that, the caller gets the failure.
const MAX_HANDED_BACK: usize = 3;

pin_project_lite::pin_project! {
    /// Waits for the response head. An `async fn` would reserve room for a second request, and every request in flight touches this
    /// memory.
    #[project = SendProjection]
    enum Sending<B: RequestBody, A> {
        Sent { #[pin] response: A, pool: Rc<Pool<B>> },
        /// Boxed, because it is rare and holds the whole request.
        Waiting { outcome: Pin<Box<dyn Future<Output = SendResult<B>>>> },
    }
}

// === impl Pool ===

impl<B: RequestBody> Pool<B> {
    /// Sends a request, and waits for the response head. With a free connection, it sends at once, even if the future is never
    /// polled. Dropping the future closes the connection or resets the stream.
    ///
    /// A request of which no byte was written goes to another connection silently: that is not a retry.
    pub fn send(self: &Rc<Self>, request: Request<B>) -> impl Future<Output = SendResult<B>> + use<B> {
        let pool = Rc::clone(self);
        match self.checkout() {
            Some(slot) => Sending::Sent { response: slot.send(&self.target, request), pool },
            None => Sending::Waiting { outcome: Box::pin(pool.wait_and_send(request, MAX_HANDED_BACK)) },
        }
    }

    /// Waits for a connection if none is free. `left`: how often the request may still be handed back.
    async fn wait_and_send(self: Rc<Self>, mut request: Request<B>, mut left: usize) -> SendResult<B> {
        loop {
            let slot = match self.checkout() {
                Some(slot) => slot,
                None => match self.wait().await {
                    Ok(slot) => slot,
                    Err(error) => return Err(SendFailure::connect(error, request)),
                },
            };
            match slot.send(&self.target, request).await {
                Ok(response) => return Ok(response),
                Err(failure) => request = unsent(failure, left)?,
            }
            left -= 1;
        }
    }
}

/// Takes the request out of a failure that the caller does not need to see.
fn unsent<B: RequestBody>(mut failure: Box<SendFailure<B>>, left: usize) -> Result<Request<B>, Box<SendFailure<B>>> {
    // Only on a reused connection: an upstream that hands back the first request of a new one would do so again.
    let again = left > 0 && failure.kind == FailureKind::HandedBack && failure.reused;
    failure.request.take_if(|_| again).ok_or(failure)
}

// === impl Slot ===

impl<B: RequestBody> Slot<B> {
    /// Sends at once. The future waits for the response head.
    fn send(self, target: &Target, request: Request<B>) -> impl Future<Output = SendResult<B>> + use<B> {
        match self {
            Self::Http1(permit) => Either::Left(permit.send(target, request)),
            Self::Http2(permit) => Either::Right(permit.send(target, request)),
        }
    }
}

// === impl Sending ===

impl<B: RequestBody, A: Future<Output = SendResult<B>>> Future for Sending<B, A> {
    type Output = SendResult<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SendResult<B>> {
        loop {
            let outcome = match self.as_mut().project() {
                SendProjection::Waiting { outcome } => return outcome.as_mut().poll(cx),
                SendProjection::Sent { response, pool } => match ready!(response.poll(cx)) {
                    Ok(response) => return Poll::Ready(Ok(response)),
                    Err(failure) => {
                        let request = unsent(failure, MAX_HANDED_BACK)?;
                        Box::pin(Rc::clone(pool).wait_and_send(request, MAX_HANDED_BACK - 1))
                    }
                },
            };
            self.set(Self::Waiting { outcome });
        }
    }
}
