//! What follows an attempt: its answer is passed on, or the request is sent again, with a newer token or on another connection.

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
    /// Its connection failed it, and it may be sent again.
    Resend,
    /// The token was refused, for the first time. Boxed, since it is kept while another token is waited for.
    Refused(Box<Response<UpstreamBody>>),
}

/// What has happened to a request so far.
#[derive(Default)]
pub(super) struct History {
    /// A first refusal was met.
    refused: bool,
    /// It was sent again for its connection's sake.
    resent: bool,
    pub(super) replayed: Option<ReplayReason>,
}

// === impl Authorizer ===

impl Authorizer {
    /// Takes note of an attempt's outcome, and says what follows.
    pub(super) fn judge(
        &self,
        outcome: Result<Response<UpstreamBody>, NoResponse>,
        began: Instant,
        token: &LiveToken,
        kept: Option<&ReplayBuffer<ClientBody>>,
        history: &mut History,
        method: &Method,
    ) -> Result<Judgement, Failure> {
        let response = match outcome {
            Ok(response) => response,
            Err(attempted) => {
                self.may_resend(method, attempted, kept, history)?;
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

    /// After a first refusal: the token to replay with. `None`: there is no replay, and the refusal is passed on.
    pub(super) async fn newer_token(
        &self,
        token: &LiveToken,
        kept: Option<&ReplayBuffer<ClientBody>>,
    ) -> Result<Option<Arc<LiveToken>>, Failure> {
        if !kept.is_none_or(ReplayBuffer::is_whole) {
            self.metrics.replay(ReplayReason::TokenRefused, ReplayOutcome::NotReplayable);
            self.tokens.refused_unreplayable(token);
            return Ok(None);
        }
        match self.tokens.refused(token).await {
            // What the client went on sending meanwhile may have grown too large to keep.
            Ok(Refusal::Replay(newer)) if kept.is_none_or(ReplayBuffer::is_whole) => Ok(Some(newer)),
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
        kept: Option<&ReplayBuffer<ClientBody>>,
        history: &mut History,
    ) -> Result<(), Failure> {
        if let Some(fault) = kept.and_then(|kept| kept.with_source(ClientBody::fault)) {
            return Err(match fault {
                ClientFault::Stalled => Failure::RequestTimeout(self.idle_timeout),
                ClientFault::TooSlow => Failure::BodyTooSlow(self.min_body_rate.unwrap_or_default()),
                ClientFault::TooLarge => Failure::BodyTooLarge(self.max_body_size.unwrap_or_default()),
                ClientFault::Broken => Failure::ClientGone,
                ClientFault::Malformed => Failure::BadRequest("the request's body is malformed"),
            });
        }
        let whole = kept.is_none_or(ReplayBuffer::is_whole);
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
