//! What the store keeps of a rotation with a candidate.

use super::{FailedCall, Journal, Rotation, TokenSource};
use crate::token::RefreshOutcome;
use crate::token::endpoint::RefreshFailure;
use crate::token::store::{Expect, Record, Written};

// === impl Journal ===

impl Journal {
    /// Notes the failure of a candidate. The stored grant is unchanged.
    pub(super) async fn note_candidate_failure(&self, call: FailedCall, failure: RefreshFailure) -> Rotation {
        let FailedCall { before, announced, token, version, fence, .. } = call;
        let (Some(was), Some(candidate)) = (before.candidate.clone(), announced.candidate.clone()) else {
            return Rotation::Failed(failure, None);
        };
        let may_be_repeated =
            token.as_ref().is_some_and(|token| self.settings.check_retry(Some(&announced), token).is_ok());
        let candidate = candidate.failed(was, failure.outcome, failure.error.clone(), may_be_repeated);
        let record = Record { candidate: Some(candidate), ..before };
        // A clear refusal is noted even if another process holds the lease now.
        let fence = Some(fence).filter(|_| failure.outcome != RefreshOutcome::Rejected);
        match self.observe("note", self.store.write(Expect { version, fence }, &record).await) {
            Ok(Written::Done) => {}
            Ok(Written::Superseded(theirs)) => return Rotation::Found(Ok(theirs)),
            // The intent stays, so the next attempt treats this call as ambiguous.
            Ok(Written::Fenced) => tracing::warn!("the lease was lost before the outcome of the candidate was noted"),
            Err(error) => tracing::warn!(%error, "the outcome of the candidate could not be noted"),
        }
        crate::fault::point("noted");
        Rotation::Failed(failure, Some(Box::new(record)))
    }
}

/// The record into which a new pair is put: if the candidate was presented, it is accepted.
pub(super) fn after_success(before: Record, source: TokenSource) -> Record {
    match (source, before.candidate.clone()) {
        (TokenSource::Candidate, Some(candidate)) => {
            Record { candidate: Some(candidate.settled(RefreshOutcome::Ok, None)), ..before }
        }
        (TokenSource::Candidate | TokenSource::Initial | TokenSource::Stored, _) => before,
    }
}
