//! ADMIN: the admin listener and the probes listener. Probes, metrics, status, and the actions of an operator.
//!
//! ```text
//! accept → host → origin → key → route → response      admin
//! accept → route → response                            probes: /livez, /readyz, /metrics, for anyone
//! ```
//!
//! Plain HTTP/1.1 on the runtime of the control plane, so that it responds while the data plane is busy. No response contains a token.
//! Only `POST /login/code` reads the body of its request.
//!
//! | file | content |
//! |---|---|
//! | `listener`, `open` | the accept loop and the open connections |
//! | `guard` | which requests are accepted |
//! | `router` | the endpoints |
//! | `page` | the files of the page |
//! | `events`, `document` | what the page shows, while it is open |
//! | `history`, `problems` | the last hour |
//! | `login` | the login in a browser |

mod answer;
pub mod client;
mod document;
mod events;
mod guard;
mod history;
mod listener;
mod login;
mod open;
mod page;
mod problems;
mod readiness;
mod router;
mod settings;
mod visit;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::timeout;

pub use listener::{BindError, Listener};
pub use readiness::Readiness;
pub use settings::Settings;

use self::history::History;
use self::login::Logins;
use crate::metrics::Metrics;
use crate::supervise::{Died, Task, supervise};
use crate::telemetry::problems::Problems;
use crate::token::journal::PreparedStore;
use crate::token::owner;
use crate::token::refresher::Tokens;

/// The state behind the responses, and the actions that requests start.
pub struct Admin {
    tokens: Tokens,
    metrics: Metrics,
    /// Set to begin the drain.
    drain: watch::Sender<bool>,
    settings: ArcSwap<Settings>,
    history: History,
    problems: Problems,
    logins: Arc<Logins>,
    /// One permit per event stream.
    streams: Arc<Semaphore>,
    /// Knows who uses the grant.
    store: Option<PreparedStore>,
    /// The name of this process among those that share the store.
    this: String,
    /// When it started.
    started: Timestamp,
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
    /// `POST /drain` sets `drain` to true.
    pub fn new(
        tokens: Tokens,
        metrics: Metrics,
        drain: watch::Sender<bool>,
        settings: Settings,
        problems: Problems,
    ) -> Self {
        Self {
            history: History::new(metrics.totals()),
            tokens,
            metrics,
            drain,
            settings: ArcSwap::from_pointee(settings),
            problems,
            logins: Arc::default(),
            streams: Arc::new(Semaphore::new(events::MOST)),
            store: None,
            this: owner::shown(&owner::of_this_process()),
            started: Timestamp::now(),
            rendering: Mutex::default(),
        }
    }

    /// The page shows who uses this store.
    pub fn with_store(self, store: Option<&PreparedStore>) -> Self {
        Self { store: store.cloned(), ..self }
    }

    /// Continues with other settings. They apply to later requests.
    pub fn reconfigure(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Keeps the history of the last hour.
    ///
    /// # Errors
    /// The task died too often.
    pub async fn keep_history(self: Arc<Self>) -> Result<(), Died> {
        let start = || {
            let admin = Arc::clone(&self);
            async move { admin.history.run(&admin.metrics, &admin.tokens).await }
        };
        supervise(Task::History, self.metrics.restarts(), || false, start).await
    }

    /// Returns when no login is being stored, or after `patience`.
    pub async fn logins_ended(&self, patience: Duration) {
        if timeout(patience, self.logins.idle()).await.is_err() {
            tracing::error!("a login in the browser did not end in time; its grant is lost");
        }
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
