//! What a person writes becomes what the program runs on: parsed once, strictly, with all errors at once.
//!
//! The types here hold only what is valid. Each field is the key of the same name in the README's table.
//!
//! ```text
//! keys (defaults) < profile < file < environment   → settings: text, each with its place
//! settings → reader → sections                     → Config, or every error
//!                                                  → Effective: what is printed, and compared on a reload
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::secret::Secret;

mod address;
mod effective;
mod environment;
mod error;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod header;
mod keys;
mod load;
mod no_proxy;
mod page_origin;
mod parameter;
mod pattern;
mod plain_path;
mod profile;
mod quantity;
mod reader;
mod sections;
mod service_links;
mod settings;
#[cfg(test)]
mod tests;
mod watched;

pub use address::ip_literal;
pub use effective::{Change, Effective, Entry, Shown};
pub use error::{ConfigError, Errors, Place, Warning};
pub use keys::{KEYS, Key, Kind, Preset, keys_markdown};
pub use load::{Loaded, Read, Sources};
pub use no_proxy::NoProxy;
pub use page_origin::PageOrigin;
pub use pattern::{AllowRule, PathPattern, PatternError, PatternSegment, RefusalPattern, RefusalSign};
pub use plain_path::plain_path;
pub use quantity::parse_duration;
pub use watched::Watched;

/// Everything the program runs on, valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    pub profile: Profile,
    pub listen: Vec<ListenAddress>,
    /// Mode of unix sockets among `listen`.
    pub listen_mode: u32,
    /// This gateway's pseudonym in `Via` (RFC 9110 §7.6.3): a token, valid as part of a field value.
    pub via: String,
    pub tls: Option<ServerTls>,
    pub outbound: Outbound,
    pub upstream: UpstreamConfig,
    pub oauth: OauthConfig,
    pub refresh: RefreshConfig,
    pub store: StoreConfig,
    pub guard: GuardConfig,
    pub shutdown: ShutdownConfig,
    pub admin: Option<AdminConfig>,
    pub probes: Option<ListenAddress>,
    pub log: LogConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Passolution,
    Priava,
    Custom,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Clients need a certificate signed by this CA.
    pub client_ca_file: Option<PathBuf>,
}

/// How connections leave, to the upstream and to the token endpoint alike.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<OutboundProxy>,
}

/// An HTTP proxy that is asked to `CONNECT` (RFC 9110 §9.3.6).
#[derive(Clone, Debug)]
pub struct OutboundProxy {
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    pub port: u16,
    /// `user:password` of the proxy's URL.
    pub credentials: Option<Secret>,
    /// What is reached without it.
    pub no_proxy: NoProxy,
}

/// Scheme, host and port: where a credential may go. `https`, or `http` to a loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub scheme: Scheme,
    /// As it stands in `Host` and `:authority`: without the scheme's default port.
    pub authority: Authority,
}

#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    pub origin: Origin,
    /// Put before the request's path; empty, or begins with `/` and does not end with one.
    pub path_prefix: String,
    pub headers: HeaderMap,
    pub client_cert: Option<ClientCert>,
    pub http: UpstreamHttp,
    pub refusal: Vec<RefusalPattern>,
    pub default_accept: Option<HeaderValue>,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    pub idle_timeout: Duration,
    pub connection_age: Duration,
    pub max_in_flight: usize,
    pub queue_timeout: Duration,
    /// Bytes.
    pub replay_limit: usize,
    /// Bytes.
    pub replay_budget: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamHttp {
    Auto,
    Http1,
    Http2,
}

#[derive(Clone, Debug)]
pub struct OauthConfig {
    pub grant: GrantConfig,
    pub login: LoginConfig,
}

/// The grant, with what it needs and nothing else.
#[derive(Clone, Debug)]
pub enum GrantConfig {
    RefreshToken {
        endpoint: TokenEndpoint,
        /// A first refresh token, used once; then the store is the truth.
        first: Option<Secret>,
    },
    ClientCredentials {
        endpoint: TokenEndpoint,
    },
    Static {
        access_token: SecretSource,
    },
}

/// What `login` needs beside the token endpoint.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    pub authorize_url: Option<Url>,
    pub redirect_uri: Option<RedirectUri>,
    pub scope: Option<String>,
    /// Additional parameters of the authorization request.
    pub parameters: Vec<(String, Secret)>,
}

/// A redirect URI as it was registered.
///
/// Servers compare it as text (RFC 9700 §2.1), and [`Url`] changes the text: `https://example.com` gets a `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    url: Url,
}

/// Where and how token calls are made.
#[derive(Clone, Debug)]
pub struct TokenEndpoint {
    pub url: Url,
    /// A string always, never a number: league/oauth2-server 8 compares it by type.
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub format: TokenFormat,
    pub client_auth: ClientAuth,
    pub headers: HeaderMap,
    /// Sent along on a refresh, where the server wants it.
    pub redirect_uri_on_refresh: Option<RedirectUri>,
    /// `scope` of a `client_credentials` call.
    pub scope: Option<String>,
    /// Whether a refresh sends it too. RFC 6749 §6 does not ask for it, but Entra does.
    pub scope_on_refresh: bool,
    /// Additional parameters of each token request.
    pub parameters: Vec<(String, Secret)>,
    pub request_timeout: Duration,
    pub ambiguous_retry: AmbiguousRetry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFormat {
    Json,
    Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Body,
    Basic,
}

/// What follows a token call whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmbiguousRetry {
    /// Present the same refresh token again until the answer is clear.
    UntilClear,
    /// Present it once more.
    Once,
    Never,
}

/// A secret given in place, or a file that is read (again) when it is needed.
#[derive(Clone, Debug)]
pub enum SecretSource {
    Inline(Secret),
    File(PathBuf),
}

#[derive(Clone, Debug)]
pub struct RefreshConfig {
    pub margin: Margin,
    pub default_lifetime: Duration,
    pub wait: Duration,
    pub cooldown: Duration,
    pub max_per_hour: u32,
}

/// How long before its expiry a token is refreshed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// Of the lifetime: 0.0 to 1.0.
    Share(f64),
    Fixed(Duration),
}

#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub kind: StoreKindConfig,
    /// The first encrypts, all decrypt; empty: stored in clear.
    pub keys: Vec<StoreKey>,
}

#[derive(Clone, Debug)]
pub enum StoreKindConfig {
    File { path: PathBuf },
    Postgres { url: Secret, name: String },
    Memory,
}

/// 32 bytes that encrypt the stored grant.
#[derive(Clone)]
pub struct StoreKey(pub zeroize::Zeroizing<[u8; 32]>);

#[derive(Clone, Debug)]
pub struct GuardConfig {
    pub allow: Option<Vec<AllowRule>>,
    /// `None`: every host is accepted. Names are lower case and without port; an IPv6 address has its brackets, as in `Host`.
    pub hosts: Option<Vec<String>>,
    /// Whose pages may use the proxy from a browser, beside its own.
    pub origins: Vec<PageOrigin>,
    /// SHA-256 digests of the keys that clients may present; empty: no key is asked for.
    pub client_keys: Vec<[u8; 32]>,
    pub max_connections: usize,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    /// Bytes.
    pub max_header_size: usize,
    /// Bytes.
    pub max_body_size: Option<u64>,
    /// Bytes per second, not 0.
    pub min_body_rate: Option<u64>,
    pub pass_cookies: bool,
}

#[derive(Clone, Debug)]
pub struct ShutdownConfig {
    pub delay: Duration,
    pub grace: Duration,
}

#[derive(Clone, Debug)]
pub struct AdminConfig {
    pub listen: ListenAddress,
    pub key: Option<Secret>,
}

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub format: LogFormat,
    pub level: tracing::Level,
    pub requests: LogRequests,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRequests {
    None,
    Errors,
    All,
}

// === impl GrantConfig ===

impl GrantConfig {
    pub fn name(&self) -> &'static str {
        match self {
            Self::RefreshToken { .. } => "refresh_token",
            Self::ClientCredentials { .. } => "client_credentials",
            Self::Static { .. } => "static",
        }
    }

    pub fn endpoint(&self) -> Option<&TokenEndpoint> {
        match self {
            Self::RefreshToken { endpoint, .. } | Self::ClientCredentials { endpoint } => Some(endpoint),
            Self::Static { .. } => None,
        }
    }
}

// === impl StoreKey ===

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreKey(***)")
    }
}
