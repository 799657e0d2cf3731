//! Writes over a record that is not the expected one: a process gives a grant its own generation, and an answer follows a grant
//! whose generation was changed during the call.

use super::{Journal, LEASE_LOST, LEASE_MARGIN};
use crate::token::store::{Expect, Leased, Record, StoreError, Written};

// === impl Journal ===

impl Journal {
    /// Stores a grant under the number that this process has given it. Under the lease: what a peer has noted since, when it
    /// presented it, must stay.
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
        // A refusal of a grant that was replaced says nothing about the one that replaced it.
        let needs_login = needs_login.filter(|_| same_lineage);
        let record = Record { intent, needs_login, ..record.clone() };
        match self.observe("commit", self.store.write(Expect { fence: Some(fence), ..expect }, &record).await)? {
            Written::Fenced => Err(StoreError::Unavailable(LEASE_LOST.into())),
            written => Ok(written),
        }
    }
}

/// `ours`, as it is to be written where `theirs` was found in the place of what `ours` was to follow; `None`: `theirs` counts. Pure.
///
/// `ours` is the only live successor in three cases. `theirs` is what was presented, and only its candidate has changed. `theirs`
/// holds the token that was presented, under a generation or a lineage that it was given since. Or `theirs` is older: the store was
/// set back during the call.
pub fn rebased(ours: &Record, theirs: &Record, expected: Expect) -> Option<Record> {
    let found = theirs.version();
    if expected.version.is_some_and(|version| version.is_same_grant(found) && version != found) {
        // Of the candidate that was presented, our outcome counts.
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
    record.taken.extend(theirs.taken.iter().filter(|taken| !ours.taken.contains(taken)));
    Some(record)
}
