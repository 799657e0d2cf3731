//! The grant, with what it needs.

use std::time::Duration;

use http::HeaderMap;
use url::Url;

use crate::config::address::{self, RedirectUri};
use crate::config::key::{
    CALLS_TOKEN_ENDPOINT, LOGS_IN, MIN, MS, SECURE_URL, boolean, choice, duration, headers, parameters, secret, text,
    url,
};
use crate::config::malformed::Malformed;
use crate::config::profile::Profile;
use crate::config::reader::Reader;
use crate::config::secret_source::SecretSource;
use crate::config::section::{choice, section};
use crate::secret::Secret;

use super::{bearer, plain, printable};

section! {
    /// Every key of the section is read under every grant, because a wrong value is an error even if it has no effect.
    pub(super) struct OauthKeys in "oauth." {
        /// Grant type.
        grant: Grant = choice(Grant::NAMES).default("refresh_token").restart();
        /// Id of the registered client.
        client_id: Option<String> = text("printable ASCII characters, in quotes in the file").grants(CALLS_TOKEN_ENDPOINT)
            => parse_if_set(|text| printable(text).and_then(|()| plain(text)));
        /// Secret of the registered client.
        client_secret: Option<Secret> = secret("printable ASCII characters").grants(CALLS_TOKEN_ENDPOINT) => secret_if_set(printable);
        /// Authorization endpoint, to which a login sends the browser.
        authorize_url: Option<Url> = url(SECURE_URL).by_profile().grants(LOGS_IN) => parse_if_set(address::secure_url);
        /// Token endpoint.
        token_url: Option<Url> = url(SECURE_URL).by_profile().grants(CALLS_TOKEN_ENDPOINT) => parse_if_set(address::secure_url);
        /// Redirect URI, as it is registered. A login uses it; a refresh sends it if `oauth.send_redirect_uri_on_refresh` is set.
        redirect_uri: Option<RedirectUri> = url("an absolute URI without fragment, as it is registered").by_profile().grants(LOGS_IN)
            => parse_if_set(RedirectUri::parse);
        /// Scope of a login and of `client_credentials`. A refresh sends it only with `oauth.send_scope_on_refresh`.
        scope: Option<String> = text("scopes, separated by one space (RFC 6749 §3.3)").by_profile().grants(CALLS_TOKEN_ENDPOINT)
            => parse_if_set(scopes);
        /// Body format of a token request.
        token_format: TokenFormat = choice(TokenFormat::NAMES).by_profile().grants(CALLS_TOKEN_ENDPOINT);
        /// Location of the client credentials in a token request.
        client_auth: ClientAuth = choice(ClientAuth::NAMES).by_profile().grants(CALLS_TOKEN_ENDPOINT);
        /// Additional headers for the token endpoint.
        headers: HeaderMap = headers().by_profile().grants(CALLS_TOKEN_ENDPOINT);
        /// Additional parameters of token requests, such as `audience` or `resource`.
        parameters: Vec<(String, Secret)> = parameters().grants(CALLS_TOKEN_ENDPOINT);
        /// Additional parameters of the authorization request, such as `access_type` or `prompt`.
        authorize_parameters: Vec<(String, Secret)> = parameters().grants(LOGS_IN);
        /// Also send `oauth.scope` on a refresh, for servers that require it.
        send_scope_on_refresh: bool = boolean().default("false").grants(LOGS_IN);
        /// `true` if the server requires the redirect URI on a refresh. Other servers refuse the client for it.
        send_redirect_uri_on_refresh: bool = boolean().by_profile().grants(LOGS_IN);
        /// Whether to present the same refresh token again after a call whose outcome is unknown. `until_clear` is safe only if the
        /// server does not punish a reuse.
        ambiguous_retry: AmbiguousRetry = choice(AmbiguousRetry::NAMES).by_profile().grants(LOGS_IN);
        /// Initial refresh token, used once. After that, the store is authoritative, and this token is ignored.
        refresh_token: Option<Secret> = secret("printable ASCII characters").grants(LOGS_IN) => secret_if_set(printable);
        /// Token of the `static` grant.
        access_token: Option<SecretSource> = secret("visible ASCII characters").grants(&["static"]) => secret_source_if_set(bearer);
        /// Time limit for one call to the token endpoint. Long, because an abandoned call may cost the grant.
        request_timeout: Duration = duration(100 * MS, 10 * MIN).default("30s").grants(CALLS_TOKEN_ENDPOINT);
    }
}

choice! {
    pub(super) enum Grant {
        RefreshToken = "refresh_token",
        ClientCredentials = "client_credentials",
        Static = "static",
    }
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
        /// The initial refresh token, used once; after that, the store is authoritative.
        first: Option<Secret>,
    },
    ClientCredentials {
        endpoint: TokenEndpoint,
    },
    Static {
        access_token: SecretSource,
    },
}

/// What `login` needs in addition to the token endpoint.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    pub authorize_url: Option<Url>,
    pub redirect_uri: Option<RedirectUri>,
    pub scope: Option<String>,
    /// Additional parameters of the authorization request.
    pub parameters: Vec<(String, Secret)>,
}

/// Where and how token calls are made.
#[derive(Clone, Debug)]
pub struct TokenEndpoint {
    pub url: Url,
    /// Always a string, never a number: league/oauth2-server 8 compares it by type.
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub format: TokenFormat,
    pub client_auth: ClientAuth,
    pub headers: HeaderMap,
    /// Sent on a refresh, if the server requires it.
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

choice! {
    pub enum TokenFormat {
        Json = "json",
        Form = "form",
    }
}

choice! {
    pub enum ClientAuth {
        Body = "body",
        Basic = "basic",
    }
}

choice! {
    /// What follows a token call whose outcome is unknown.
    pub enum AmbiguousRetry {
        /// Present the same refresh token again until the answer is clear.
        UntilClear = "until_clear",
        /// Present it once more.
        Once = "once",
        Never = "never",
    }
}

pub(super) fn read(reader: &mut Reader, profile: Profile) -> Option<OauthConfig> {
    let keys = OauthKeys::read(reader);
    match reader.text("oauth.grant") {
        Some("refresh_token") => {
            needs_client(reader, profile.needs_client_secret());
            needs_redirect_uri(reader, profile);
            if reader.text("oauth.send_scope_on_refresh") == Some("true") && !reader.is_set("oauth.scope") {
                reader.missing("oauth.scope", "oauth.send_scope_on_refresh requires it");
            }
        }
        // RFC 6749 §4.4: for confidential clients alone.
        Some("client_credentials") => needs_client(reader, true),
        Some("static") if !reader.is_set("oauth.access_token") => {
            reader.missing("oauth.access_token", "the token of the grant `static`");
        }
        _ => {}
    }
    keys?.config()
}

fn needs_client(reader: &mut Reader, and_secret: bool) {
    if !reader.is_set("oauth.token_url") {
        reader.missing("oauth.token_url", "the URL of the token endpoint, which this profile does not define");
    }
    if !reader.is_set("oauth.client_id") {
        reader.missing("oauth.client_id", "the id of the registered client");
    }
    if !reader.is_set("oauth.client_secret") {
        if and_secret {
            reader.missing("oauth.client_secret", "the secret of the registered client");
        } else if reader.text("oauth.client_auth") == Some("basic") {
            reader.missing("oauth.client_secret", "`oauth.client_auth = \"basic\"` requires it");
        }
    }
}

fn needs_redirect_uri(reader: &mut Reader, profile: Profile) {
    if reader.is_set("oauth.redirect_uri") {
        return;
    }
    if profile.needs_redirect_uri() {
        reader.missing("oauth.redirect_uri", "the redirect URI, as it is registered");
    } else if reader.text("oauth.send_redirect_uri_on_refresh") == Some("true") {
        reader.missing("oauth.redirect_uri", "oauth.send_redirect_uri_on_refresh requires it");
    }
}

fn scopes(text: &str) -> Result<String, Malformed> {
    let is_scope = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let is_valid = text.split(' ').all(|scope| !scope.is_empty() && scope.bytes().all(is_scope));
    if is_valid { plain(text) } else { Err(Malformed::INVALID) }
}

// === impl OauthKeys ===

impl OauthKeys {
    /// `None`: something is missing, and noted.
    fn config(self) -> Option<OauthConfig> {
        let login = LoginConfig {
            authorize_url: self.authorize_url,
            redirect_uri: self.redirect_uri.clone(),
            scope: self.scope.clone(),
            parameters: self.authorize_parameters,
        };
        let is_refresh_token = self.grant == Grant::RefreshToken;
        let sends_redirect_uri = is_refresh_token && self.send_redirect_uri_on_refresh;
        let endpoint = || {
            Some(TokenEndpoint {
                url: self.token_url?,
                client_id: self.client_id?,
                client_secret: self.client_secret,
                format: self.token_format,
                client_auth: self.client_auth,
                headers: self.headers,
                redirect_uri_on_refresh: self.redirect_uri.filter(|_| sends_redirect_uri),
                scope: self.scope,
                scope_on_refresh: self.send_scope_on_refresh,
                parameters: self.parameters,
                request_timeout: self.request_timeout,
                ambiguous_retry: self.ambiguous_retry,
            })
        };
        let grant = match self.grant {
            Grant::RefreshToken => GrantConfig::RefreshToken { endpoint: endpoint()?, first: self.refresh_token },
            Grant::ClientCredentials => GrantConfig::ClientCredentials { endpoint: endpoint()? },
            Grant::Static => GrantConfig::Static { access_token: self.access_token? },
        };
        Some(OauthConfig { grant, login })
    }
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
