//! What the grant looks like from outside: the document of `GET /status` and of `status --json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::token::store::LastRefresh;
use crate::token::{Generation, Outcome, Trigger};

/// The state of the grant.
///
/// ```text
///              ok                    refresh_at                   ok
/// starting ─────────▶ valid ───────────────────────▶ expiring ─────────▶ valid (next generation)
///     │                 │  ▲                            │
///     │         refusal │  │ accepted, or ok            │ expires_at
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
    /// The upstream has refused the live token, and has accepted it on no request since.
    Refused,
    Expired,
    /// A person must log in; an access token that has not expired is still used.
    NeedsLogin,
}

/// The status document (interface document §5). A time that is not known is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub state: State,
    pub grant: String,
    pub profile: String,
    pub generation: Generation,
    pub obtained_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub refresh_at: Option<Timestamp>,
    pub last_refresh: Option<RefreshReport>,
    pub persisted: bool,
    pub store: String,
    pub draining: bool,
    pub version: String,
    /// What happened and what to do, where a person is needed.
    pub reason: Option<String>,
}

/// `last_refresh` of the status document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshReport {
    pub at: Timestamp,
    pub trigger: Trigger,
    pub outcome: Outcome,
    pub duration_ms: u64,
    pub error: Option<String>,
}

/// What the state follows from.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Whether there is an access token at all.
    pub token: bool,
    pub expires_at: Option<Timestamp>,
    pub refresh_at: Option<Timestamp>,
    pub refused: bool,
    pub needs_login: bool,
}

// === impl State ===

impl State {
    pub fn of(facts: Facts, now: Timestamp) -> Self {
        let past = |time: Option<Timestamp>| time.is_some_and(|time| time <= now);
        match facts {
            Facts { needs_login: true, .. } => Self::NeedsLogin,
            Facts { token: false, .. } => Self::Starting,
            Facts { expires_at, .. } if past(expires_at) => Self::Expired,
            Facts { refused: true, .. } => Self::Refused,
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
    /// Whether a request sent at `now` would carry a token that has neither expired nor been refused.
    pub fn usable(&self, now: Timestamp) -> bool {
        match self.state {
            State::Valid | State::Expiring => true,
            State::NeedsLogin => self.obtained_at.is_some() && self.expires_at.is_none_or(|end| now < end),
            State::Starting | State::Refused | State::Expired => false,
        }
    }
}

// === impl RefreshReport ===

impl From<&LastRefresh> for RefreshReport {
    fn from(last: &LastRefresh) -> Self {
        let LastRefresh { at, trigger, outcome, duration_ms, error } = last;
        Self { at: *at, trigger: *trigger, outcome: *outcome, duration_ms: *duration_ms, error: error.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_from_the_facts() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1000);
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let facts = |token, expires_at, refresh_at, refused, needs_login| Facts {
            token,
            expires_at,
            refresh_at,
            refused,
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
            assert_eq!(State::of(facts, now), expected, "{facts:?}");
        }
    }
}
