//! The differences between authorization servers, as data. A new server is a new row, never a branch.

use std::fmt;

/// One provider's servers.
#[derive(Clone, Copy)]
pub struct Profile(&'static Row);

pub(super) struct Row {
    pub(super) name: &'static str,
    /// Keys and values, as they would be written in the environment.
    pub(super) values: &'static [(&'static str, &'static str)],
    /// Every client of this server has a secret.
    needs_client_secret: bool,
    /// The redirect URI is the client's own: no default fits all.
    pub(super) needs_redirect_uri: bool,
    /// A header that `oauth.headers` must have, and that the proxy copies to `upstream.headers`.
    pub(super) tenant_header: Option<&'static str>,
    /// The API takes the method of a POST from the parameter `_method` of its body.
    method_in_body: bool,
    /// `check` may present a refresh token that never existed.
    client_probe: bool,
}

/// The first one is the default.
pub(super) const PROFILES: &[Row] = &[
    // Laravel Passport, by its documents and its answers.
    Row {
        name: "passolution",
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
            // league/oauth2-server 8 compares a redirect URI that is sent, and refuses the client.
            ("oauth.send_redirect_uri_on_refresh", "false"),
            // Passport revokes no token family, so presenting a spent token again loses nothing.
            ("oauth.ambiguous_retry", "until_clear"),
            ("check.path", "/api/v2/account/subscription"),
        ],
        needs_client_secret: true,
        needs_redirect_uri: false,
        tenant_header: None,
        method_in_body: true,
        client_probe: true,
    },
    // Momentus (Ungerboeck) Priava, by its document "Access and Refresh Token API".
    Row {
        name: "priava",
        values: &[
            ("upstream.url", "https://api.priava.com"),
            ("upstream.refusal", "401"),
            // Inferred: the document has only the path.
            ("oauth.token_url", "https://api.priava.com/api/rest/oauth/token"),
            ("oauth.token_format", "form"),
            ("oauth.client_auth", "body"),
            ("oauth.send_redirect_uri_on_refresh", "true"),
            ("oauth.ambiguous_retry", "once"),
        ],
        needs_client_secret: true,
        needs_redirect_uri: true,
        tenant_header: Some("TenantRegion"),
        method_in_body: false,
        client_probe: false,
    },
    // A server that keeps to RFC 6749.
    Row {
        name: "custom",
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
        method_in_body: false,
        client_probe: true,
    },
];

/// What the key `profile` accepts.
pub(super) const NAMES: &[&str] = &{
    let mut names = [""; PROFILES.len()];
    let mut at = 0;
    while at < PROFILES.len() {
        names[at] = PROFILES[at].name;
        at += 1;
    }
    names
};

// === impl Profile ===

impl Profile {
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|profile| profile.name() == name)
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        PROFILES.iter().map(Self)
    }

    pub(super) fn values(self) -> &'static [(&'static str, &'static str)] {
        self.0.values
    }

    /// Whether the API takes the method of a POST from its body, which the proxy does not read.
    pub fn has_method_in_body(self) -> bool {
        self.0.method_in_body
    }

    /// Whether `check` may try the client with a refresh token that never existed.
    pub fn allows_client_probe(self) -> bool {
        self.0.client_probe
    }

    pub(super) fn needs_client_secret(self) -> bool {
        self.0.needs_client_secret
    }

    pub(super) fn needs_redirect_uri(self) -> bool {
        self.0.needs_redirect_uri
    }

    pub(super) fn tenant_header(self) -> Option<&'static str> {
        self.0.tenant_header
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self(&PROFILES[0])
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Profile {}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Profile").field(&self.name()).finish()
    }
}
