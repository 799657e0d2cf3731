//! What follows an attempt: its response is passed on, or the request is sent again, with a newer token or on another connection.

use std::sync::Arc;

use http::{Method, Response};
use tokio::time::Instant;

use super::Authorizer;
use crate::metrics::{ReplayOutcome, ReplayReason};
use crate::proxy::attempt::NoResponse;
use crate::proxy::body::{ClientBody, ClientFault};
use crate::proxy::error::Failure;
use crate::proxy::replay::ReplayBuffer;
use crate::token::live::LiveToken;
use crate::token::refresher::Refusal;
use crate::upstream::pool::UpstreamBody;

/// What follows an attempt.
pub(super) enum Judgement {
    PassOn(Response<UpstreamBody>),
    /// The connection failed, and the request may be sent again.
    Resend,
    /// The token was refused for the first time. Boxed, because it is stored while the request waits for another token.
    Refused(Box<Response<UpstreamBody>>),
}

/// What has happened to a request so far.
#[derive(Default)]
pub(super) struct History {
    /// The upstream refused the token once.
    refused: bool,
    /// The request was sent again because its connection failed.
    resent: bool,
    pub(super) replayed: Option<ReplayReason>,
}

// === impl Authorizer ===

impl Authorizer {
    /// Records the outcome of an attempt, and decides what follows.
    pub(super) fn judge(
        &self,
        outcome: Result<Response<UpstreamBody>, NoResponse>,
        began: Instant,
        token: &LiveToken,
        buffer: Option<&ReplayBuffer<ClientBody>>,
        history: &mut History,
        method: &Method,
    ) -> Result<Judgement, Failure> {
        let response = match outcome {
            Ok(response) => response,
            Err(attempted) => {
                self.may_resend(method, attempted, buffer, history)?;
                return Ok(Judgement::Resend);
            }
        };
        self.metrics.upstream_head(began.elapsed());
        if !self.refusals.is_refusal(response.status(), response.headers()) {
            self.tokens.accepted(token, || began.elapsed());
            if let Some(reason) = history.replayed {
                self.metrics.replay(reason, ReplayOutcome::Ok);
                if reason == ReplayReason::TokenRefused {
                    self.tokens.replay_accepted();
                }
            }
        } else if history.refused {
            self.metrics.replay(ReplayReason::TokenRefused, ReplayOutcome::RefusedAgain);
            self.tokens.refused_again(token);
        } else {
            history.refused = true;
            return Ok(Judgement::Refused(Box::new(response)));
        }
        Ok(Judgement::PassOn(response))
    }

    /// After a first refusal, returns the token for the replay. Returns `None` if the refusal is passed on instead.
    pub(super) async fn newer_token(
        &self,
        token: &LiveToken,
        buffer: Option<&ReplayBuffer<ClientBody>>,
    ) -> Result<Option<Arc<LiveToken>>, Failure> {
        if !buffer.is_none_or(ReplayBuffer::is_whole) {
            self.metrics.replay(ReplayReason::TokenRefused, ReplayOutcome::NotReplayable);
            self.tokens.refused_unreplayable(token);
            return Ok(None);
        }
        match self.tokens.refused(token).await {
            // The client may still be sending. Its body may have become too large to keep.
            Ok(Refusal::Replay(newer)) if buffer.is_none_or(ReplayBuffer::is_whole) => Ok(Some(newer)),
            Ok(Refusal::Replay(_)) => {
                self.metrics.replay(ReplayReason::TokenRefused, ReplayOutcome::NotReplayable);
                Ok(None)
            }
            Ok(Refusal::PassOn) => {
                self.metrics.replay(ReplayReason::TokenRefused, ReplayOutcome::NoToken);
                Ok(None)
            }
            Err(unavailable) => {
                self.metrics.replay(ReplayReason::TokenRefused, ReplayOutcome::NoToken);
                Err(Failure::TokenUnavailable(unavailable))
            }
        }
    }

    fn may_resend(
        &self,
        method: &Method,
        attempted: NoResponse,
        buffer: Option<&ReplayBuffer<ClientBody>>,
        history: &mut History,
    ) -> Result<(), Failure> {
        if let Some(fault) = buffer.and_then(|buffer| buffer.with_source(ClientBody::fault)) {
            return Err(match fault {
                ClientFault::Stalled => Failure::RequestTimeout(self.idle_timeout),
                ClientFault::TooSlow => Failure::BodyTooSlow(self.min_body_rate.unwrap_or_default()),
                ClientFault::TooLarge => Failure::BodyTooLarge(self.max_body_size.unwrap_or_default()),
                ClientFault::Broken => Failure::ClientGone,
                ClientFault::Malformed => Failure::BadRequest("the request body is malformed"),
            });
        }
        let whole = buffer.is_none_or(ReplayBuffer::is_whole);
        if !attempted.may_resend(method, whole, history.resent) {
            if let Some(reason) = history.replayed {
                self.metrics.replay(reason, ReplayOutcome::Failed);
            }
            return Err(attempted.into());
        }
        history.resent = true;
        Ok(())
    }
}
