//! What a rotation with a candidate leaves in the store.

use super::{Failed, Journal, Rotation, Which};
use crate::token::Outcome;
use crate::token::endpoint::Failure;
use crate::token::store::{Expect, Record, Written};

impl Journal {
    /// Notes the failure of a candidate. The grant next to it stays as it is.
    pub(super) async fn note_candidate_failure(&self, failed: Failed, failure: Failure) -> Rotation {
        let Failed { before, announced, token, version, fence, .. } = failed;
        let (Some(was), Some(candidate)) = (before.candidate.clone(), announced.candidate.clone()) else {
            return Rotation::Failed(failure, None);
        };
        let may_be_repeated =
            token.as_ref().is_some_and(|token| self.settings.after_unclear(Some(&announced), token).is_ok());
        let candidate = candidate.failed(was, failure.outcome, failure.error.clone(), may_be_repeated);
        let record = Record { candidate: Some(candidate), ..before };
        // A clear refusal is noted whoever has the lease by now.
        let fence = Some(fence).filter(|_| failure.outcome != Outcome::Rejected);
        match self.observe("note", self.store.write(Expect { version, fence }, &record).await) {
            Ok(Written::Done) => {}
            Ok(Written::Superseded(theirs)) => return Rotation::Found(Ok(theirs)),
            // The intent stands, so that the next attempt takes this one for an unclear one.
            Ok(Written::Fenced) => tracing::warn!("the lease was lost before the outcome of the candidate was noted"),
            Err(error) => tracing::warn!(%error, "the outcome of the candidate could not be noted"),
        }
        crate::fault::point("noted");
        Rotation::Failed(failure, Some(Box::new(record)))
    }
}

/// Before the new pair is put in: the candidate is accepted, if it was what was presented.
pub(super) fn after_success(before: Record, which: Which) -> Record {
    match (which, before.candidate.clone()) {
        (Which::Candidate, Some(candidate)) => {
            Record { candidate: Some(candidate.settled(Outcome::Ok, None)), ..before }
        }
        (Which::Candidate | Which::First | Which::Stored, _) => before,
    }
}
