//! Finds out whether a candidate works: with a running proxy, or else in this process.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::NotStored;
use crate::token::journal::{Journal, Renewed, Rotation, TokenSource, Uncommitted, Unpersisted, rebased};
use crate::token::store::{CandidateResult, Expect, Record, Written};
use crate::token::{Fingerprint, Generation, RefreshOutcome, Trigger};

/// The outcome of a candidate.
#[derive(Debug, PartialEq, Eq)]
pub enum Verified {
    /// The candidate is now the grant.
    Accepted(Generation),
    /// The candidate did not work and was removed. The grant is unchanged.
    Withdrawn(CandidateResult),
    /// The outcome is unknown. The candidate is kept, and `oauth.ambiguous_retry` decides. The grant is unchanged.
    Kept(CandidateResult),
    /// The store holds another candidate.
    Replaced,
    /// The store holds no candidate: another process overwrote it without knowing of it.
    Vanished,
    /// The candidate works, but its successor could not be stored.
    Lost(String),
}

/// The time for a running proxy to present the candidate. It notices a candidate within a second.
const PROXY_TAKES: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);
/// How long this process tries to store the successor.
const PERSIST: Duration = Duration::from_secs(60);

/// Waits for a running proxy to present the stored candidate. If no proxy does, this process presents it. The future must run to its
/// end.
pub async fn verify(journal: &Journal, candidate: Fingerprint) -> Result<Verified, NotStored> {
    let proxy_takes = Instant::now() + PROXY_TAKES;
    while Instant::now() < proxy_takes {
        if let Some(verified) = verified(journal.store.load().await?.as_ref(), candidate) {
            return Ok(verified);
        }
        sleep(LOOK).await;
    }
    // A proxy with a call in flight holds the lease. This waits for the lease, and the outcome of that proxy counts.
    match journal.rotate(None, TokenSource::Candidate, Trigger::Manual, &Uncommitted::default()).await {
        Rotation::Renewed(Renewed { record, unpersisted: None, .. }) => Ok(Verified::Accepted(record.generation)),
        Rotation::Renewed(Renewed { record, unpersisted: Some(unpersisted), .. }) => {
            Ok(persist(journal, *record, unpersisted).await)
        }
        Rotation::Found(found) => {
            let record = found?;
            Ok(verified(record.as_deref(), candidate).unwrap_or_else(|| forbidden(journal, record.as_deref())))
        }
        Rotation::Failed(failure, record) => {
            let result = CandidateResult { outcome: failure.outcome, error: Some(failure.error) };
            Ok(verified(record.as_deref(), candidate).unwrap_or(match result.outcome {
                RefreshOutcome::Ambiguous => Verified::Kept(result),
                _ => Verified::Withdrawn(result),
            }))
        }
    }
}

/// The outcome in a record. `None`: the candidate was not presented yet, or its outcome is unknown. Pure.
fn verified(record: Option<&Record>, fingerprint: Fingerprint) -> Option<Verified> {
    let candidate = record.and_then(|record| record.candidate.as_ref());
    let (Some(record), Some(candidate)) = (record, candidate) else { return Some(Verified::Vanished) };
    if candidate.fingerprint != fingerprint {
        return Some(Verified::Replaced);
    }
    let result = candidate.result.clone()?;
    Some(match (&candidate.token, result.outcome) {
        (None, RefreshOutcome::Ok) => Verified::Accepted(record.generation),
        (None, _) => Verified::Withdrawn(result),
        (Some(_), _) => Verified::Kept(result),
    })
}

/// The rotation did not present the candidate, because it was presented before and must not be presented again.
fn forbidden(journal: &Journal, record: Option<&Record>) -> Verified {
    let candidate = record.and_then(|record| record.candidate.as_ref());
    let token = candidate.and_then(|candidate| candidate.token.as_ref());
    let error = token.and_then(|token| journal.settings.check_retry(record, token).err());
    Verified::Kept(CandidateResult { outcome: RefreshOutcome::Ambiguous, error })
}

/// Stores the pair that only this process has.
async fn persist(journal: &Journal, mut record: Record, unpersisted: Unpersisted) -> Verified {
    let Unpersisted { mut expect, mut error } = unpersisted;
    let end = Instant::now() + PERSIST;
    tracing::error!(
        error,
        "the refresh token works, and its successor could not be stored yet: do not stop this command"
    );
    while Instant::now() < end {
        match journal.persist(expect, &record).await {
            Ok(Written::Done) => return Verified::Accepted(record.generation),
            Ok(Written::Superseded(Some(theirs))) => match rebased(&record, &theirs, expect) {
                Some(again) => (record, expect.version) = (again, Some(theirs.version())),
                None => return Verified::Replaced,
            },
            Ok(Written::Superseded(None) | Written::Fenced) => expect = Expect { version: None, fence: None },
            Err(failed) => {
                error = failed.to_string();
                sleep(LOOK * 5).await;
            }
        }
    }
    Verified::Lost(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::RefreshToken;
    use crate::token::store::{Binding, Candidate};

    #[test]
    fn what_the_store_says_of_a_candidate() {
        let binding = Binding { token_url: "t".into(), client_id: "c".into(), upstream_origin: "u".into() };
        let waiting = Candidate::new(RefreshToken::parse("new").unwrap(), binding.clone(), true);
        let fingerprint = waiting.fingerprint;
        let other = Candidate::new(RefreshToken::parse("other").unwrap(), binding.clone(), true);
        let why = |outcome| CandidateResult { outcome, error: Some("why".into()) };
        let settled = |outcome| waiting.clone().settled(outcome, Some("why".into()));
        let ambiguous = Candidate { result: Some(why(RefreshOutcome::Ambiguous)), ..waiting.clone() };
        for (candidate, expected) in [
            (None, Some(Verified::Vanished)),
            (Some(other), Some(Verified::Replaced)),
            (Some(waiting.clone()), None),
            (Some(ambiguous), Some(Verified::Kept(why(RefreshOutcome::Ambiguous)))),
            (Some(settled(RefreshOutcome::Rejected)), Some(Verified::Withdrawn(why(RefreshOutcome::Rejected)))),
            (Some(settled(RefreshOutcome::Ok)), Some(Verified::Accepted(Generation(4)))),
        ] {
            let record = Record { candidate, generation: Generation(4), ..Record::empty(binding.clone()) };
            assert_eq!(verified(Some(&record), fingerprint), expected);
        }
        assert_eq!(verified(None, fingerprint), Some(Verified::Vanished));
    }
}
