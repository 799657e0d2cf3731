//! The status document of `GET /status` and `status --json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Margin, StoreKindConfig};
use crate::token::journal::{Plan, Settings, plan};
use crate::token::store::{LastRefresh, Record};
use crate::token::{Access, Generation, policy};

/// The state of the grant.
///
/// ```text
///              ok                    refresh_at                   ok
/// starting ─────────▶ valid ───────────────────────▶ expiring ─────────▶ valid (next generation)
///     │                 │  ▲                            │
///     │       dead      │  │ accepted, or ok            │ expires_at
///     │                 ▼  │                            ▼
///     │               refused ──── expires_at ───▶   expired ── ok ──▶ valid
///     │ rejected, binding                               │
///     └──────────────────▶ needs_login ◀── rejected ────┘   (a live token is still used to its end)
///                               └── login, import ──▶ valid
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Starting,
    Valid,
    /// Past `refresh_at`, not yet renewed.
    Expiring,
    /// The live token is known to be dead: the upstream refuses it, and its refresh may have revoked it.
    Refused,
    Expired,
    /// A person must log in. An access token that has not expired is still used.
    NeedsLogin,
}

/// The status document. An unknown time is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub state: State,
    pub grant: String,
    pub profile: String,
    pub generation: Generation,
    pub obtained_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub refresh_at: Option<Timestamp>,
    /// When the failed operation is tried again.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
    /// The failed operation: `refresh`, `store` (a write of the newest grant) or `load` (a read of the store).
    #[serde(default)]
    pub retrying: Option<String>,
    /// When the upstream last refused the live token. `null` once the upstream accepts a later request with it.
    #[serde(default)]
    pub refused_at: Option<Timestamp>,
    pub last_refresh: Option<LastRefresh>,
    pub persisted: bool,
    pub store: String,
    pub draining: bool,
    pub version: String,
    /// What happened and what to do, if only a person can help.
    pub reason: Option<String>,
}

/// The facts that determine the state.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Whether there is an access token, expired or not.
    pub token: bool,
    pub expires_at: Option<Timestamp>,
    pub refresh_at: Option<Timestamp>,
    /// The live token is known to be dead.
    pub dead: bool,
    pub needs_login: bool,
}

/// The part of the configuration that the status document shows.
#[derive(Clone, Debug)]
pub struct Identity {
    pub grant: &'static str,
    pub profile: &'static str,
    pub store: &'static str,
}

/// A stored grant that no running process reports on, and the configuration to judge it by.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    pub record: Option<&'a Record>,
    pub settings: &'a Settings,
    pub identity: &'a Identity,
    pub margin: Margin,
}

/// Rounded down: a token is not shown as living longer than it does.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

// === impl State ===

impl State {
    pub fn new(facts: Facts, now: Timestamp) -> Self {
        let past = |time: Option<Timestamp>| time.is_some_and(|time| time <= now);
        match facts {
            Facts { needs_login: true, .. } => Self::NeedsLogin,
            Facts { token: false, .. } => Self::Starting,
            Facts { expires_at, .. } if past(expires_at) => Self::Expired,
            Facts { dead: true, .. } => Self::Refused,
            Facts { refresh_at, .. } if past(refresh_at) => Self::Expiring,
            _ => Self::Valid,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Valid => "valid",
            Self::Expiring => "expiring",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::NeedsLogin => "needs_login",
        }
    }
}

// === impl Status ===

impl Status {
    /// The status that the proxy would report if it had just started. Pure.
    pub fn from_stored(stored: Stored<'_>, now: Timestamp) -> Self {
        let Stored { record, settings, identity, margin } = stored;
        let reason = match plan(settings, record) {
            Plan::NeedsLogin(reason) => Some(reason),
            Plan::Present { .. } => None,
        };
        // A grant of another server would not be used.
        let ours = record.filter(|record| record.binding == settings.binding);
        let access = ours.and_then(|record| record.access.as_ref()).map(|access| {
            let (obtained_at, expires_at) = policy::corrected(access.obtained_at, access.expires_at, None, now)
                .unwrap_or((access.obtained_at, access.expires_at));
            Access { token: access.token.clone(), obtained_at, expires_at }
        });
        let access = access.as_ref();
        let expires_at = access.and_then(|access| access.expires_at);
        // Without jitter, which each process chooses for itself. Jitter only makes a refresh earlier.
        let refresh_at =
            access.zip(expires_at).map(|(access, end)| policy::refresh_at(access.obtained_at, end, margin, 0.0));
        let facts =
            Facts { token: access.is_some(), expires_at, refresh_at, dead: false, needs_login: reason.is_some() };
        Self {
            state: State::new(facts, now),
            grant: identity.grant.to_owned(),
            profile: identity.profile.to_owned(),
            generation: record.map_or(Generation::default(), |record| record.generation),
            obtained_at: access.map(|access| access.obtained_at),
            expires_at,
            refresh_at,
            retry_at: None,
            retrying: None,
            refused_at: None,
            last_refresh: record.and_then(|record| record.last_refresh.as_ref()).cloned(),
            persisted: true,
            store: identity.store.to_owned(),
            draining: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reason,
        }
        .in_whole_seconds()
    }

    /// Removes the fractions of all times, because many tools can't read them (`fromdate` of jq).
    pub(in crate::token) fn in_whole_seconds(mut self) -> Self {
        let times = [
            &mut self.obtained_at,
            &mut self.expires_at,
            &mut self.refresh_at,
            &mut self.retry_at,
            &mut self.refused_at,
        ];
        for time in times {
            *time = time.map(whole_seconds);
        }
        if let Some(last) = &mut self.last_refresh {
            last.at = whole_seconds(last.at);
        }
        self
    }

    /// Whether a request sent at `now` would carry an unexpired token that is not known to be dead.
    pub fn usable(&self, now: Timestamp) -> bool {
        match self.state {
            State::Valid | State::Expiring => true,
            State::NeedsLogin => self.obtained_at.is_some() && self.expires_at.is_none_or(|end| now < end),
            State::Starting | State::Refused | State::Expired => false,
        }
    }
}

// === impl Identity ===

impl Identity {
    pub fn new(config: &Config) -> Self {
        let store = match config.store.kind {
            StoreKindConfig::File { .. } => "file",
            StoreKindConfig::Postgres { .. } => "postgres",
            StoreKindConfig::Kubernetes(_) => "kubernetes",
            StoreKindConfig::Memory => "memory",
        };
        Self { grant: config.oauth.grant.name(), profile: config.profile.name(), store }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use crate::config::AmbiguousRetry;
    use crate::token::journal::Kind;
    use crate::token::store::Binding;
    use crate::token::{AccessToken, RefreshToken};

    #[test]
    fn the_state_follows_from_the_facts() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1000);
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let facts = |token, expires_at, refresh_at, dead, needs_login| Facts {
            token,
            expires_at,
            refresh_at,
            dead,
            needs_login,
        };
        for (facts, expected) in [
            (facts(false, None, None, false, false), State::Starting),
            (facts(false, None, None, false, true), State::NeedsLogin),
            (facts(true, at(1001), at(1001), false, false), State::Valid),
            (facts(true, None, None, false, false), State::Valid),
            (facts(true, at(1001), at(1000), false, false), State::Expiring),
            (facts(true, at(1001), at(1000), true, false), State::Refused),
            (facts(true, at(1000), at(900), true, false), State::Expired),
            (facts(true, at(2000), at(1900), false, true), State::NeedsLogin),
        ] {
            assert_eq!(State::new(facts, now), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_stored_grant_is_read_against_the_configuration() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let binding = |client_id: &str| Binding {
            token_url: "https://as.test/token".into(),
            client_id: client_id.into(),
            upstream_origin: "https://api.test".into(),
        };
        let settings = |first: Option<&str>| Settings {
            kind: Kind::RefreshToken { initial: first.map(|first| RefreshToken::parse(first).unwrap()) },
            binding: binding("7"),
            request_timeout: Duration::from_secs(30),
            ambiguous_retry: AmbiguousRetry::Once,
            default_lifetime: Duration::from_secs(3600),
        };
        let stored = |seconds_left: i64| Record {
            generation: Generation(3),
            access: Some(Access {
                token: AccessToken::parse("canary-access").unwrap(),
                obtained_at: now - SignedDuration::from_secs(1_000_000),
                expires_at: Some(now + SignedDuration::from_secs(seconds_left)),
            }),
            refresh: Some(RefreshToken::parse("canary-refresh").unwrap()),
            ..Record::empty(binding("7"))
        };
        let identity = Identity { grant: "refresh_token", profile: "passolution", store: "file" };
        let bare = Record { access: None, ..stored(0) };
        let refused = Record { needs_login: Some("refused".into()), ..stored(1_000_000) };
        let foreign = Record { binding: binding("8"), ..stored(1_000_000) };
        for (record, first, state, usable) in [
            (None, None, State::NeedsLogin, false),
            (None, Some("first"), State::Starting, false),
            (Some(stored(1_000_000)), None, State::Valid, true),
            (Some(stored(60)), None, State::Expiring, true),
            (Some(stored(0)), None, State::Expired, false),
            (Some(bare), None, State::Starting, false),
            (Some(refused), None, State::NeedsLogin, true),
            (Some(foreign), None, State::NeedsLogin, false),
        ] {
            let settings = settings(first);
            let margin = Margin::Fixed(Duration::from_secs(600));
            let stored = Stored { record: record.as_ref(), settings: &settings, identity: &identity, margin };
            let status = Status::from_stored(stored, now);
            assert_eq!((status.state, status.usable(now)), (state, usable), "{record:?}");
            assert_eq!(status.reason.is_some(), state == State::NeedsLogin, "{record:?}");
            assert!(!serde_json::to_string(&status).unwrap().contains("canary"));
        }
    }
}
