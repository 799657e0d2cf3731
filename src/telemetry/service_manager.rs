//! Tells systemd how the service is doing: sd_notify(3). Without `NOTIFY_SOCKET`, nothing is sent.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::token::status::{State, Status};

pub struct ServiceManager {
    /// `None`: no service manager listens.
    beats: Option<Interval>,
    /// `WATCHDOG=1` must arrive within this time.
    watchdog: Option<Duration>,
    fed: Instant,
    /// The last `STATUS=`.
    told: String,
}

const BEAT: Duration = Duration::from_secs(1);

// === impl ServiceManager ===

impl ServiceManager {
    /// Reads the environment. Needs a runtime.
    pub fn new() -> Self {
        let watchdog = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        let is_there = std::env::var_os("NOTIFY_SOCKET").is_some();
        let beats = is_there.then(|| {
            let mut beats = interval(watchdog.map_or(BEAT, |limit| BEAT.min(limit / 2)));
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats
        });
        Self { beats, watchdog, fed: Instant::now(), told: String::new() }
    }

    /// The proxy listens.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// [`ServiceManager::ready`] ends it.
    pub fn reloading(&self) {
        // `Type=notify-reload` requires the time.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// systemd then applies `TimeoutStopSec=`, and no longer expects `WATCHDOG=1`.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// Returns when [`ServiceManager::beat`] is due.
    pub async fn due(&mut self) {
        match &mut self.beats {
            Some(beats) => drop(beats.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Feeds the watchdog, and reports a changed status.
    pub fn beat(&mut self, status: &Status) {
        if let Some(limit) = self.watchdog
            && self.fed.elapsed() >= limit / 4
        {
            self.fed = Instant::now();
            self.tell(&[NotifyState::Watchdog]);
        }
        let text = summary(status);
        if text != self.told {
            self.tell(&[NotifyState::Status(&text)]);
            self.told = text;
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if self.beats.is_none() {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            tracing::warn!(%error, "the service manager could not be notified");
        }
    }
}

impl Default for ServiceManager {
    fn default() -> Self {
        Self::new()
    }
}

/// The state, and its reason, on one line.
fn summary(status: &Status) -> String {
    let state = status.state.name();
    let failed = status.last_refresh.as_ref().and_then(|last| last.error.as_ref());
    let detail = match (&status.reason, failed, status.state) {
        (Some(reason), ..) => reason.clone(),
        (None, Some(error), _) => format!("the last refresh failed: {error}"),
        (None, None, State::Starting) => "the proxy waits for its first token".to_owned(),
        (None, None, _) => match status.expires_at {
            Some(at) => format!("the token expires at {at:.0}"),
            None => "the token does not expire".to_owned(),
        },
    };
    format!("{state}: {detail}").replace(char::is_control, " ")
}
