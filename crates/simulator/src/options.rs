//! The options of the simulated server: its flavour, its clients, and the differences between real servers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::ServerConfig;

/// The client id and the secret of [`Client::default`].
pub const CLIENT_ID: &str = "9f1c2e64-5b0a-4c1b-9d7e-3f6a8b2c4d10";
pub const CLIENT_SECRET: &str = "sim-secret-4TqVw8ZkRr2mYc6N";

const YEAR: Duration = Duration::from_secs(31_536_000);

/// The server to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// league/oauth2-server 8.x behind Laravel Passport up to 12.
    League8,
    /// league/oauth2-server 9.x behind Laravel Passport 13.
    League9,
    /// Form bodies only, `TenantRegion` and `redirect_uri` on every token call, errors always 400.
    Priava,
    /// Strict RFC 6749 and RFC 9700: form bodies, and a reused token ends its whole grant.
    Rfc6749,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    RefreshToken,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    /// None: a public client.
    pub secret: Option<String>,
    /// Any port matches on `127.0.0.1` and `[::1]` (RFC 8252 §7.3). Otherwise the match is exact.
    pub redirect_uris: Vec<String>,
    pub grants: Vec<GrantType>,
}

/// The effect of a refresh on the presented refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The server issues a new one and revokes the old one.
    SingleUse,
    /// The server issues a new one, and the old one stays valid (league from 9.0.1 with revocation off).
    Reusable,
    /// The server issues none, and the old one stays valid (league 8.5.5 with revocation off).
    Kept,
}

/// The server's reaction to a spent refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// An error only. The successor stays valid (league).
    Refuse,
    /// It works again for this long after it was spent.
    Leeway(Duration),
    /// An error, and the server revokes all tokens of the grant (RFC 9700 §4.14.2).
    RevokeGrant,
}

/// The latency of a token call. The server continues if the client leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub before_commit: Duration,
    /// A real league server spends the token some 95 ms before it writes its response.
    pub after_commit: Duration,
}

/// A fixed window, like Laravel's limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub calls: u32,
    pub per: Duration,
}

/// A Laravel API's response to a guest that does not expect JSON. A guest that does always gets a 401 in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guest {
    /// 302 to this `Location`.
    Redirect(String),
    /// 500, `Route [login] not defined.`
    NoLoginRoute,
    /// 401 with an empty body.
    Empty,
}

/// The server's habits. Start from a flavour: `Options { access_lifetime, ..Options::league8() }`.
#[derive(Clone, Debug)]
pub struct Options {
    pub flavour: Flavour,
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serves TLS; the configuration chooses the ALPN protocols.
    pub tls: Option<Arc<ServerConfig>>,
    pub clients: Vec<Client>,
    pub access_lifetime: Duration,
    pub refresh_lifetime: Duration,
    /// The text of `token_type` in the answer; None leaves it out.
    pub token_type: Option<String>,
    /// Whether the answer has `expires_in`.
    pub expires_in: bool,
    pub rotation: Rotation,
    pub reuse: Reuse,
    /// Whether a refresh kills the access token that it replaces.
    pub revoke_old_access: bool,
    /// Real servers check a refresh token and spend it in two steps: with this, calls that arrive within
    /// [`Latency::before_commit`] of each other all succeed.
    pub racy: bool,
    pub latency: Latency,
    pub rate_limit: Option<RateLimit>,
    /// Whether the API looks revoked tokens up, or trusts signature and expiry alone.
    pub api_checks_revocation: bool,
    pub guest: Guest,
    /// Whether the API refuses a token before it has read the request's body. PHP sees a request only when it is whole.
    pub early_refusal: bool,
    /// How many API requests the ledger keeps; its counts go on.
    pub ledger_capacity: usize,
}

// === impl Client ===

impl Default for Client {
    fn default() -> Self {
        Self {
            id: CLIENT_ID.to_owned(),
            secret: Some(CLIENT_SECRET.to_owned()),
            redirect_uris: vec!["http://127.0.0.1/callback".to_owned(), "https://app.example/callback".to_owned()],
            grants: vec![GrantType::AuthorizationCode, GrantType::ClientCredentials, GrantType::RefreshToken],
        }
    }
}

// === impl Options ===

impl Options {
    pub fn new(flavour: Flavour) -> Self {
        match flavour {
            Flavour::League8 => Self::league8(),
            Flavour::League9 => Self::league9(),
            Flavour::Priava => Self::priava(),
            Flavour::Rfc6749 => Self::rfc6749(),
        }
    }

    pub fn league8() -> Self {
        Self {
            flavour: Flavour::League8,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            clients: vec![Client::default()],
            access_lifetime: YEAR,
            refresh_lifetime: YEAR,
            token_type: Some("Bearer".to_owned()),
            expires_in: true,
            rotation: Rotation::SingleUse,
            reuse: Reuse::Refuse,
            revoke_old_access: true,
            racy: false,
            latency: Latency::default(),
            rate_limit: Some(RateLimit { calls: 300, per: Duration::from_secs(60) }),
            api_checks_revocation: true,
            guest: Guest::Redirect("/login".to_owned()),
            early_refusal: false,
            ledger_capacity: 100_000,
        }
    }

    pub fn league9() -> Self {
        Self { flavour: Flavour::League9, ..Self::league8() }
    }

    pub fn priava() -> Self {
        Self {
            flavour: Flavour::Priava,
            access_lifetime: Duration::from_secs(21_600),
            token_type: Some("BEARER".to_owned()),
            revoke_old_access: false,
            rate_limit: Some(RateLimit { calls: 450, per: Duration::from_secs(300) }),
            ..Self::league8()
        }
    }

    pub fn rfc6749() -> Self {
        Self {
            flavour: Flavour::Rfc6749,
            access_lifetime: Duration::from_secs(3600),
            reuse: Reuse::RevokeGrant,
            revoke_old_access: false,
            rate_limit: None,
            ..Self::league8()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::league8()
    }
}

// === impl Flavour ===

impl Flavour {
    pub fn is_league(self) -> bool {
        matches!(self, Self::League8 | Self::League9)
    }

    /// The token endpoint's path.
    pub fn token_path(self) -> &'static str {
        match self {
            Self::Priava => "/api/rest/oauth/token",
            _ => "/oauth/token",
        }
    }

    /// The prefix of all paths of the API.
    pub fn api_prefix(self) -> &'static str {
        match self {
            Self::Priava => "/api/rest",
            _ => "/api/v2",
        }
    }
}

// === impl GrantType ===

impl GrantType {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "authorization_code" => Some(Self::AuthorizationCode),
            "client_credentials" => Some(Self::ClientCredentials),
            "refresh_token" => Some(Self::RefreshToken),
            _ => None,
        }
    }
}
