//! ADMIN: the admin listener and the probes listener. Probes, metrics, status, and the actions of an operator.
//!
//! ```text
//! accept → host → origin → key → route → response      admin
//! accept → route → response                            probes: /livez, /readyz, /metrics, for anyone
//! ```
//!
//! Plain HTTP/1.1 on the runtime of the control plane, so that it responds while the data plane is busy. The body of a request is not
//! read, and no response contains a token.

mod answer;
pub mod client;
mod guard;
mod listener;
mod open;
mod page;
mod readiness;
mod router;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::yield_now;

pub use listener::{BindError, Listener};
pub use readiness::Readiness;

use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::token::refresher::Tokens;

/// The state behind the responses, and the actions that requests start.
pub struct Admin {
    tokens: Tokens,
    metrics: Metrics,
    /// Set to begin the drain.
    drain: watch::Sender<bool>,
    key: ArcSwapOption<Secret>,
    /// Held while an expensive response is rendered: one at a time, in the order of the requests.
    rendering: Mutex<()>,
}

/// The listener of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Admin,
    Probes,
}

// === impl Admin ===

impl Admin {
    /// `POST /drain` sets `drain` to true. If there is a `key`, each admin request must carry it.
    pub fn new(tokens: Tokens, metrics: Metrics, drain: watch::Sender<bool>, key: Option<Secret>) -> Self {
        Self { tokens, metrics, drain, key: ArcSwapOption::new(key.map(Arc::new)), rendering: Mutex::default() }
    }

    /// Replaces `admin.key` for later requests.
    pub fn set_key(&self, key: Option<Secret>) {
        self.key.store(key.map(Arc::new));
    }

    fn key(&self) -> Option<Arc<Secret>> {
        self.key.load_full()
    }

    /// Waits for the turn to render an expensive response. After each one, the other tasks of this thread (probes and the refresher) run,
    /// even if clients request such responses all the time.
    async fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.rendering.lock().await;
        yield_now().await;
        turn
    }
}

#[cfg(test)]
mod tests;
