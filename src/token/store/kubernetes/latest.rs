//! The newest Secret that this process has seen. A write takes its version from here, and during a watch, a load needs no call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::objects::Secret;

#[derive(Default)]
pub(super) struct Latest(Mutex<State>);

#[derive(Default)]
struct State {
    /// `None` inside: the Secret did not exist. `None` outside: nothing is known.
    secret: Option<Option<Arc<Secret>>>,
    /// The version of the newest object so far. Events may arrive after a later answer.
    version: u64,
    /// A watch reports each change.
    is_watched: bool,
    /// The next load must call the server, whatever the watch has reported: a lease was taken.
    must_read: bool,
    /// Counts the changes that the watch has reported.
    events: u64,
}

// === impl Latest ===

impl Latest {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Secret, as an answer of the server has it.
    pub(super) fn answered(&self, secret: Option<&Arc<Secret>>) {
        let mut state = self.state();
        state.must_read = false;
        let newest = state.version;
        state.version = 0;
        state.see(secret);
        if secret.is_none() {
            state.version = newest;
        } else if state.version < newest {
            // An answer that was overtaken, or a cluster that was restored from a backup.
            state.secret = None;
        }
    }

    /// The Secret, as the watch reports it.
    pub(super) fn reported(&self, secret: Option<&Arc<Secret>>) {
        let mut state = self.state();
        state.events += 1;
        state.see(secret);
    }

    pub(super) fn watched(&self, is_watched: bool) {
        self.state().is_watched = is_watched;
    }

    pub(super) fn must_read(&self) {
        self.state().must_read = true;
    }

    pub(super) fn events(&self) -> u64 {
        self.state().events
    }

    /// The present Secret, if the watch vouches for it.
    pub(super) fn present(&self) -> Option<Option<Arc<Secret>>> {
        let state = self.state();
        if state.is_watched && !state.must_read { state.secret.clone() } else { None }
    }

    /// What the Secret probably is. A write with its version proves it.
    pub(super) fn likely(&self) -> Option<Arc<Secret>> {
        self.state().secret.clone().flatten()
    }
}

// === impl State ===

impl State {
    fn see(&mut self, secret: Option<&Arc<Secret>>) {
        // Versions are numbers of etcd, which grow. Of another kind of version, nothing is kept.
        let version = match secret {
            None => Some(self.version),
            Some(secret) => secret.metadata.resource_version.parse().ok(),
        };
        match version {
            Some(version) if version < self.version => {}
            Some(version) => {
                self.version = version;
                self.secret = Some(secret.cloned());
            }
            None => self.secret = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(version: &str) -> Arc<Secret> {
        Arc::new(serde_json::from_value(serde_json::json!({ "metadata": { "resourceVersion": version } })).unwrap())
    }

    fn version(secret: Option<Option<Arc<Secret>>>) -> String {
        match secret {
            None => "unknown".to_owned(),
            Some(None) => "absent".to_owned(),
            Some(Some(secret)) => secret.metadata.resource_version.clone(),
        }
    }

    #[test]
    fn only_a_watch_vouches_for_what_was_seen_and_never_after_a_lease() {
        let latest = Latest::default();
        latest.answered(Some(&secret("5")));
        assert_eq!(version(latest.present()), "unknown", "nobody would report a change");
        latest.watched(true);
        assert_eq!(version(latest.present()), "5");
        latest.reported(Some(&secret("7")));
        assert_eq!(version(latest.present()), "7");
        latest.must_read();
        assert_eq!(version(latest.present()), "unknown", "the holder of a lease must see what the last one wrote");
        latest.reported(Some(&secret("8")));
        assert_eq!(version(latest.present()), "unknown");
        latest.answered(Some(&secret("9")));
        assert_eq!(version(latest.present()), "9");
        latest.watched(false);
        assert_eq!(version(latest.present()), "unknown");
    }

    #[test]
    fn a_late_event_does_not_take_the_newest_back() {
        let latest = Latest::default();
        latest.watched(true);
        latest.answered(Some(&secret("9")));
        latest.reported(Some(&secret("8")));
        assert_eq!(version(latest.present()), "9");
        latest.reported(None);
        assert_eq!(version(latest.present()), "absent");
        latest.reported(Some(&secret("10")));
        assert_eq!(version(latest.present()), "10");
        latest.reported(Some(&secret("a version of another engine")));
        assert_eq!(version(latest.present()), "unknown");
    }

    #[test]
    fn a_cluster_that_was_restored_from_a_backup_is_seen_again() {
        let latest = Latest::default();
        latest.watched(true);
        latest.answered(Some(&secret("9")));
        latest.answered(Some(&secret("4")));
        assert_eq!(version(latest.present()), "unknown", "it may also be an answer that was overtaken");
        latest.answered(Some(&secret("4")));
        assert_eq!(version(latest.present()), "4");
    }
}
