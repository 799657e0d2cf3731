//! The running program: starts both journeys, joins them, and ends them in order.
//!
//! The calling runtime is the control plane (refresher, store, admin). The worker threads of `downstream` are the data plane.

pub mod reload;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Admin, Listener, Scope, Settings};
use crate::clock::Clock;
use crate::config::{Config, Effective, ListenAddress, Loaded};
use crate::descriptors;
use crate::downstream::{self, Server};
use crate::metrics::Metrics;
use crate::outbound::TlsError;
use crate::proxy::route::Route;
use crate::proxy::upstream::Upstream;
use crate::proxy::{self, Setup};
use crate::supervise::{Died, Task, first_death};
use crate::telemetry::problems::Problems;
use crate::token::grant::{Grant, GrantError};
use crate::token::refresher::{Ending, Tokens};

/// Serves requests until [`Gateway::drain`].
pub struct Gateway {
    config: Arc<Config>,
    effective: Effective,
    addresses: Vec<ListenAddress>,
    #[cfg_attr(not(feature = "simulator"), expect(dead_code, reason = "only the demo reads it"))]
    admin_address: Option<ListenAddress>,
    running: downstream::Running,
    setup: Arc<ArcSwap<Setup>>,
    admin: Arc<Admin>,
    grant: Grant,
    metrics: Metrics,
    /// The listeners of the control plane.
    listeners: JoinSet<Result<(), Died>>,
    stop_admin: watch::Sender<bool>,
    drain: watch::Receiver<bool>,
}

/// Why it stops serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    DrainAsked,
    Died(Died),
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] downstream::BindError),
    #[error(transparent)]
    Workers(#[from] downstream::StartError),
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Grant(#[from] GrantError),
}

/// How long the drain waits for a login that is being stored.
const LOGIN_PATIENCE: Duration = Duration::from_secs(35);

// === impl Gateway ===

impl Gateway {
    /// Binds everything, then starts. Clients are served from then on, but may have to wait for a first token. The admin page shows
    /// `problems`.
    pub async fn start(loaded: Loaded, clock: Clock, problems: Problems) -> Result<Self, StartError> {
        let Loaded { config, effective, .. } = loaded;
        let config = Arc::new(config);
        let metrics = Metrics::new();
        let upstream = Arc::new(Upstream::new(&config, &metrics)?);
        let server = Server::bind(&config)?.counted_by(metrics.restarts().clone());
        let addresses = server.local_addresses();
        let grant = Grant::start(&config, clock, &metrics).await?;

        let (drain_now, drain) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let settings = Settings { config: Arc::clone(&config), effective: effective.clone() };
        let admin = Admin::new(grant.tokens().clone(), metrics.clone(), drain_now, settings, problems);
        let admin = Arc::new(admin.with_store(grant.store()));
        let mut admin_address = None;
        let mut listeners = JoinSet::new();
        if let Some(config) = &config.admin {
            let listener = Listener::bind(&config.listen, Scope::Admin)?;
            tracing::info!(address = %listener.address(), "admin listening");
            admin_address = Some(listener.address().clone());
            listeners.spawn(listener.serve(Arc::clone(&admin), admin_stopped.clone()));
            listeners.spawn(Arc::clone(&admin).keep_history());
        }
        if let Some(address) = &config.probes {
            let listener = Listener::bind(address, Scope::Probes)?;
            tracing::info!(address = %listener.address(), "probes listening");
            listeners.spawn(listener.serve(Arc::clone(&admin), admin_stopped));
        }

        let route = Route { upstream, tokens: grant.tokens().clone() };
        let setup = Arc::new(ArcSwap::from_pointee(Setup { config: Arc::clone(&config), route }));
        metrics.watch_downstream(server.connections());
        let running = {
            let (setup, metrics) = (Arc::clone(&setup), metrics.clone());
            server.start(descriptors::workers(&config.runtime), move || proxy::worker(Arc::clone(&setup), &metrics))?
        };
        for address in &addresses {
            tracing::info!(%address, upstream = %config.upstream.origin, "listening");
        }
        Ok(Self {
            config,
            effective,
            addresses,
            admin_address,
            running,
            setup,
            admin,
            grant,
            metrics,
            listeners,
            stop_admin,
            drain,
        })
    }

    /// The addresses for clients, with the ports that the system chose.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    #[cfg(feature = "simulator")]
    pub fn admin_address(&self) -> Option<&ListenAddress> {
        self.admin_address.as_ref()
    }

    pub fn tokens(&self) -> &Tokens {
        self.grant.tokens()
    }

    /// Returns after a `POST /drain`, or when a task could not be restarted.
    pub async fn ended(&mut self) -> End {
        let asked = async {
            if self.drain.wait_for(|drain| *drain).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = asked => End::DrainAsked,
            died = self.grant.died() => End::Died(died),
            died = first_death(&mut self.listeners, Task::Admin) => End::Died(died),
            task = self.running.died() => End::Died(Died(task)),
        }
    }

    /// Ends in order: not ready, `shutdown.delay`, requests in flight, a refresh in flight and its commit, the admin listener. When
    /// `at_once` completes, it cuts the requests in flight. It never cuts a refresh in flight.
    pub async fn drain(self, at_once: impl Future<Output = ()>) -> Ending {
        let shutdown = &self.config.shutdown;
        tracing::info!(delay = ?shutdown.delay, grace = ?shutdown.grace, "draining");
        self.grant.tokens().drain();
        self.setup.load().route.upstream.drain();
        let mut at_once = pin!(at_once);
        let told_again = tokio::select! {
            () = tokio::time::sleep(shutdown.delay) => false,
            () = &mut at_once => true,
        };
        let cut = async {
            if !told_again {
                at_once.await;
            }
        };
        let drained = self.running.drain_or_cut(shutdown.grace, cut).await;
        if drained.aborted > 0 {
            let connections = drained.aborted;
            tracing::warn!(
                connections,
                "requests in flight were cut: the grace is over, or a second signal has ended it"
            );
        }
        self.admin.logins_ended(LOGIN_PATIENCE).await;
        // After the requests, whose replays may need a new token.
        let ending = self.grant.stop().await;
        self.stop_admin.send_replace(true);
        tracing::info!("stopped");
        ending
    }
}
