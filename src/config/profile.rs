//! What differs between authorization servers, as data. A new server is a new row, never a branch.

use super::Profile;

/// The defaults of one profile, and what it asks for beyond them.
pub(super) struct Defaults {
    /// Keys and values, as they would stand in the environment.
    pub values: &'static [(&'static str, &'static str)],
    /// Every client of this server has a secret.
    pub needs_client_secret: bool,
    /// The redirect URI is the client's own: there is none that fits all.
    pub needs_redirect_uri: bool,
    /// A header that `oauth.headers` must have, and that `upstream.headers` takes over.
    pub tenant_header: Option<&'static str>,
}

/// Laravel Passport, by its documents and its answers.
const PASSOLUTION: Defaults = Defaults {
    values: &[
        ("upstream.url", "https://api.passolution.eu"),
        // A guest who does not ask for JSON is sent to the login page instead of getting a 401.
        ("upstream.refusal", "401,302 **/login,303 **/login"),
        ("upstream.default_accept", "application/json, */*;q=0.8"),
        ("oauth.authorize_url", "https://web.passolution.eu/oauth/authorize"),
        ("oauth.token_url", "https://web.passolution.eu/oauth/token"),
        ("oauth.redirect_uri", "http://127.0.0.1/callback"),
        ("oauth.scope", "*"),
        ("oauth.token_format", "json"),
        ("oauth.client_auth", "body"),
        // league/oauth2-server 8 checks one that is sent, and refuses the client.
        ("oauth.send_redirect_uri_on_refresh", "false"),
        // It keeps no family to revoke: a spent token presented again loses nothing.
        ("oauth.ambiguous_retry", "until_clear"),
    ],
    needs_client_secret: true,
    needs_redirect_uri: false,
    tenant_header: None,
};

/// Momentus (Ungerboeck) Priava, by its document "Access and Refresh Token API".
const PRIAVA: Defaults = Defaults {
    values: &[
        ("upstream.url", "https://api.priava.com"),
        ("upstream.refusal", "401"),
        // The document has the path alone: a guess.
        ("oauth.token_url", "https://api.priava.com/api/rest/oauth/token"),
        ("oauth.token_format", "form"),
        ("oauth.client_auth", "body"),
        ("oauth.send_redirect_uri_on_refresh", "true"),
        ("oauth.ambiguous_retry", "once"),
    ],
    needs_client_secret: true,
    needs_redirect_uri: true,
    tenant_header: Some("TenantRegion"),
};

/// A server that keeps to RFC 6749.
const CUSTOM: Defaults = Defaults {
    values: &[
        ("upstream.refusal", "401"),
        ("oauth.redirect_uri", "http://127.0.0.1/callback"),
        ("oauth.token_format", "form"),
        ("oauth.client_auth", "body"),
        ("oauth.send_redirect_uri_on_refresh", "false"),
        ("oauth.ambiguous_retry", "once"),
    ],
    needs_client_secret: false,
    needs_redirect_uri: false,
    tenant_header: None,
};

// === impl Profile ===

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Passolution => "passolution",
            Self::Priava => "priava",
            Self::Custom => "custom",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Passolution, Self::Priava, Self::Custom].into_iter().find(|profile| profile.name() == name)
    }

    pub(super) fn defaults(self) -> &'static Defaults {
        match self {
            Self::Passolution => &PASSOLUTION,
            Self::Priava => &PRIAVA,
            Self::Custom => &CUSTOM,
        }
    }
}
