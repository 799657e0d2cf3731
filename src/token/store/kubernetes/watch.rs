//! How a process notices a peer's new token: a watch of the Secret, and a read underneath.
//!
//! Each watch begins with a read, which finds what an earlier watch has missed. The server ends a watch after some minutes, so the
//! reads go on even if the events fail to arrive.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use super::objects::Secret;
use super::secrets::Secrets;
use super::stream::{Event, Events};
use crate::token::policy;

/// A watch, and what it saw last.
#[derive(Default)]
pub(super) struct Watch {
    /// With the time when the watch was opened.
    events: Option<(Events, Instant)>,
    /// The version of the Secret, empty if it does not exist. `None`: nothing yet, so everything may be new to the caller.
    seen: Option<String>,
    /// How often the watch could not be opened or was lost, since one has lasted.
    failures: u32,
}

/// The first and the longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A watch that ends earlier is a failure. Otherwise, a server that ends each watch at once would be called without a pause.
const LASTS: Duration = Duration::from_secs(5);

// === impl Watch ===

impl Watch {
    pub(super) async fn changed(&mut self, secrets: &Secrets) {
        loop {
            match self.next(secrets).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(fault) => self.pause(&fault).await,
            }
        }
    }

    /// Whether something may have changed.
    async fn next(&mut self, secrets: &Secrets) -> Result<bool, Fault> {
        let Some((events, opened)) = &mut self.events else { return self.begin(secrets).await };
        let (event, lasted) = (events.next().await, opened.elapsed());
        if lasted > LASTS && std::mem::take(&mut self.failures) > 1 {
            tracing::info!("the grant's Secret can be watched again");
        }
        if !matches!(event, Ok(Event::Changed(_) | Event::Deleted | Event::Bookmark)) {
            self.events = None;
            secrets.latest.watched(false);
        }
        match event {
            Ok(Event::Changed(secret)) => {
                secrets.latest.reported(Some(&secret));
                Ok(self.see(Some(&secret)))
            }
            Ok(Event::Deleted) => {
                secrets.latest.reported(None);
                Ok(self.see(None))
            }
            Ok(Event::Bookmark) => Ok(false),
            Ok(Event::Ended) | Err(Fault::Expired) if lasted > LASTS => Ok(false),
            Ok(Event::Ended) => Err(Fault::Unavailable("the API server ends each watch at once".to_owned())),
            Err(fault) => Err(fault),
        }
    }

    async fn begin(&mut self, secrets: &Secrets) -> Result<bool, Fault> {
        let secret = secrets.get().await?;
        let version = secret.as_ref().map(|secret| secret.metadata.resource_version.as_str());
        let opened = secrets.cluster.watch_secret(version).await;
        let has_changed = self.see(secret.as_ref());
        match opened {
            Ok(events) => {
                self.events = Some((events, Instant::now()));
                secrets.latest.watched(true);
            }
            // The next call reports it, if it lasts.
            Err(_) if has_changed => {}
            Err(fault) => return Err(fault),
        }
        Ok(has_changed)
    }

    fn see(&mut self, secret: Option<&Arc<Secret>>) -> bool {
        let version = secret.map(|secret| secret.metadata.resource_version.clone()).unwrap_or_default();
        self.seen.replace(version.clone()) != Some(version)
    }

    /// Waits before the next attempt. The first failure is not logged, because a server that restarts cuts each watch once.
    async fn pause(&mut self, fault: &Fault) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 2 {
            tracing::warn!(error = %fault, "the grant's Secret cannot be watched: a peer's new token is noticed later");
        }
        let doubled = PAUSE.0.saturating_mul(1 << (self.failures - 1).min(8)).min(PAUSE.1);
        tokio::time::sleep(doubled.mul_f64(0.5 + policy::random() / 2.0)).await;
    }
}

#[cfg(test)]
impl Watch {
    /// Ends the watch as a lost connection does, and misses what happens until the next one.
    pub(super) fn cut(&mut self) {
        self.events = None;
    }
}
