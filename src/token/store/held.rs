//! The leases of a handle whose holders still exist.
//!
//! A lease in the store can outlive its holder: the answer to its commit was late, or its release failed. Nobody presents a token
//! under such a lease, so the handle that owns it takes it back at once.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The identity of one handle of the store, and the leases that its users hold.
#[derive(Debug)]
pub(super) struct HeldLeases {
    /// Unique per handle, and so per process start. The owner in the store ends with it.
    instance: String,
    held: Mutex<Vec<(u64, Weak<()>)>>,
}

// === impl HeldLeases ===

impl HeldLeases {
    pub(super) fn new(instance: String) -> Self {
        Self { instance, held: Mutex::default() }
    }

    /// The owner in the store for a lease of this handle.
    pub(super) fn owner(&self, name: &str) -> String {
        format!("{name} {}", self.instance)
    }

    /// Notes a lease that is about to be written. It counts as held while the returned value lives.
    ///
    /// Call this before the commit (in a database, under the lock of the row). Otherwise, another task of this process could find the
    /// lease in the store before it is noted here, and take it back from its holder.
    pub(super) fn hold(&self, fence: u64) -> Arc<()> {
        let hold = Arc::new(());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(_, holder)| holder.strong_count() > 0);
        held.push((fence, Arc::downgrade(&hold)));
        hold
    }

    /// Whether the store's lease belongs to this handle and no task holds it any more.
    pub(super) fn is_abandoned(&self, owner: Option<&str>, fence: u64) -> bool {
        let ours = owner.is_some_and(|owner| owner.rsplit(' ').next() == Some(&self.instance));
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        ours && !held.iter().any(|(number, holder)| *number == fence && holder.strong_count() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_own_lease_without_a_holder_is_abandoned() {
        let (ours, other) = (HeldLeases::new("aa".into()), HeldLeases::new("bb".into()));
        let owner = ours.owner("host-1");
        let hold = ours.hold(7);
        assert!(!ours.is_abandoned(Some(&owner), 7), "a task of this process holds it");
        assert!(ours.is_abandoned(Some(&owner), 8), "its commit came too late for the task that asked");
        assert!(!other.is_abandoned(Some(&owner), 8), "another process start holds it");
        assert!(!ours.is_abandoned(Some("host-1"), 8), "a process of an older version holds it");
        assert!(!ours.is_abandoned(None, 8), "nobody holds it");
        drop(hold);
        assert!(ours.is_abandoned(Some(&owner), 7));
    }
}
