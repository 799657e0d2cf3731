//! Writes over a record that is not the expected one.
//!
//! A process gives an adopted grant a generation of its own count. A response follows a grant whose generation changed during
//! the call.

use super::{Journal, LEASE_LOST, LEASE_MARGIN};
use crate::token::store::{Expect, Leased, Record, StoreError, Written};

// === impl Journal ===

impl Journal {
    /// Stores a grant under the generation that this process has given it. It takes the lease, because a peer may have presented
    /// the token since, and its notes must stay.
    pub async fn renumber(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        match self.observe("lease", self.store.lease(&self.owner, LEASE_MARGIN).await)? {
            Leased::Held(lease) => {
                let written = self.renumber_leased(expect, record, lease.fence).await;
                self.store.release(lease).await;
                written
            }
            Leased::Busy { .. } => Err(StoreError::Unavailable("another process has the lease".into())),
        }
    }

    async fn renumber_leased(&self, expect: Expect, record: &Record, fence: u64) -> Result<Written, StoreError> {
        let stored = self.observe("load", self.store.load().await)?;
        if stored.as_ref().map(Record::version) != expect.version {
            return Ok(Written::Superseded(stored.map(Box::new)));
        }
        let same_lineage = stored.as_ref().is_some_and(|stored| stored.lineage == record.lineage);
        let (intent, needs_login) = stored.map(|stored| (stored.intent, stored.needs_login)).unwrap_or_default();
        // The refusal of a replaced grant says nothing about its replacement.
        let needs_login = needs_login.filter(|_| same_lineage);
        let record = Record { intent, needs_login, ..record.clone() };
        match self.observe("commit", self.store.write(Expect { fence: Some(fence), ..expect }, &record).await)? {
            Written::Fenced => Err(StoreError::Unavailable(LEASE_LOST.into())),
            written => Ok(written),
        }
    }
}

/// The record to write instead of `ours`, when the store holds `theirs` and not what was `expected`. `None`: `theirs` wins.
/// Pure.
///
/// `ours` is the only live successor in three cases:
///
/// * `theirs` is the expected grant, and only its candidate has changed.
/// * `theirs` holds the token that was presented, under another generation or lineage.
/// * `theirs` is older, because the store was set back during the call.
pub fn rebased(ours: &Record, theirs: &Record, expected: Expect) -> Option<Record> {
    let found = theirs.version();
    if expected.version.is_some_and(|version| version.is_same_grant(found) && version != found) {
        // For the candidate that this process presented, its own outcome counts.
        let fingerprint = |record: &Record| record.candidate.as_ref().map(|candidate| candidate.fingerprint);
        let same = fingerprint(ours) == fingerprint(theirs);
        let settled = ours.candidate.as_ref().is_some_and(|candidate| candidate.token.is_none());
        let candidate = if same && settled { &ours.candidate } else { &theirs.candidate };
        return Some(Record { candidate: candidate.clone(), ..ours.clone() });
    }
    let presented = expected.version.and_then(|version| version.fingerprint);
    let holds = |record: &Record| presented.is_some() && record.version().fingerprint == presented;
    let is_renumbered = holds(theirs) && !holds(ours);
    let is_behind = theirs.is_behind(ours);
    if !is_renumbered && !is_behind {
        return None;
    }
    let mut record = ours.clone();
    if !is_behind {
        record.lineage = theirs.lineage;
        record.replace_also(ours);
    }
    record.replace_also(theirs);
    record.generation = ours.generation.max(theirs.generation.next());
    record.tried_initial.extend(theirs.tried_initial.iter().filter(|tried| !ours.tried_initial.contains(tried)));
    Some(record)
}
