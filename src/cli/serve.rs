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
use crate::telemetry::service_manager::ServiceManager;
use crate::token::refresher::Ending;

/// Why `serve` failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("signals can't be received: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Died(#[from] Died),
}

/// The next step of the loop.
enum Next {
    Reload,
    End(End),
}

/// Serves until it must stop. It reloads the configuration from `sources` on SIGHUP, and when one of its files changes.
pub async fn run(loaded: Loaded, sources: &Sources, logs: &Logs) -> Result<Ending, ServeError> {
    // Before anything starts: an early signal must not interrupt a refresh.
    let mut stop = Stop::new().map_err(ServeError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
    descriptors::raise_limit();
    check::log(&check::at_start(&loaded, sources), "start");
    let mut watch = Watch::new(loaded.files.clone());
    let mut manager = ServiceManager::new();
    let mut gateway = Gateway::start(loaded, Clock::system(), logs.problems().clone()).await?;
    manager.ready();
    let mut signalled = false;
    let died = loop {
        let next = tokio::select! {
            signal = stop.received() => {
                tracing::info!(signal, "stopping on a signal");
                signalled = true;
                break None;
            }
            end = gateway.ended() => Next::End(end),
            // Here, because this loop also learns that a task died: a loop that is stuck starves the watchdog.
            () = manager.due() => {
                manager.beat(&gateway.tokens().status());
                continue;
            }
            _ = hangup.recv() => Next::Reload,
            () = watch.changed() => Next::Reload,
        };
        match next {
            Next::Reload => {
                manager.reloading();
                if let Some(new) = gateway.reload(sources, logs) {
                    watch = new;
                }
                manager.ready();
            }
            Next::End(End::DrainAsked) => {
                tracing::info!("draining on request");
                break None;
            }
            Next::End(End::Died(died)) => {
                tracing::error!(task = died.0.name(), "draining: a task failed and could not be restarted");
                break Some(died);
            }
        }
    };
    manager.stopping();
    // After `POST /drain`, the first signal does not cut requests: an orchestrator sends both.
    let signals = if signalled { 1 } else { 2 };
    let second_signal = async {
        for _ in 0..signals {
            stop.received().await;
        }
        tracing::info!("a second signal ends the grace of requests in flight");
    };
    let ending = gateway.drain(second_signal).await;
    died.map_or(Ok(ending), |died| Err(died.into()))
}

/// The two signals that stop the program.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Stop ===

impl Stop {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for a signal, and returns its name.
    pub async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
