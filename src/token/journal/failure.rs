//! What the store keeps of a failed call.

use super::plan::LOG_IN;
use super::{Journal, Rotation};
use crate::fault;
use crate::token::endpoint::RefreshFailure;
use crate::token::store::{Expect, LastRefresh, Record, Version, Written};
use crate::token::{RefreshOutcome, RefreshToken};

/// A call that brought no token, with the records around it.
pub(super) struct FailedCall {
    /// The record before the intent.
    pub(super) before: Record,
    /// The record with the intent.
    pub(super) announced: Record,
    /// The refresh token that was presented.
    pub(super) token: Option<RefreshToken>,
    /// What the store is expected to hold.
    pub(super) version: Option<Version>,
    pub(super) fence: u64,
    pub(super) last: LastRefresh,
}

// === impl Journal ===

impl Journal {
    /// Notes the failure of the stored grant or of the initial token.
    pub(super) async fn note_failure(&self, call: FailedCall, failure: RefreshFailure) -> Rotation {
        let FailedCall { before, announced, token, version, fence, last } = call;
        let Some(token) = token else {
            // The client credentials grant spends nothing, so there is nothing to remember.
            return Rotation::Failed(failure, None);
        };
        let (record, expect) = match failure.outcome {
            // This call spent nothing. An intent of an earlier call stays.
            RefreshOutcome::Transient | RefreshOutcome::Misconfigured => {
                (Record { last_refresh: Some(last), ..before }, Expect { version, fence: Some(fence) })
            }
            RefreshOutcome::Rejected => {
                let after_ambiguous = announced.intent.as_ref().is_some_and(|intent| intent.presented > 1);
                (rejected(before, &token, after_ambiguous, last), Expect { version, fence: None })
            }
            RefreshOutcome::Ambiguous | RefreshOutcome::Ok => {
                (Record { last_refresh: Some(last), ..announced }, Expect { version, fence: Some(fence) })
            }
        };
        match self.observe("note", self.store.write(expect, &record).await) {
            Ok(Written::Superseded(Some(theirs))) => return Rotation::Found(Ok(Some(theirs))),
            // This process was suspended for longer than its lease. The next holder may have renewed the token.
            Ok(Written::Fenced) => {
                if let Ok(Some(theirs)) = self.observe("load", self.store.load().await)
                    && (theirs.lineage != record.lineage || theirs.generation > record.generation)
                {
                    return Rotation::Found(Ok(Some(Box::new(theirs))));
                }
            }
            Ok(_) => {}
            // The intent stays, so the next attempt treats this call as ambiguous. That loses nothing.
            Err(error) => tracing::warn!(%error, "the outcome of the refresh could not be noted"),
        }
        fault::point("noted");
        Rotation::Failed(failure, Some(Box::new(record)))
    }
}

/// The record after the server clearly refused `token`. Pure.
pub(super) fn rejected(before: Record, token: &RefreshToken, after_ambiguous: bool, last: LastRefresh) -> Record {
    let said = last.error.clone().unwrap_or_default();
    let mut record = Record { last_refresh: Some(last), ..before };
    if record.refresh.as_ref() != Some(token) {
        // The initial token was refused. It is not tried again, and the stored grant is unchanged, even if it is bound to another
        // server.
        record.tried_initial.push(token.fingerprint());
        if record.refresh.is_some() {
            return record;
        }
    }
    let lost = if after_ambiguous {
        " An earlier refresh had no clear answer: that answer probably held the successor, and was lost."
    } else {
        ""
    };
    record.intent = None;
    record.needs_login = Some(format!("The token endpoint refused the refresh token: {said}.{lost} {LOG_IN}"));
    record
}
