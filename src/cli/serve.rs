//! `serve`: runs the gateway until SIGTERM or SIGINT, then drains.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::config::{Loaded, Sources};
use crate::descriptors;
use crate::gateway::reload::Watch;
use crate::gateway::{Gateway, StartError};
use crate::telemetry::Logs;
use crate::token::refresher::Ending;

/// Why `serve` ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("signals can't be received: {0}")]
    Signals(std::io::Error),
}

/// Serves until told to stop. Reads the configuration again from `sources` on SIGHUP, or when one of its files changes.
pub async fn run(loaded: Loaded, sources: &Sources, logs: &Logs) -> Result<Ending, ServeError> {
    // Before anything is started: a signal that comes early must not end a refresh half-way.
    let mut stop = Stop::new().map_err(ServeError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
    descriptors::raise_limit();
    descriptors::warn_unattainable(&loaded.config);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut watch = Watch::new(&loaded.files);
    let mut gateway = Gateway::start(loaded, Clock::system()).await?;
    loop {
        tokio::select! {
            signal = stop.received() => {
                tracing::info!(signal, "told to stop");
                break;
            }
            () = gateway.drain_asked() => {
                tracing::info!("asked to drain");
                break;
            }
            _ = hangup.recv() => {}
            () = watch.changed() => {}
        }
        if let Some(new) = gateway.reload(sources, logs) {
            watch = new;
        }
    }
    Ok(gateway.drain().await)
}

/// The two signals that end the program in order.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Stop ===

impl Stop {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the first one that comes.
    pub async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
