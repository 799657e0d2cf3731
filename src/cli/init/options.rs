//! The flags of `init`, and which of them a script must give.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::login;

#[derive(Clone, Debug, clap::Args)]
// The group of this name is the one of `login`.
#[group(skip)]
pub(in crate::cli) struct Options {
    /// How the proxy gets its tokens
    #[arg(long, value_enum, value_name = "GRANT")]
    pub(super) grant: Option<Grant>,
    /// Provider: selects the defaults of [upstream] and [oauth]
    #[arg(long, value_enum, value_name = "PROFILE")]
    pub(super) profile: Option<ProfileName>,
    /// Id of the registered client
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// File with the client secret; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "no_client_secret")]
    pub(super) client_secret_file: Option<PathBuf>,
    /// The client is a public one and has no secret (profile custom)
    #[arg(long)]
    pub(super) no_client_secret: bool,
    /// File with the refresh token, or with the token endpoint's response; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) refresh_token_file: Option<PathBuf>,
    /// Redirect URI, exactly as it is registered
    #[arg(long, value_name = "URI")]
    pub(super) redirect_uri: Option<String>,
    /// Region of the account: the header TenantRegion (profile priava)
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,
    /// URL of the API; the profiles passolution and priava know it
    #[arg(long, value_name = "URL")]
    pub(super) upstream_url: Option<String>,
    /// Token endpoint; the profiles passolution and priava know it
    #[arg(long, value_name = "URL")]
    pub(super) token_url: Option<String>,
    /// Authorization endpoint; the profile passolution knows it
    #[arg(long, value_name = "URL")]
    pub(super) authorize_url: Option<String>,
    /// Scopes to request, separated by one space
    #[arg(long, value_name = "SCOPES")]
    pub(super) scope: Option<String>,
    /// Path of the first request, a GET
    #[arg(long, value_name = "PATH")]
    pub(super) request_path: Option<String>,
    /// Directory of the configuration [default: /etc/bearer-proxy for root, else ./bearer-proxy]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Owner of the secret and of the state, `UID:GID` or a name in /etc/passwd; only for root [default: bearer-proxy, else 65532:65532]
    #[arg(long, value_name = "USER")]
    pub(super) owner: Option<String>,
    /// Replace existing files without asking. They are kept as FILE.old1, FILE.old2 and so on
    #[arg(long)]
    pub(super) overwrite: bool,
    #[command(flatten, next_help_heading = "Options of the grant login")]
    pub(super) login: login::Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Grant {
    /// The proxy acts for your own account: no browser, no rotation
    ClientCredentials,
    /// You have a refresh token already
    RefreshToken,
    /// A person logs in with a browser, and the proxy acts for this person
    Login,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum ProfileName {
    Passolution,
    Priava,
    /// Any other server
    Custom,
}

// === impl Options ===

impl Options {
    /// The flags that are missing where nobody can be asked. Pure.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let profile = self.profile;
        let custom = profile == Some(ProfileName::Custom);
        let priava = profile == Some(ProfileName::Priava);
        let login = self.grant == Some(Grant::Login);
        let logs_in = matches!(self.grant, Some(Grant::Login | Grant::RefreshToken));
        let secret = self.client_secret_file.is_some() || self.no_client_secret;
        let refresh_token = self.grant != Some(Grant::RefreshToken) || self.refresh_token_file.is_some();
        [
            ("--grant", self.grant.is_some()),
            ("--profile", profile.is_some()),
            ("--upstream-url", !custom || self.upstream_url.is_some()),
            ("--token-url", !custom || self.token_url.is_some()),
            ("--authorize-url", !(custom && login) || self.authorize_url.is_some()),
            ("--client-id", self.client_id.is_some()),
            ("--client-secret-file", secret),
            ("--redirect-uri", !(priava && logs_in) || self.redirect_uri.is_some()),
            ("--region", !priava || self.region.is_some()),
            ("--refresh-token-file", refresh_token),
        ]
        .into_iter()
        .filter_map(|(flag, given)| (!given).then_some(flag))
        .collect()
    }
}

// === impl ProfileName ===

impl ProfileName {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Passolution => "passolution",
            Self::Priava => "priava",
            Self::Custom => "custom",
        }
    }
}
