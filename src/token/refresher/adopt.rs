//! How a new record becomes the one that requests run on.

use tokio::time::Instant;

use super::Refresher;
use super::outcome::may_have_revoked;
use super::store_sync::READ_AGAIN;
use crate::token::journal::TokenSource;
use crate::token::store::{Record, StoreError};
use crate::token::{Generation, policy};

// === impl Refresher ===

impl Refresher {
    pub(super) fn adopt(&mut self, record: Record) {
        let before = self.record.replace(record);
        let version = |record: Option<&Record>| record.map(Record::version);
        let known = version(before.as_ref()).zip(version(self.record.as_ref()));
        if !known.is_some_and(|(before, now)| before.is_same_grant(now)) {
            self.jitter = policy::random();
        }
        self.misdated = self.misdated();
        self.publish();
        self.doubt_by_note(before.as_ref());
    }

    /// Handles a read of the store.
    pub(super) fn found(&mut self, found: Result<Option<Record>, StoreError>) {
        match found {
            Ok(stored) => {
                self.read = true;
                self.unusable = None;
                self.reconcile_with(stored);
                self.last_read = Some(self.clock.now());
            }
            Err(StoreError::Unavailable(error)) => {
                tracing::warn!(error, "the stored grant could not be read");
                self.next_read = Some(Instant::now() + READ_AGAIN);
            }
            Err(StoreError::Damaged(error) | StoreError::WrongKey(error) | StoreError::Refused(error)) => {
                self.unusable = Some(error);
            }
        }
        self.publish();
    }

    /// Handles the record that a rotation found instead of what it expected. The rotation had the lease, so an intent in the
    /// record is not a peer's call in flight, and what the record says about the grant counts.
    pub(super) fn found_by_rotation(&mut self, found: Result<Option<Record>, StoreError>, source: TokenSource) {
        let stored = found.as_ref().ok().cloned().flatten();
        let before = self.record.clone();
        self.found(found);
        if let Some(stored) = stored
            && self.record.as_ref().is_some_and(|known| known.version() == stored.version())
        {
            self.adopt(stored);
        }
        if self.record == before && self.due(self.now()).is_some() {
            // The record is the known one after all. Without a pause, the next attempt would find it again at once.
            self.backoff.back_off(source, None, self.clock.now());
        }
    }

    /// The generation of the record, if its token is dated in the future and no peer has just refreshed it.
    fn misdated(&self) -> Option<Generation> {
        let record = self.record.as_ref()?;
        let access = record.access.as_ref()?;
        let corrected = policy::corrected(access.obtained_at, access.expires_at, None, self.clock.now()).is_some();
        if corrected && self.misdated != Some(record.generation) {
            tracing::warn!(
                obtained_at = %access.obtained_at,
                "the stored token is dated in the future: a clock is, or was, wrong; it is used for its lifetime from now at most"
            );
        }
        // A peer's token is new when it arrives, however wrong the peer's clock is.
        (corrected && !self.by_peer).then_some(record.generation)
    }

    /// The store can report a failed refresh of another process, or of this one before a restart.
    fn doubt_by_note(&self, before: Option<&Record>) {
        let last = |record: Option<&Record>| record.and_then(|record| record.last_refresh.clone());
        let noted = last(self.record.as_ref());
        let bad = noted.as_ref().is_some_and(|noted| may_have_revoked(noted.outcome));
        if bad
            && noted != last(before)
            && let Some(token) = &self.live.view().token
        {
            token.may_be_revoked(self.clock.now());
        }
    }
}
