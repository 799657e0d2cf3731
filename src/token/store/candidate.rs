//! A refresh token that a person supplied, next to the grant that it may replace.
//!
//! The grant stays in use until a refresh with the candidate has succeeded. The candidate has an intent of its own, so that the
//! grant's intent is not forgotten. Once the outcome is final, the token is removed and the outcome stays, for the import that
//! waits for it.

use super::{Binding, Intent};
use crate::token::{Fingerprint, RefreshOutcome, RefreshToken};

#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub fingerprint: Fingerprint,
    /// `None`: the outcome is final.
    pub token: Option<RefreshToken>,
    /// The server that it is for; it is never sent to another.
    pub binding: Binding,
    /// The import waits for the outcome and reports it. Then a failure that says nothing about the token withdraws the candidate;
    /// otherwise the candidate is tried again.
    pub awaited: bool,
    /// A presentation that was announced and whose outcome is not known.
    pub intent: Option<Intent>,
    /// How the last presentation ended.
    pub result: Option<CandidateResult>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CandidateResult {
    pub outcome: RefreshOutcome,
    /// In words that hold no secret.
    pub error: Option<String>,
}

/// What a write compares of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidateVersion {
    fingerprint: Fingerprint,
    presented: u32,
    is_settled: bool,
}

// === impl Candidate ===

impl Candidate {
    pub fn new(token: RefreshToken, binding: Binding, awaited: bool) -> Self {
        Self { fingerprint: token.fingerprint(), token: Some(token), binding, awaited, intent: None, result: None }
    }

    /// How often it was presented without a clear answer.
    pub fn presented(&self) -> u32 {
        self.intent.as_ref().map_or(0, |intent| intent.presented)
    }

    pub fn version(&self) -> CandidateVersion {
        let (fingerprint, presented) = (self.fingerprint, self.presented());
        CandidateVersion { fingerprint, presented, is_settled: self.token.is_none() }
    }

    /// The outcome is final: the token is not presented again.
    #[must_use]
    pub fn settled(self, outcome: RefreshOutcome, error: Option<String>) -> Self {
        Self { token: None, intent: None, result: Some(CandidateResult { outcome, error }), ..self }
    }

    /// After a presentation that failed. `self` is the candidate as announced, `before` as it was until then.
    #[must_use]
    pub fn failed(self, before: Self, outcome: RefreshOutcome, error: String, may_be_repeated: bool) -> Self {
        match outcome {
            // Nothing was sent, or nothing was said about the token.
            RefreshOutcome::Transient | RefreshOutcome::Misconfigured if !before.awaited => {
                Self { result: Some(CandidateResult { outcome, error: Some(error) }), ..before }
            }
            RefreshOutcome::Ambiguous if may_be_repeated => {
                Self { result: Some(CandidateResult { outcome, error: Some(error) }), ..self }
            }
            _ => self.settled(outcome, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_candidate_whose_presentation_failed() {
        use RefreshOutcome::{Ambiguous, Misconfigured, Rejected, Transient};
        let binding = Binding { token_url: "t".into(), client_id: "c".into(), upstream_origin: "u".into() };
        let token = RefreshToken::parse("candidate").unwrap();
        // (import waits, outcome, may be repeated, is kept, presentations that are remembered)
        for (awaited, outcome, may_be_repeated, kept, presented) in [
            (true, Transient, true, false, 0),
            (true, Misconfigured, true, false, 0),
            (true, Rejected, true, false, 0),
            (true, Ambiguous, true, true, 2),
            (true, Ambiguous, false, false, 0),
            (false, Transient, true, true, 1),
            (false, Misconfigured, true, true, 1),
            (false, Rejected, true, false, 0),
            (false, Ambiguous, true, true, 2),
            (false, Ambiguous, false, false, 0),
        ] {
            let intent = |presented| {
                Some(Intent {
                    owner: "one".into(),
                    at: jiff::Timestamp::UNIX_EPOCH,
                    fingerprint: token.fingerprint(),
                    presented,
                })
            };
            let before = Candidate { intent: intent(1), ..Candidate::new(token.clone(), binding.clone(), awaited) };
            let announced = Candidate { intent: intent(2), ..before.clone() };
            let after = announced.failed(before, outcome, "why".into(), may_be_repeated);
            assert_eq!((after.token.is_some(), after.presented()), (kept, presented), "{awaited} {outcome:?}");
            let result = CandidateResult { outcome, error: Some("why".into()) };
            assert_eq!(after.result, Some(result), "{awaited} {outcome:?}");
        }
    }
}
