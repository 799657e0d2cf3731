//! A request on its way: to a connection that is there or is waited for, and to another one where that hands it back.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::future::Either;
use http::Request;

use crate::upstream::failure::{FailureKind, SendFailure};

use super::target::Target;
use super::{Outcome, Pool, RequestBody, Slot};

/// A request that a dying connection hands back goes to another this often; then the caller hears of it.
const MAX_HANDED_BACK: usize = 3;

pin_project_lite::pin_project! {
    /// Until the response's head. Not an `async fn`: that would keep room for a second request beside the answer, and every request
    /// in flight touches what this is made of.
    #[project = SendingProjection]
    enum Sending<B: RequestBody, A> {
        Sent { #[pin] answer: A, pool: Rc<Pool<B>> },
        /// Boxed, since it is rare and holds the whole request.
        InTurn { outcome: Pin<Box<dyn Future<Output = Outcome<B>>>> },
    }
}

// === impl Pool ===

impl<B: RequestBody> Pool<B> {
    /// Sends a request, and waits for the response's head. Where a connection is there, it is sent at once, also if the future is
    /// never polled; dropping that closes the connection or resets the stream.
    ///
    /// What comes back without a byte written goes to another connection, silently: that is not a repetition.
    pub fn send(self: &Rc<Self>, request: Request<B>) -> impl Future<Output = Outcome<B>> + use<B> {
        let pool = Rc::clone(self);
        match self.checkout() {
            Some(slot) => Sending::Sent { answer: slot.send(&self.target, request), pool },
            None => Sending::InTurn { outcome: Box::pin(pool.send_in_turn(request, MAX_HANDED_BACK)) },
        }
    }

    /// Waits for a connection where none is there. `left`: how often it may be handed back and sent again.
    async fn send_in_turn(self: Rc<Self>, mut request: Request<B>, mut left: usize) -> Outcome<B> {
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

/// The request of a failure that no caller needs to hear of.
fn unsent<B: RequestBody>(mut failure: Box<SendFailure<B>>, left: usize) -> Result<Request<B>, Box<SendFailure<B>>> {
    // On a fresh connection it is the upstream's doing, and would go on for ever.
    let again = left > 0 && failure.kind == FailureKind::HandedBack && failure.reused;
    failure.request.take_if(|_| again).ok_or(failure)
}

// === impl Slot ===

impl<B: RequestBody> Slot<B> {
    /// Sends at once; the future is of the answer.
    fn send(self, target: &Target, request: Request<B>) -> impl Future<Output = Outcome<B>> + use<B> {
        match self {
            Self::Http1(lease) => Either::Left(lease.send(target, request)),
            Self::Http2(lease) => Either::Right(lease.send(target, request)),
        }
    }
}

// === impl Sending ===

impl<B: RequestBody, A: Future<Output = Outcome<B>>> Future for Sending<B, A> {
    type Output = Outcome<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<B>> {
        loop {
            let outcome = match self.as_mut().project() {
                SendingProjection::InTurn { outcome } => return outcome.as_mut().poll(cx),
                SendingProjection::Sent { answer, pool } => match ready!(answer.poll(cx)) {
                    Ok(response) => return Poll::Ready(Ok(response)),
                    Err(failure) => {
                        let request = unsent(failure, MAX_HANDED_BACK)?;
                        Box::pin(Rc::clone(pool).send_in_turn(request, MAX_HANDED_BACK - 1))
                    }
                },
            };
            self.set(Self::InTurn { outcome });
        }
    }
}
