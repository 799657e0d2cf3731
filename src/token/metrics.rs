//! The metrics of the token's journey.
//!
//! The metrics of the process create and register these collectors. So the token does not depend on the other metrics.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec};

use super::{RefreshOutcome, Trigger};
use crate::supervise::{Restarts, Task};

/// The counters of one process. Clones share them; the default counts nothing.
#[derive(Clone, Debug, Default)]
pub struct TokenMetrics {
    collectors: Option<Collectors>,
    restarts: Restarts,
}

/// The collectors of [`TokenMetrics`].
#[derive(Clone, Debug)]
pub struct Collectors {
    /// Labels: trigger, outcome.
    pub refreshes: IntCounterVec,
    /// In seconds.
    pub refresh_duration: Histogram,
    /// Labels: operation, outcome.
    pub store_operations: IntCounterVec,
}

// === impl TokenMetrics ===

impl TokenMetrics {
    pub fn new(collectors: Collectors, restarts: Restarts) -> Self {
        // Each series exists from the start: `rate()` misses the first increment of a series that appears with it.
        for trigger in Trigger::ALL {
            for outcome in RefreshOutcome::ALL {
                collectors.refreshes.with_label_values(&[trigger.name(), outcome.name()]);
            }
        }
        Self { collectors: Some(collectors), restarts }
    }

    /// A refresh of this process ended.
    pub(crate) fn refresh(&self, trigger: Trigger, outcome: RefreshOutcome, duration: Duration) {
        if let Some(collectors) = &self.collectors {
            collectors.refreshes.with_label_values(&[trigger.name(), outcome.name()]).inc();
            collectors.refresh_duration.observe(duration.as_secs_f64());
        }
    }

    /// This process adopted a refresh of another process, which observes the duration.
    pub(crate) fn peer_refresh(&self) {
        if let Some(collectors) = &self.collectors {
            collectors.refreshes.with_label_values(&[Trigger::Peer.name(), RefreshOutcome::Ok.name()]).inc();
        }
    }

    pub(crate) fn store_operation(&self, operation: &'static str, outcome: &'static str) {
        if let Some(collectors) = &self.collectors {
            collectors.store_operations.with_label_values(&[operation, outcome]).inc();
        }
    }

    pub(super) fn task_restart(&self, task: Task) {
        self.restarts.count(task);
    }

    pub(super) fn restarts(&self) -> &Restarts {
        &self.restarts
    }
}
