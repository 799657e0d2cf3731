//! The running program: both journeys started, joined, and ended in order.
//!
//! The calling runtime is the control plane (refresher, store, admin); the data plane is the server's worker threads.

pub mod reload;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Admin, Listener, Scope};
use crate::clock::Clock;
use crate::config::{Config, Effective, GrantConfig, ListenAddress, Loaded};
use crate::downstream::{self, Server};
use crate::metrics::Metrics;
use crate::outbound::{Connector, TlsError};
use crate::proxy::{self, Shared};
use crate::supervise::{Died, Task};
use crate::token::InvalidToken;
use crate::token::endpoint::{Endpoint, EndpointError};
use crate::token::fixed::Fixed;
use crate::token::journal::{Journal, Prepared, Settings};
use crate::token::live::Live;
use crate::token::refresher::{Ending, Identity, Refresher, Tokens};
use crate::token::store::{Store, StoreError};

/// Serving, until [`Gateway::drain`].
pub struct Gateway {
    config: Arc<Config>,
    effective: Effective,
    addresses: Vec<ListenAddress>,
    admin_address: Option<ListenAddress>,
    running: downstream::Running,
    shared: Arc<ArcSwap<Shared>>,
    admin: Arc<Admin>,
    tokens: Tokens,
    metrics: Metrics,
    /// Those of the control plane.
    listeners: JoinSet<Result<(), Died>>,
    refresher: JoinSet<Result<Ending, Died>>,
    stop_refresher: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    drain: watch::Receiver<bool>,
}

/// Why it can't go on serving.
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
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    #[error("the token endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    #[error("the grant has no token endpoint")]
    NoEndpoint,
    #[error("oauth.refresh_token: {0}")]
    FirstToken(#[from] InvalidToken),
}

// === impl Gateway ===

impl Gateway {
    /// Binds everything, then starts. From here on clients are answered, though they may have to wait for a first token.
    pub async fn start(loaded: Loaded, clock: Clock) -> Result<Self, StartError> {
        let Loaded { config, effective, .. } = loaded;
        let config = Arc::new(config);
        let metrics = Metrics::new();
        let upstream = &config.upstream;
        let cert = upstream.client_cert.as_ref();
        let connector = Connector::new(upstream.origin.clone(), &config.outbound, cert, upstream.connect_timeout)?;
        let server = Server::bind(&config)?.counted_by(metrics.restarts().clone());
        let addresses = server.local_addresses();

        let (stop_refresher, stopped) = watch::channel(false);
        let (tokens, refresher) = start_tokens(&config, clock, &metrics, stopped).await?;

        let (drain_now, drain) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let key = config.admin.as_ref().and_then(|admin| admin.key.clone());
        let admin = Arc::new(Admin::new(tokens.clone(), metrics.clone(), drain_now, key));
        let mut admin_address = None;
        let mut listeners = JoinSet::new();
        if let Some(config) = &config.admin {
            let listener = Listener::bind(&config.listen, Scope::Admin)?;
            tracing::info!(address = %listener.address(), "admin listening");
            admin_address = Some(listener.address().clone());
            listeners.spawn(listener.serve(Arc::clone(&admin), admin_stopped.clone()));
        }
        if let Some(address) = &config.probes {
            let listener = Listener::bind(address, Scope::Probes)?;
            tracing::info!(address = %listener.address(), "probes listening");
            listeners.spawn(listener.serve(Arc::clone(&admin), admin_stopped));
        }

        let made = Shared::new(Arc::clone(&config), tokens.clone(), metrics.clone(), connector);
        let shared = Arc::new(ArcSwap::from_pointee(made));
        metrics.watch_downstream(server.connections());
        let running = {
            let (shared, metrics) = (Arc::clone(&shared), metrics.clone());
            server.start(downstream::default_workers(), move |_| proxy::worker(Arc::clone(&shared), &metrics))?
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
            shared,
            admin,
            tokens,
            metrics,
            listeners,
            refresher,
            stop_refresher,
            stop_admin,
            drain,
        })
    }

    /// Where clients connect, with the ports that the system chose.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    pub fn admin_address(&self) -> Option<&ListenAddress> {
        self.admin_address.as_ref()
    }

    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Returns when somebody asked for the drain by `POST /drain`, or when a task could not be started again.
    pub async fn ended(&mut self) -> End {
        let asked = async {
            if self.drain.wait_for(|drain| *drain).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = asked => End::DrainAsked,
            died = first_death(&mut self.refresher, Task::Refresher) => End::Died(died),
            died = first_death(&mut self.listeners, Task::Admin) => End::Died(died),
            task = self.running.died() => End::Died(Died(task)),
        }
    }

    /// Ends in order: not ready, `shutdown.delay`, requests in flight, a refresh in flight and its storing, the admin listener.
    /// `at_once`: what is in flight of requests is cut as soon as this is ready. A refresh in flight, and its storing, never is.
    pub async fn drain(mut self, at_once: impl Future<Output = ()>) -> Ending {
        let shutdown = &self.config.shutdown;
        tracing::info!(delay = ?shutdown.delay, grace = ?shutdown.grace, "draining");
        self.tokens.drain();
        self.shared.load().in_flight.drain();
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
        // After the requests: their replays may need it.
        self.stop_refresher.send_replace(true);
        let mut ending = Ending::Stored;
        while let Some(ended) = self.refresher.join_next().await {
            if let Ok(Ok(refresher)) = ended {
                ending = refresher;
            }
        }
        self.stop_admin.send_replace(true);
        tracing::info!("stopped");
        ending
    }
}

/// The first task of a set that ended and should not have: it could not be started again, or its supervisor is gone. Pending
/// while there is none.
async fn first_death<T: 'static>(tasks: &mut JoinSet<Result<T, Died>>, unknown: Task) -> Died {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(died))) => return died,
            Some(Err(_)) => return Died(unknown),
            None => std::future::pending().await,
        }
    }
}

/// Starts the token's journey of the configured grant.
async fn start_tokens(
    config: &Arc<Config>,
    clock: Clock,
    metrics: &Metrics,
    stopped: watch::Receiver<bool>,
) -> Result<(Tokens, JoinSet<Result<Ending, Died>>), StartError> {
    let mut task = JoinSet::new();
    let live = Arc::new(Live::new(clock.clone()));
    let identity = Identity::of(config);
    if let GrantConfig::Static { access_token } = &config.oauth.grant {
        let (fixed, tokens) = Fixed::new(access_token.clone(), live, config.refresh.wait, identity);
        let run = fixed.run(stopped, metrics.clone());
        task.spawn(async { run.await.map(|()| Ending::Stored) });
        return Ok((tokens, task));
    }
    let Some((endpoint, settings)) = token_settings(config)? else {
        // Every grant but `static`, which was served above, has a token endpoint.
        return Err(StartError::NoEndpoint);
    };
    let journal = Journal {
        store: Prepared::new(Store::open(&config.store, config.outbound.ca_file.as_deref()).await?),
        endpoint,
        settings,
        clock,
        metrics: metrics.clone(),
        owner: owner(),
        stopping: Arc::default(),
    };
    let (refresher, tokens) = Refresher::new(journal, live, config.refresh.clone(), identity);
    let grace = config.shutdown.grace.max(Duration::from_secs(1));
    task.spawn(refresher.run(stopped, grace));
    Ok((tokens, task))
}

/// What the refresher works with; `None`: the `static` grant, which has no refresher.
fn token_settings(config: &Config) -> Result<Option<(Endpoint, Settings)>, StartError> {
    let Some(endpoint) = config.oauth.grant.endpoint() else { return Ok(None) };
    let settings = Settings::of(config, endpoint)?;
    Ok(Some((Endpoint::new(endpoint.clone(), &config.outbound)?, settings)))
}

/// A name for this process that no other has, also not one of the same number after a restart.
fn owner() -> String {
    let mut random = [0; 8];
    // Without randomness TLS would not work either; the process number alone then tells processes of one machine apart.
    let _ = aws_lc_rs::rand::fill(&mut random);
    format!("{}-{:016x}", std::process::id(), u64::from_be_bytes(random))
}
