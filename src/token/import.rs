//! Stores a grant that a person supplies, while a proxy may be running.
//!
//! It takes the lease first, so it overwrites no outcome of a refresh in flight. Then it replaces the whole record by
//! compare-and-set. A running proxy notices the change and adopts it.
//!
//! A pair of tokens replaces the grant at once. A bare refresh token is a candidate, which replaces the grant after a refresh with
//! it has succeeded (`verify`).

mod verify;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::token::store::{Binding, Candidate, Expect, Leased, Record, Store, StoreError, Written};
use crate::token::{Access, Lineage, RefreshToken};

pub use self::verify::{Verified, verify};

/// A grant from `import` or `login`.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// A new one: [`Lineage::random`].
    pub lineage: Lineage,
    pub refresh: RefreshToken,
    /// The access token that was issued with the refresh token. Without one, the refresh token is a candidate.
    pub access: Option<Access>,
    /// The command waits for the outcome of the candidate ([`Candidate::awaited`]).
    pub awaited: bool,
}

/// What to do with a stored document that can't be read. A copy of the document is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    Leave,
    Replace,
}

/// Why the grant was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another process has held the store's lease for {0:?}, to refresh the token; try again")]
    Busy(Duration),
    #[error("the stored grant changed at each attempt to replace it; try again")]
    Contended,
}

/// Longer than a read and a write of the store.
const LEASE: Duration = Duration::from_secs(30);
/// The number of attempts. A commit of another process between the read and the write requires a new attempt.
const ATTEMPTS: usize = 5;

// === impl NewGrant ===

impl NewGrant {
    /// Stores the grant. Waits up to `patience` for a refresh in flight. Returns the stored record.
    pub async fn store(
        &self,
        store: &Store,
        binding: &Binding,
        damaged: Damaged,
        patience: Duration,
    ) -> Result<Record, NotStored> {
        store.prepare().await?;
        let owner = format!("import-{}", std::process::id());
        let deadline = Instant::now() + patience;
        for _ in 0..ATTEMPTS {
            let lease = loop {
                match store.lease(&owner, LEASE).await? {
                    Leased::Held(lease) => break lease,
                    Leased::Busy { .. } if Instant::now() >= deadline => return Err(NotStored::Busy(patience)),
                    Leased::Busy { retry_in } => sleep(retry_in).await,
                }
            };
            let stored = self.replace(store, binding, damaged, lease.fence).await;
            store.release(lease).await;
            if let Some(record) = stored? {
                return Ok(record);
            }
        }
        Err(NotStored::Contended)
    }

    /// One attempt under the lease. `None`: the store changed meanwhile.
    async fn replace(
        &self,
        store: &Store,
        binding: &Binding,
        damaged: Damaged,
        fence: u64,
    ) -> Result<Option<Record>, StoreError> {
        let (record, written) = match store.load().await {
            Ok(stored) => {
                let expect = Expect { version: stored.as_ref().map(Record::version), fence: Some(fence) };
                let record = self.after(stored, binding);
                let written = store.write(expect, &record).await?;
                (record, written)
            }
            Err(StoreError::Damaged(_)) if damaged == Damaged::Replace => {
                let record = self.after(None, binding);
                let written = store.replace_damaged(&record).await?;
                (record, written)
            }
            Err(error) => return Err(error),
        };
        Ok(matches!(written, Written::Done).then_some(record))
    }

    /// The record that follows `stored`. Pure.
    fn after(&self, stored: Option<Record>, binding: &Binding) -> Record {
        let before = stored.unwrap_or_else(|| Record::empty(binding.clone()));
        let Some(access) = &self.access else {
            return Record { candidate: Some(self.candidate(before.candidate.as_ref(), binding)), ..before };
        };
        Record {
            binding: binding.clone(),
            lineage: self.lineage,
            replaced: before.replaced_by(self.lineage),
            generation: before.generation.next(),
            access: Some(access.clone()),
            refresh: Some(self.refresh.clone()),
            // These describe the replaced grant.
            candidate: None,
            intent: None,
            needs_login: None,
            tried_initial: before.tried_initial,
            last_refresh: before.last_refresh,
        }
    }

    fn candidate(&self, present: Option<&Candidate>, binding: &Binding) -> Candidate {
        let mut candidate = Candidate::new(self.refresh.clone(), binding.clone(), self.awaited);
        // A second import of the same token does not forget that the token may have been presented.
        let presented =
            present.filter(|present| present.fingerprint == candidate.fingerprint && present.token.is_some());
        candidate.intent = presented.and_then(|present| present.intent.clone());
        candidate
    }
}

#[cfg(test)]
mod tests;
