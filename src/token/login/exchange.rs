//! The code becomes a grant: one token call, then a new lineage in the store.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};
use url::Url;

use super::{Authorization, LoginError};
use crate::config::{Config, GrantConfig, LoginConfig, TokenEndpoint};
use crate::secret::Secret;
use crate::token::endpoint::{CallResult, Endpoint, Issued, Presented, SuccessorOnly};
use crate::token::import::{Damaged, NewGrant, NotStored};
use crate::token::journal::Settings;
use crate::token::store::{Leased, Store, StoreError};
use crate::token::{Access, Generation, Lineage};

/// What an exchange needs, found before a person is asked to log in.
pub struct Ready {
    endpoint: Endpoint,
    login: LoginConfig,
    store: Store,
    settings: Settings,
    owner: String,
}

/// The grant is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub generation: Generation,
    /// `false`: the response had a refresh token, but no access token that can be used. The next refresh shows whether it works.
    pub verified: bool,
}

/// Time limit of one exchange.
const LIMIT: Duration = Duration::from_secs(30);
/// What the holder of the lease may need in addition to its call.
const BESIDE_CALL: Duration = Duration::from_secs(30);
/// How long to retry storing a grant that only this process has.
const PERSIST: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

// === impl Ready ===

impl Ready {
    /// Checks what can be checked before the login: the grant, the request, and that the store can be written.
    ///
    /// # Errors
    /// The login could not succeed.
    pub async fn new(config: &Config) -> Result<Self, LoginError> {
        let GrantConfig::RefreshToken { endpoint, .. } = &config.oauth.grant else {
            return Err(LoginError::Grant(config.oauth.grant.name()));
        };
        let invalid = |error: &dyn fmt::Display| LoginError::Configuration(error.to_string());
        let settings = Settings::new(config, endpoint).map_err(|error| invalid(&error))?;
        let bounded = TokenEndpoint { request_timeout: endpoint.request_timeout.min(LIMIT), ..endpoint.clone() };
        let endpoint = Endpoint::new(bounded, &config.outbound).map_err(|error| invalid(&error))?;
        let owner = format!("login-{}", std::process::id());
        let unusable = |error: StoreError| LoginError::Store(error.to_string());
        let store = Store::open(&config.store, config.outbound.ca_file.as_deref()).await.map_err(unusable)?;
        store.prepare().await.map_err(unusable)?;
        // A damaged document is replaced. A copy of it is kept.
        match store.load().await {
            Ok(_) | Err(StoreError::Damaged(_)) => {}
            Err(error) => return Err(unusable(error)),
        }
        // Taking the lease writes to the store, so a read-only store fails here. The exchange waits for a refresh in flight.
        if let Leased::Held(lease) = store.lease(&owner, BESIDE_CALL).await.map_err(unusable)? {
            store.release(lease).await;
        }
        Ok(Self { endpoint, login: config.oauth.login.clone(), store, settings, owner })
    }

    pub(super) fn token_url(&self) -> &Url {
        &self.endpoint.config().url
    }

    /// # Errors
    /// The operating system supplies no random numbers.
    pub fn authorization(&self, redirect_uri: &str) -> Result<Authorization, LoginError> {
        Ok(Authorization::new(self.endpoint.config(), &self.login, redirect_uri)?)
    }

    /// Presents the code and stores the grant.
    ///
    /// Must run to its end, as [`Endpoint::call`] must: the response may be the only one that has the refresh token.
    ///
    /// # Errors
    /// There is no grant, or it could not be stored.
    pub async fn exchange(
        &self,
        code: &Secret,
        authorization: &Authorization,
        registered: &str,
    ) -> Result<Stored, LoginError> {
        let redirect_uri = authorization.redirect_uri();
        let presented = Presented::Code { code, verifier: authorization.verifier(), redirect_uri };
        // The lifetime of a token is counted from the start of the call.
        let now = Timestamp::now();
        let (refresh, access) = match self.endpoint.call(presented, Instant::now() + LIMIT).await {
            CallResult::Issued(Issued { refresh: None, .. }) => return Err(LoginError::NoRefreshToken),
            CallResult::Issued(Issued { access, refresh: Some(refresh), lifetime }) => {
                let lifetime = lifetime.unwrap_or(self.settings.default_lifetime);
                let expires_at =
                    SignedDuration::try_from(lifetime).ok().and_then(|lifetime| now.checked_add(lifetime).ok());
                (refresh, Some(Access { token: access, obtained_at: now, expires_at }))
            }
            // A refresh token is kept whatever is wrong with the rest.
            CallResult::SuccessorOnly(SuccessorOnly { refresh, .. }) => (refresh, None),
            CallResult::Failed(failure) => return Err(LoginError::of_exchange(&failure, registered, redirect_uri)),
        };
        let verified = access.is_some();
        let lineage = Lineage::random()?;
        self.persist(NewGrant { lineage, refresh, access, awaited: false })
            .await
            .map(|generation| Stored { generation, verified })
            .map_err(|error| LoginError::NotStored(error.to_string()))
    }

    /// A store that fails for a moment must not cost the grant.
    async fn persist(&self, grant: NewGrant) -> Result<Generation, NotStored> {
        let until = Instant::now() + PERSIST;
        let patience = self.settings.request_timeout + BESIDE_CALL;
        loop {
            match grant.store(&self.store, &self.settings.binding, Damaged::Replace, patience).await {
                Ok(record) => return Ok(record.generation),
                Err(NotStored::Store(StoreError::Unavailable(_)) | NotStored::Contended) if Instant::now() < until => {
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("owner", &self.owner).finish_non_exhaustive()
    }
}

// === impl Stored ===

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.verified {
            write!(f, "stored as generation {}; a running proxy uses it within a second", self.generation)
        } else {
            f.write_str("stored as a candidate: it replaces the grant once a proxy has refreshed with it")
        }
    }
}
