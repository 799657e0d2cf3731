//! A grant of this process: everything between its token endpoint and its live token, started, reconfigured and stopped as one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::InvalidToken;
use super::endpoint::{Endpoint, EndpointError};
use super::journal::{Journal, PreparedStore, Settings};
use super::live::Live;
use super::owner;
use super::refresher::{Ending, Refresher, Tokens};
use super::static_token::StaticToken;
use super::status::Identity;
use super::store::{Store, StoreError};
use crate::clock::Clock;
use crate::config::{Config, GrantConfig, RefreshConfig, SecretSource};
use crate::metrics::Metrics;
use crate::supervise::{Died, Task, first_death};

/// A running grant.
pub struct Grant {
    tokens: Tokens,
    store: Option<PreparedStore>,
    task: JoinSet<Result<Ending, Died>>,
    stop: watch::Sender<bool>,
}

/// What a grant is made of, or changed to by a reload.
pub struct GrantSettings {
    source: Source,
    refresh: RefreshConfig,
}

/// Where access tokens come from.
enum Source {
    /// The `static` grant, which another program renews.
    Static(SecretSource),
    TokenEndpoint(Box<(Endpoint, Settings)>),
}

/// Why there is no grant.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    #[error("the token endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    #[error("oauth.refresh_token: {0}")]
    FirstToken(#[from] InvalidToken),
}

// === impl Grant ===

impl Grant {
    /// Starts the grant's task. Requests may have to wait for a first token.
    pub async fn start(config: &Config, clock: Clock, metrics: &Metrics) -> Result<Self, GrantError> {
        let GrantSettings { source, refresh } = GrantSettings::new(config)?;
        let (live, identity) = (Arc::new(Live::new(clock.clone())), Identity::new(config));
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        let mut prepared = None;
        let tokens = match source {
            Source::Static(source) => {
                let (fixed, tokens) = StaticToken::new(source, live, refresh.wait, identity).await;
                let run = fixed.run(stopped, metrics.restarts().clone());
                task.spawn(async { run.await.map(|()| Ending::Stored) });
                tokens
            }
            Source::TokenEndpoint(parts) => {
                let (endpoint, settings) = *parts;
                let store = PreparedStore::new(Store::open(&config.store, config.outbound.ca_file.as_deref()).await?);
                prepared = Some(store.clone());
                let journal = Journal {
                    store,
                    endpoint,
                    settings,
                    clock,
                    metrics: metrics.token().clone(),
                    owner: owner::of_this_process(),
                    stopping: Arc::default(),
                };
                let (refresher, tokens) = Refresher::new(journal, live, refresh, identity);
                let grace = config.shutdown.grace.max(Duration::from_secs(1));
                task.spawn(refresher.run(stopped, grace));
                tokens
            }
        };
        Ok(Self { tokens, store: prepared, task, stop })
    }

    /// The store of the grant. `None`: a `static` grant.
    pub fn store(&self) -> Option<&PreparedStore> {
        self.store.as_ref()
    }

    /// The handle that reads the live token and reports refusals.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Continues with other settings. The kind of grant and the store stay until the next start.
    pub fn reconfigure(&mut self, GrantSettings { source, refresh }: GrantSettings) {
        self.tokens = self.tokens.with_wait(refresh.wait);
        match source {
            Source::Static(source) => self.tokens.replace_source(source),
            Source::TokenEndpoint(parts) => self.tokens.reconfigure(*parts, refresh),
        }
    }

    /// Returns when the grant's task could not be restarted.
    pub async fn died(&mut self) -> Died {
        first_death(&mut self.task, Task::Refresher).await
    }

    /// Finishes a refresh in flight, and stores its outcome.
    pub async fn stop(mut self) -> Ending {
        self.stop.send_replace(true);
        let mut ending = Ending::Stored;
        while let Some(ended) = self.task.join_next().await {
            if let Ok(Ok(ended)) = ended {
                ending = ended;
            }
        }
        ending
    }
}

// === impl GrantSettings ===

impl GrantSettings {
    pub fn new(config: &Config) -> Result<Self, GrantError> {
        let source = match &config.oauth.grant {
            GrantConfig::Static { access_token } => Source::Static(access_token.clone()),
            GrantConfig::RefreshToken { endpoint, .. } | GrantConfig::ClientCredentials { endpoint } => {
                let settings = Settings::new(config, endpoint)?;
                Source::TokenEndpoint(Box::new((Endpoint::new(endpoint.clone(), &config.outbound)?, settings)))
            }
        };
        Ok(Self { source, refresh: config.refresh.clone() })
    }
}
