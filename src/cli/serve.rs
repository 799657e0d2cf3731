//! `serve`: runs the gateway until SIGTERM or SIGINT, then drains.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::check;
use crate::clock::Clock;
use crate::config::{Loaded, Sources};
use crate::descriptors;
use crate::gateway::reload::Watch;
use crate::gateway::{End, Gateway, StartError};
use crate::supervise::Died;
use crate::telemetry::Logs;
use crate::token::refresher::Ending;

/// Why `serve` ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("signals can't be received: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Died(#[from] Died),
}

/// What the program does next.
enum Next {
    Reload,
    End(End),
}

/// Serves until told to stop. Reads the configuration again from `sources` on SIGHUP, or when one of its files changes.
pub async fn run(loaded: Loaded, sources: &Sources, logs: &Logs) -> Result<Ending, ServeError> {
    // Before anything is started: a signal that comes early must not end a refresh half-way.
    let mut stop = Stop::new().map_err(ServeError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
    descriptors::raise_limit();
    check::log(&check::at_start(&loaded, sources), "start");
    let mut watch = Watch::new(loaded.files.clone());
    let mut gateway = Gateway::start(loaded, Clock::system()).await?;
    let mut signalled = false;
    let died = loop {
        let next = tokio::select! {
            signal = stop.received() => {
                tracing::info!(signal, "told to stop");
                signalled = true;
                break None;
            }
            end = gateway.ended() => Next::End(end),
            _ = hangup.recv() => Next::Reload,
            () = watch.changed() => Next::Reload,
        };
        match next {
            Next::Reload => {
                if let Some(new) = gateway.reload(sources, logs) {
                    watch = new;
                }
            }
            Next::End(End::DrainAsked) => {
                tracing::info!("asked to drain");
                break None;
            }
            Next::End(End::Died(died)) => {
                tracing::error!(task = died.0.name(), "a task failed and could not be started again: draining");
                break Some(died);
            }
        }
    };
    // A signal after `POST /drain` is the first one: an orchestrator sends both.
    let signals = if signalled { 1 } else { 2 };
    let told_again = async {
        for _ in 0..signals {
            stop.received().await;
        }
        tracing::info!("told again to stop: the grace of requests in flight is over");
    };
    let ending = gateway.drain(told_again).await;
    died.map_or(Ok(ending), |died| Err(died.into()))
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
