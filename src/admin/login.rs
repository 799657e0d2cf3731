//! The login in a browser: the authorization code flow of the command `login`, started and ended at this listener.
//!
//! * Only an operator can start one: with `admin.key`, or through a unix socket. Everyone else who reaches the loopback could replace the
//!   account by their own.
//! * A redirect counts only with the `state` of a waiting login, which is used once, and with the cookie of the browser that started it. So
//!   a page that guesses or repeats a redirect ends nothing. A second service on the same host can read and replace the cookie, because
//!   cookies have no port. It knows no `state`, and PKCE makes a foreign code useless.
//! * The code of a redirect that does not arrive can be pasted, with the key.

pub(super) mod endpoints;
mod offer;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep_until};
use url::Url;

pub(super) use self::offer::CALLBACK;
use self::offer::{Plan, WhyNot};
use super::visit::Visit;
use crate::config::Config;
use crate::secret::Secret;
use crate::token::login::{Authorization, Callback, LoginError, Ready, Stored, random};

/// How long a login waits for its redirect.
const LIFETIME: Duration = Duration::from_secs(600);
/// Maximum number of waiting logins. A further one replaces the oldest.
const MOST: usize = 8;

/// The logins of this listener.
#[derive(Debug, Default)]
pub(super) struct Logins {
    state: Mutex<State>,
    /// Each exchange holds a read lock: it must run to its end.
    exchanging: Arc<RwLock<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    waiting: VecDeque<Waiting>,
    last: Option<Last>,
}

/// A login that waits for its redirect.
#[derive(Debug)]
struct Waiting {
    ready: Ready,
    authorization: Authorization,
    registered: String,
    /// `None`: its redirect does not arrive here.
    cookie: Option<Secret>,
    until: Instant,
}

/// How the last login ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Last {
    at: Timestamp,
    ok: bool,
    message: String,
}

/// What the page says about a login.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Offer {
    offered: bool,
    why_not: Option<WhyNot>,
    command: &'static str,
    redirect_uri: String,
    callback_origin: Option<String>,
    last: Option<Last>,
}

/// A login that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) authorize_url: Url,
    pub(super) expires_at: Timestamp,
    /// `None`: the redirect cannot reach this listener.
    pub(super) cookie: Option<Cookie>,
}

/// Binds a login to the browser that started it.
#[derive(Clone, Debug)]
pub(super) struct Cookie {
    pub(super) name: String,
    pub(super) value: Secret,
}

/// Why a login does not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBegun {
    #[error("{0}; use `{COMMAND}` on the machine of the proxy")]
    NotOffered(&'static str),
    #[error(transparent)]
    Failed(#[from] LoginError),
}

const COMMAND: &str = "bearer-proxy login";

// === impl Logins ===

impl Logins {
    pub(super) fn offer(&self, config: &Config, visit: &Visit) -> Offer {
        let Plan { why_not, registered, callback } = Plan::new(config, &visit.bound, &visit.host);
        Offer {
            offered: why_not.is_none(),
            why_not,
            command: COMMAND,
            redirect_uri: registered,
            callback_origin: callback.map(|callback| callback.origin),
            last: self.state().last.clone(),
        }
    }

    /// Begins a login, after checking what can be checked before a person logs in.
    pub(super) async fn begin(self: &Arc<Self>, config: &Config, visit: &Visit) -> Result<Begun, NotBegun> {
        let Plan { why_not, registered, callback } = Plan::new(config, &visit.bound, &visit.host);
        if let Some(why) = why_not {
            return Err(NotBegun::NotOffered(why.says()));
        }
        let ready = Ready::new(config).await?;
        // Elsewhere, the browser would not send the cookie.
        let callback = callback.filter(|callback| callback.is_at(&visit.host));
        let sent = callback.as_ref().map_or(registered.as_str(), |callback| &callback.uri);
        let authorization = ready.authorization(sent)?;
        let authorize_url = authorization.url().cloned().ok_or(NotBegun::NotOffered(WhyNot::NoAuthorizeUrl.says()))?;
        let cookie = match callback {
            Some(callback) => {
                Some(Cookie { name: cookie_name(callback.port), value: random().map_err(LoginError::from)? })
            }
            None => None,
        };
        let until = Instant::now() + LIFETIME;
        let value = cookie.as_ref().map(|cookie| cookie.value.clone());
        let mut state = self.state();
        if state.waiting.len() == MOST {
            state.waiting.pop_front();
        }
        state.waiting.push_back(Waiting { ready, authorization, registered, cookie: value, until });
        drop(state);
        let logins = Arc::clone(self);
        // A login that nobody ends must not keep its connection to the database.
        tokio::spawn(async move {
            sleep_until(until).await;
            logins.expire();
        });
        let now = Timestamp::now();
        Ok(Begun { authorize_url, expires_at: now.checked_add(LIFETIME).unwrap_or(now), cookie })
    }

    /// Ends the login that a redirect belongs to. `cookies`: the values of its cookie that the browser sent; another service on the
    /// host may have added some. `None`: it belongs to no waiting login.
    pub(super) async fn redirected(
        self: &Arc<Self>,
        callback: Callback,
        cookies: &[Secret],
    ) -> Option<Result<Stored, LoginError>> {
        let waiting = self.take(|waiting| {
            let is_bound = waiting.cookie.as_ref().is_some_and(|cookie| cookies.contains(cookie));
            is_bound && waiting.authorization.check(&callback).is_ok()
        })?;
        Some(self.end(waiting, callback).await)
    }

    /// Ends the login that a pasted text belongs to: a bare code belongs to the newest.
    pub(super) async fn pasted(self: &Arc<Self>, callback: Callback) -> Option<Result<Stored, LoginError>> {
        let waiting = self.take(|waiting| waiting.authorization.check(&callback).is_ok())?;
        Some(self.end(waiting, callback).await)
    }

    /// Returns when no exchange runs.
    pub(super) async fn idle(&self) {
        let _ = self.exchanging.write().await;
    }

    /// Removes the newest waiting login that `belongs`, so that its `state` is used once.
    fn take(&self, belongs: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        self.expire();
        let mut state = self.state();
        let index = state.waiting.iter().rposition(belongs)?;
        state.waiting.remove(index)
    }

    fn expire(&self) {
        let now = Instant::now();
        self.state().waiting.retain(|waiting| now < waiting.until);
    }

    /// Exchanges the code and stores the grant, in a task that a client which leaves does not cancel.
    async fn end(self: &Arc<Self>, waiting: Waiting, callback: Callback) -> Result<Stored, LoginError> {
        let (logins, running) = (Arc::clone(self), Arc::clone(&self.exchanging).read_owned().await);
        let exchange = tokio::spawn(async move {
            let Waiting { ready, authorization, registered, .. } = waiting;
            let result = match Authorization::code(callback) {
                Ok(code) => ready.exchange(&code, &authorization, &registered).await,
                Err(error) => Err(error),
            };
            logins.note(&result);
            drop(running);
            result
        });
        exchange.await.unwrap_or_else(|_| {
            let result = Err(LoginError::Unclear { said: "the task of the exchange died".to_owned() });
            self.note(&result);
            result
        })
    }

    fn note(&self, result: &Result<Stored, LoginError>) {
        let (ok, message) = match result {
            Ok(stored) => {
                tracing::info!(generation = stored.generation.0, "a login in the browser has stored a grant");
                (true, stored.to_string())
            }
            Err(error) => {
                tracing::warn!(%error, "a login in the browser failed: the stored grant is unchanged");
                (false, format!("{error}. The stored grant is unchanged."))
            }
        };
        self.state().last = Some(Last { at: Timestamp::now(), ok, message });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cookie of a listener: cookies of one host have no port.
pub(super) fn cookie_name(port: u16) -> String {
    format!("bp_login_{port}")
}

// === impl WhyNot ===

impl WhyNot {
    fn says(self) -> &'static str {
        match self {
            Self::GrantType => "a login needs the grant type refresh_token (oauth.grant)",
            Self::NoAuthorizeUrl => "a login in the browser needs oauth.authorize_url and oauth.redirect_uri",
            Self::NoKey => {
                "a login in the browser needs admin.key, or a unix socket in admin.listen: otherwise everyone who reaches this \
                 address could replace the account"
            }
        }
    }
}

#[cfg(test)]
mod tests;
