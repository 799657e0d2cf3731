//! The admin listener and the probes listener: probes, metrics, status, and what a person sets off (interface document §4).
//!
//! ```text
//! accept → host → origin → key → path and method → answer        admin
//! accept → path and method → answer                              probes: /livez, /readyz, /metrics, to whoever asks
//! ```
//!
//! Plain HTTP/1.1 on the control plane's runtime, so that it answers while the data plane is busy. No request's body is read,
//! and no answer holds a token.

mod answer;
pub mod client;
mod guard;
mod listener;
mod open;
mod readiness;
mod routes;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, watch};

pub use listener::{BindError, Listener};
pub use readiness::Readiness;

use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::token::refresher::Tokens;

/// What the answers are made of, and what they set off.
pub struct Admin {
    tokens: Tokens,
    metrics: Metrics,
    /// Set to begin the drain.
    drain: watch::Sender<bool>,
    key: ArcSwapOption<Secret>,
    /// Held while a response is rendered that takes long: one at a time, in the order of the requests.
    rendering: Mutex<()>,
}

/// Which listener a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Admin,
    Probes,
}

// === impl Admin ===

impl Admin {
    /// `drain` is set to true by `POST /drain`; `key` is what each admin request must then carry.
    pub fn new(tokens: Tokens, metrics: Metrics, drain: watch::Sender<bool>, key: Option<Secret>) -> Self {
        Self { tokens, metrics, drain, key: ArcSwapOption::new(key.map(Arc::new)), rendering: Mutex::default() }
    }

    /// Replaces `admin.key`, for the requests from now on.
    pub fn set_key(&self, key: Option<Secret>) {
        self.key.store(key.map(Arc::new));
    }
}

#[cfg(test)]
mod tests;
