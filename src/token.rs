//! A token's journey: store → refresher (intent) → token endpoint → store (commit) → live token.
//!
//! The refresher is the only writer. Times and pauses are decided by pure functions in [`policy`].

pub mod endpoint;
pub mod grant;
pub mod import;
pub mod journal;
mod lineage;
pub mod live;
pub mod login;
mod metrics;
pub mod owner;
pub mod policy;
pub mod refresher;
pub mod static_token;
pub mod status;
pub mod store;

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::HeaderValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::lineage::{Lineage, NoRandomness};
pub use self::metrics::{Collectors, TokenMetrics};
use crate::secret::Secret;

/// The number of an access token. It grows by one with each new token and never decreases. 0: no token yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// An access token that an `Authorization` field can carry: visible ASCII.
///
/// RFC 6750 §2.1 allows fewer characters, but servers issue others too: Salesforce uses `!`, Amazon uses `|`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken(Secret);

/// A refresh token, which is presented to one token endpoint, once. It is printable ASCII (RFC 6749 §A.17). A space is allowed, but
/// not at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken(Secret);

/// The first 128 bits of the SHA-256 of a refresh token. It distinguishes tokens, and is safe to print and to store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 16]);

/// An access token with its lifetime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub token: AccessToken,
    /// When the call that brought it began. The lifetime counts from there.
    pub obtained_at: Timestamp,
    /// `None`: the expiry is unknown (the `static` grant).
    pub expires_at: Option<Timestamp>,
}

/// The cause of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Startup,
    Scheduled,
    /// The upstream refused the token.
    Rejected,
    /// A person asked for it, or supplied a new grant.
    Manual,
    /// Another replica performed the refresh.
    Peer,
}

/// How a refresh ended. It decides whether the grant is kept, and when the next attempt comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshOutcome {
    Ok,
    /// The server received nothing, or asked for a later attempt (408, 425, 429, 503). The proxy retries with backoff.
    Transient,
    /// The server may have spent the refresh token, but no clear answer arrived. `oauth.ambiguous_retry` applies.
    Ambiguous,
    /// The server clearly refused this refresh token. The grant needs a login.
    Rejected,
    /// The server refused for a reason in the configuration. The grant is kept.
    Misconfigured,
}

/// A text that is not a valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the token is empty, or has a character that such a token must not have (RFC 6749 §A.12, §A.17; RFC 6750 §2.1)"
)]
pub struct InvalidToken;

// === impl Generation ===

impl Generation {
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl AccessToken ===

impl AccessToken {
    /// Accepts visible ASCII only. Any other character can't be sent, or could be read as a second credential.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidToken> {
        parse(text.into(), |byte| byte.is_ascii_graphic()).map(Self)
    }

    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The whole `Authorization` value. Built once per generation. A request clones it, which only counts a reference.
    pub fn header(&self) -> Result<HeaderValue, InvalidToken> {
        // Not marked as sensitive. In HPACK, the mark has no effect, because h2 never indexes `authorization`. In logs, it has
        // none, because `telemetry` drops all events of dependencies.
        HeaderValue::try_from(format!("Bearer {}", self.0.expose())).map_err(|_| InvalidToken)
    }
}

// === impl RefreshToken ===

impl RefreshToken {
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidToken> {
        let text = text.into();
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(InvalidToken);
        }
        parse(text, |byte| matches!(byte, b' '..=b'~')).map(Self)
    }

    pub fn secret(&self) -> &Secret {
        &self.0
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(first_half(&digest(&SHA256, self.0.expose().as_bytes())))
    }
}

/// The first 128 bits of a SHA-256 digest.
fn first_half(digest: &Digest) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes
}

fn parse(text: String, allowed: impl Fn(u8) -> bool) -> Result<Secret, InvalidToken> {
    let secret = Secret::new(text);
    let text = secret.expose();
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(InvalidToken);
    }
    Ok(secret)
}

// === impl Fingerprint ===

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_hex(&text).map(Self).ok_or("a fingerprint is 32 hexadecimal digits")
    }
}

fn write_hex(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Accepts exactly 32 lower-case hexadecimal digits, without a sign.
fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let is_spelled = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_spelled.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

// === impl Trigger ===

impl Trigger {
    pub const ALL: [Self; 5] = [Self::Startup, Self::Scheduled, Self::Rejected, Self::Manual, Self::Peer];

    pub fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Scheduled => "scheduled",
            Self::Rejected => "rejected",
            Self::Manual => "manual",
            Self::Peer => "peer",
        }
    }
}

// === impl RefreshOutcome ===

impl RefreshOutcome {
    pub const ALL: [Self; 5] = [Self::Ok, Self::Transient, Self::Ambiguous, Self::Rejected, Self::Misconfigured];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Transient => "transient",
            Self::Ambiguous => "ambiguous",
            Self::Rejected => "rejected",
            Self::Misconfigured => "misconfigured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_visible_ascii_and_nothing_else() {
        for bad in ["", "a b", "a\r\nX: y", "a\u{0}", "ä", "a\t", "\u{7f}"] {
            assert_eq!(AccessToken::parse(bad), Err(InvalidToken), "{bad:?}");
        }
        let token = AccessToken::parse("eyJ.a-b_c~+/=").unwrap();
        assert_eq!(token.header().unwrap(), "Bearer eyJ.a-b_c~+/=");
    }

    #[test]
    fn a_refresh_token_may_have_a_space_within() {
        for bad in ["", " ", " a", "a ", "a\r\nX: y", "a\u{0}", "ä", "a\tb", "\u{7f}"] {
            assert_eq!(RefreshToken::parse(bad), Err(InvalidToken), "{bad:?}");
        }
        for good in ["a b", "!~", "eyJ.a-b_c~+/="] {
            assert_eq!(RefreshToken::parse(good).unwrap().secret().expose(), good);
        }
    }

    #[test]
    fn a_fingerprint_reads_back_and_has_one_spelling() {
        let fingerprint = RefreshToken::parse("def502").unwrap().fingerprint();
        assert_eq!(Fingerprint::try_from(fingerprint.to_string()), Ok(fingerprint));
        for bad in ["", "zz", "+1", "0123456789ABCDEF0123456789ABCDEF", "00000000000000000000000000000000f"] {
            assert!(Fingerprint::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
