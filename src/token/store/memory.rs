//! A store in memory, for grants that need no storage (client credentials) and for tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::record::Meets;
use super::{Backend, Expect, Hold, LEASE_POLL, Lease, Leased, Record, StoreError, Written};

/// A handle to a store. Clones share the record, and each has its own watch.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Mutex<Contents>>,
    seen: Mutex<watch::Receiver<()>>,
}

#[derive(Debug)]
struct Contents {
    record: Option<Record>,
    /// The fencing number of the last lease.
    fence: u64,
    /// The end of the present lease. `None`: nobody holds it.
    leased_until: Option<Instant>,
    /// Dead once the holder has dropped the present lease.
    holder: Weak<()>,
    changes: watch::Sender<()>,
}

// === impl MemoryStore ===

impl MemoryStore {
    pub fn new() -> Self {
        let (changes, seen) = watch::channel(());
        let shared = Contents { record: None, fence: 0, leased_until: None, holder: Weak::new(), changes };
        Self { shared: Arc::new(Mutex::new(shared)), seen: Mutex::new(seen) }
    }

    fn shared(&self) -> MutexGuard<'_, Contents> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryStore {
    async fn load(&self) -> Result<Option<Record>, StoreError> {
        Ok(self.shared().record.clone())
    }

    async fn lease(&self, _owner: &str, duration: Duration) -> Result<Leased, StoreError> {
        let mut shared = self.shared();
        let asked = Instant::now();
        if let Some(left) = shared.leased_until.and_then(|until| until.checked_duration_since(asked))
            && !left.is_zero()
            && shared.holder.strong_count() > 0
        {
            return Ok(Leased::Busy { retry_in: left.min(LEASE_POLL) });
        }
        shared.fence += 1;
        shared.leased_until = Some(asked + duration);
        let hold = Arc::new(());
        shared.holder = Arc::downgrade(&hold);
        Ok(Leased::Held(Lease { fence: shared.fence, asked, duration, hold: Hold::InUse(hold) }))
    }

    async fn release(&self, lease: Lease) {
        let mut shared = self.shared();
        if shared.fence == lease.fence {
            shared.leased_until = None;
        }
    }

    async fn write(&self, expect: Expect, record: &Record) -> Result<Written, StoreError> {
        let mut shared = self.shared();
        let leased = shared.leased_until.is_some_and(|until| until > Instant::now());
        if expect.fence.is_some_and(|fence| !leased || fence != shared.fence) {
            return Ok(Written::Fenced);
        }
        match expect.meets(shared.record.as_ref(), record) {
            Meets::Wanted => return Ok(Written::Done),
            Meets::Other => return Ok(Written::Superseded(shared.record.clone().map(Box::new))),
            Meets::Expected => {}
        }
        shared.record = Some(record.clone());
        shared.changes.send_replace(());
        Ok(Written::Done)
    }

    async fn replace_damaged(&self, record: &Record) -> Result<Written, StoreError> {
        self.write(Expect { version: None, fence: None }, record).await
    }

    async fn changed(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // An error means that there is no sender, but this handle keeps one alive.
        if seen.changed().await.is_ok() {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { shared: Arc::clone(&self.shared), seen: Mutex::new(seen) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}
