//! A refresh token that a person supplied, stored next to the grant that it may replace.
//!
//! The grant stays in use until a refresh with the candidate has succeeded. The candidate has its own intent, so the intent of the
//! grant is kept. When the outcome is final, the token is removed. The outcome stays for the `import` that waits for it.

use super::{Binding, Intent};
use crate::token::{Fingerprint, RefreshOutcome, RefreshToken};

#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub fingerprint: Fingerprint,
    /// `None`: the outcome is final.
    pub token: Option<RefreshToken>,
    /// The server that the candidate is for. It is never sent to another.
    pub binding: Binding,
    /// `import` waits for the outcome and reports it. Then a transient or misconfigured outcome withdraws the candidate. Otherwise, the
    /// candidate is tried again.
    pub awaited: bool,
    /// An announced presentation whose outcome is unknown.
    pub intent: Option<Intent>,
    /// How the last presentation ended.
    pub result: Option<CandidateResult>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CandidateResult {
    pub outcome: RefreshOutcome,
    /// Holds no secret.
    pub error: Option<String>,
}

/// The part of a candidate that a write compares.
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

    /// How many of its presentations have no clear outcome.
    pub fn presented(&self) -> u32 {
        self.intent.as_ref().map_or(0, |intent| intent.presented)
    }

    pub fn version(&self) -> CandidateVersion {
        let (fingerprint, presented) = (self.fingerprint, self.presented());
        CandidateVersion { fingerprint, presented, is_settled: self.token.is_none() }
    }

    /// Makes the outcome final: the token is not presented again.
    #[must_use]
    pub fn settled(self, outcome: RefreshOutcome, error: Option<String>) -> Self {
        Self { token: None, intent: None, result: Some(CandidateResult { outcome, error }), ..self }
    }

    /// The candidate after a failed presentation. `self` has the intent of that presentation, and `before` does not.
    #[must_use]
    pub fn failed(self, before: Self, outcome: RefreshOutcome, error: String, may_be_repeated: bool) -> Self {
        match outcome {
            // The server received nothing, or said nothing about the token.
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
