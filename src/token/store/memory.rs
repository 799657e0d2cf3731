//! A store in memory, for grants that need no storage (client credentials) and for tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::record::Meets;
use super::{Expect, Hold, LEASE_POLL, Lease, Leased, Record, Written};

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

    pub(super) fn load(&self) -> Option<Record> {
        self.shared().record.clone()
    }

    pub(super) fn lease(&self, duration: Duration) -> Leased {
        let mut shared = self.shared();
        let asked = Instant::now();
        if let Some(left) = shared.leased_until.and_then(|until| until.checked_duration_since(asked))
            && !left.is_zero()
            && shared.holder.strong_count() > 0
        {
            return Leased::Busy { retry_in: left.min(LEASE_POLL) };
        }
        shared.fence += 1;
        shared.leased_until = Some(asked + duration);
        let hold = Arc::new(());
        shared.holder = Arc::downgrade(&hold);
        Leased::Held(Lease { fence: shared.fence, asked, duration, hold: Hold::InUse(hold) })
    }

    pub(super) fn release(&self, lease: &Lease) {
        let mut shared = self.shared();
        if shared.fence == lease.fence {
            shared.leased_until = None;
        }
    }

    pub(super) fn write(&self, expect: Expect, record: &Record) -> Written {
        let mut shared = self.shared();
        let leased = shared.leased_until.is_some_and(|until| until > Instant::now());
        if expect.fence.is_some_and(|fence| !leased || fence != shared.fence) {
            return Written::Fenced;
        }
        match expect.meets(shared.record.as_ref(), record) {
            Meets::Wanted => return Written::Done,
            Meets::Other => return Written::Superseded(shared.record.clone().map(Box::new)),
            Meets::Expected => {}
        }
        shared.record = Some(record.clone());
        shared.changes.send_replace(());
        Written::Done
    }

    pub(super) async fn changed(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // An error means that there is no sender, but this handle keeps one alive.
        if seen.changed().await.is_ok() {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }

    fn shared(&self) -> MutexGuard<'_, Contents> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
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
