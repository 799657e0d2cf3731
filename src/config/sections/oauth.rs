//! The grant, with what it needs, and when it is refreshed.

use std::time::Duration;

use super::{bearer, plain, printable};
use crate::config::error::Malformed;
use crate::config::reader::Reader;
use crate::config::{
    AmbiguousRetry, ClientAuth, GrantConfig, LoginConfig, Margin, OauthConfig, Profile, RedirectUri, RefreshConfig,
    TokenEndpoint, TokenFormat, address, quantity,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grant {
    RefreshToken,
    ClientCredentials,
    Static,
}

pub(super) fn read(reader: &mut Reader, profile: Profile) -> Option<OauthConfig> {
    let grant = reader.choice("oauth.grant", Grant::from_name);
    let authorize_url = reader.parse("oauth.authorize_url", address::secure_url);
    let redirect_uri = reader.parse("oauth.redirect_uri", RedirectUri::parse);
    let scope = reader.parse("oauth.scope", scopes);
    // Read under every grant, since a wrong value is an error even where it has no use.
    let endpoint = endpoint(reader);
    let parameters = reader.parameters("oauth.authorize_parameters");
    let grant = match grant? {
        Grant::RefreshToken => {
            needs_client(reader, profile.defaults().needs_client_secret);
            needs_redirect_uri(reader, profile);
            if reader.text("oauth.send_scope_on_refresh") == Some("true") && !reader.is_set("oauth.scope") {
                reader.missing("oauth.scope", "oauth.send_scope_on_refresh needs it");
            }
            let first = reader.secret("oauth.refresh_token", printable);
            let client_secret = reader.secret("oauth.client_secret", printable);
            let sends_it = reader.text("oauth.send_redirect_uri_on_refresh") == Some("true");
            let redirect_uri_on_refresh = redirect_uri.as_ref().filter(|_| sends_it).cloned();
            let endpoint = TokenEndpoint { client_secret, redirect_uri_on_refresh, scope: scope.clone(), ..endpoint? };
            GrantConfig::RefreshToken { endpoint, first }
        }
        Grant::ClientCredentials => {
            // RFC 6749 §4.4: for confidential clients alone.
            needs_client(reader, true);
            let client_secret = reader.secret("oauth.client_secret", printable);
            GrantConfig::ClientCredentials {
                endpoint: TokenEndpoint { client_secret, scope: scope.clone(), ..endpoint? },
            }
        }
        Grant::Static => {
            if !reader.is_set("oauth.access_token") {
                reader.missing("oauth.access_token", "the token of the grant `static`");
            }
            GrantConfig::Static { access_token: reader.secret_source("oauth.access_token", bearer)? }
        }
    };
    Some(OauthConfig { grant, login: LoginConfig { authorize_url, redirect_uri, scope, parameters: parameters? } })
}

pub(super) fn refresh(reader: &mut Reader) -> Option<RefreshConfig> {
    let margin = reader.parse("refresh.margin", quantity::margin);
    let default_lifetime = reader.duration("refresh.default_lifetime");
    let wait = reader.duration("refresh.wait");
    let cooldown = reader.duration("refresh.cooldown");
    let max_per_hour = reader.count("refresh.max_per_hour");
    if let Some(Margin::Fixed(margin)) = margin
        && !(Duration::from_secs(60)..=Duration::from_secs(30 * 86_400)).contains(&margin)
    {
        reader.warn("refresh.margin", "is taken as 60s if less, and as 30d if more");
    }
    Some(RefreshConfig {
        margin: margin?,
        default_lifetime: default_lifetime?,
        wait: wait?,
        cooldown: cooldown?,
        max_per_hour: u32::try_from(max_per_hour?).unwrap_or(u32::MAX),
    })
}

/// What is the same under every grant that calls the token endpoint.
fn endpoint(reader: &mut Reader) -> Option<TokenEndpoint> {
    let url = reader.parse("oauth.token_url", address::secure_url);
    let client_id = reader.parse("oauth.client_id", |text| printable(text).and_then(|()| plain(text)));
    let format = reader.choice("oauth.token_format", TokenFormat::from_name);
    let client_auth = reader.choice("oauth.client_auth", ClientAuth::from_name);
    let headers = reader.headers("oauth.headers");
    let request_timeout = reader.duration("oauth.request_timeout");
    let ambiguous_retry = reader.choice("oauth.ambiguous_retry", AmbiguousRetry::from_name);
    let sends_redirect_uri = reader.flag("oauth.send_redirect_uri_on_refresh");
    let scope_on_refresh = reader.flag("oauth.send_scope_on_refresh");
    let parameters = reader.parameters("oauth.parameters");
    sends_redirect_uri?;
    Some(TokenEndpoint {
        url: url?,
        client_id: client_id?,
        client_secret: None,
        format: format?,
        client_auth: client_auth?,
        headers: headers?,
        redirect_uri_on_refresh: None,
        scope: None,
        scope_on_refresh: scope_on_refresh?,
        parameters: parameters?,
        request_timeout: request_timeout?,
        ambiguous_retry: ambiguous_retry?,
    })
}

fn needs_client(reader: &mut Reader, and_secret: bool) {
    if !reader.is_set("oauth.token_url") {
        reader.missing("oauth.token_url", "the token endpoint's URL, which this profile does not know");
    }
    if !reader.is_set("oauth.client_id") {
        reader.missing("oauth.client_id", "the registered client's id");
    }
    if !reader.is_set("oauth.client_secret") {
        if and_secret {
            reader.missing("oauth.client_secret", "the registered client's secret");
        } else if reader.text("oauth.client_auth") == Some("basic") {
            reader.missing("oauth.client_secret", "`oauth.client_auth = \"basic\"` needs it");
        }
    }
}

fn needs_redirect_uri(reader: &mut Reader, profile: Profile) {
    if reader.is_set("oauth.redirect_uri") {
        return;
    }
    if profile.defaults().needs_redirect_uri {
        reader.missing("oauth.redirect_uri", "the redirect URI, as it is registered");
    } else if reader.text("oauth.send_redirect_uri_on_refresh") == Some("true") {
        reader.missing("oauth.redirect_uri", "oauth.send_redirect_uri_on_refresh needs it");
    }
}

fn scopes(text: &str) -> Result<String, Malformed> {
    let is_scope = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let is_valid = text.split(' ').all(|scope| !scope.is_empty() && scope.bytes().all(is_scope));
    if is_valid { plain(text) } else { Err("is no such list".into()) }
}

// === impl Grant ===

impl Grant {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "refresh_token" => Some(Self::RefreshToken),
            "client_credentials" => Some(Self::ClientCredentials),
            "static" => Some(Self::Static),
            _ => None,
        }
    }
}

// === impl TokenFormat ===

impl TokenFormat {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "form" => Some(Self::Form),
            _ => None,
        }
    }
}

// === impl ClientAuth ===

impl ClientAuth {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "body" => Some(Self::Body),
            "basic" => Some(Self::Basic),
            _ => None,
        }
    }
}

// === impl AmbiguousRetry ===

impl AmbiguousRetry {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "until_clear" => Some(Self::UntilClear),
            "once" => Some(Self::Once),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}
