//! A grant that a person has put into the store, under the number of a process that found it there: what follows from it in both
//! directions, for who gives the number and for who has presented it meanwhile.

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
        let (intent, needs_login) = stored.map(|stored| (stored.intent, stored.needs_login)).unwrap_or_default();
        let record = Record { intent, needs_login, ..record.clone() };
        match self.observe("commit", self.store.write(Expect { fence: Some(fence), ..expect }, &record).await)? {
            Written::Fenced => Err(StoreError::Unavailable(LEASE_LOST.into())),
            written => Ok(written),
        }
    }
}

/// What is to be stored where `theirs` was found in the place of what `ours` was to follow: `ours` under a newer number, if `theirs`
/// is what was presented, under a number that a process has given it since. Then `ours` is its only living successor. Pure.
pub fn renumbered(ours: &Record, theirs: &Record, expected: Expect) -> Option<Record> {
    let presented = expected.version.and_then(|version| version.fingerprint)?;
    let holds = |record: &Record| record.version().fingerprint == Some(presented);
    if !holds(theirs) || holds(ours) {
        return None;
    }
    let mut record = ours.clone();
    record.generation = ours.generation.max(theirs.generation.next());
    record.taken.extend(theirs.taken.iter().filter(|taken| !ours.taken.contains(taken)));
    Some(record)
}
