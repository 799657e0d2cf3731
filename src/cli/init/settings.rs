//! The configuration that `init` writes: as a file, and as it is checked before it is written. Pure.

use std::path::Path;

use super::answers::Answers;
use super::options::Grant;

/// One line of the configuration.
struct Setting {
    key: &'static str,
    /// The value in TOML.
    toml: String,
    /// The value of the environment variable.
    plain: String,
    /// The flag that gives it.
    flag: &'static str,
    comment: &'static str,
}

/// All settings, in the order of the file.
pub(super) struct Settings(Vec<Setting>);

pub(super) const SECRET_FILE: &str = "client-secret";
pub(super) const STATE: &str = "state";
pub(super) const GRANT_FILE: &str = "state/grant.json";

const HEAD: &str = "\
# Written by `bearer-proxy init`. It holds no secret.
# A running proxy reads a changed file again within 5 seconds. All other keys have defaults: `bearer-proxy config` prints them.
";

// === impl Settings ===

impl Settings {
    /// For a directory with this absolute path.
    pub(super) fn new(answers: &Answers, dir: &Path) -> Self {
        let mut settings = Self(Vec::new());
        let in_dir = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let text = |settings: &mut Self, key, value: Option<&str>, flag, comment| {
            if let Some(value) = value {
                let toml = toml::Value::from(value).to_string();
                settings.0.push(Setting { key, toml, plain: value.to_owned(), flag, comment });
            }
        };
        text(&mut settings, "profile", Some(answers.profile.name()), "--profile", "");
        let url = answers.upstream_url.as_deref();
        text(&mut settings, "upstream.url", url, "--upstream-url", "");
        settings.bare(
            "upstream.max_in_flight",
            "64",
            "These two bound the memory to the limit of 1 GiB of the service.",
        );
        settings.bare("guard.max_connections", "256", "");
        let grant = if answers.grant == Grant::ClientCredentials { "client_credentials" } else { "refresh_token" };
        text(&mut settings, "oauth.grant", Some(grant), "--grant", "");
        text(&mut settings, "oauth.client_id", Some(&answers.client_id), "--client-id", "");
        if answers.client_secret.is_some() {
            let comment = "The secret has a file of its own, because everybody may read this one.";
            let file = in_dir(SECRET_FILE);
            text(&mut settings, "oauth.client_secret_file", Some(&file), "--client-secret-file", comment);
        }
        text(&mut settings, "oauth.token_url", answers.token_url.as_deref(), "--token-url", "");
        text(&mut settings, "oauth.scope", answers.scope.as_deref(), "--scope", "");
        if let Some(region) = &answers.region {
            let toml = format!("{{ TenantRegion = {} }}", toml::Value::from(region.as_str()));
            settings.0.push(Setting {
                key: "oauth.headers",
                plain: toml.clone(),
                toml,
                flag: "--region",
                comment: "Also sent to the API.",
            });
        }
        if answers.grant != Grant::ClientCredentials {
            let authorize_url = answers.authorize_url.as_deref();
            text(&mut settings, "oauth.authorize_url", authorize_url, "--authorize-url", "");
            let comment = "Exactly as it is registered.";
            text(&mut settings, "oauth.redirect_uri", answers.redirect_uri.as_deref(), "--redirect-uri", comment);
            let comment = "The grant. Only one proxy may use it: each refresh replaces the refresh token.";
            text(&mut settings, "store.path", Some(&in_dir(GRANT_FILE)), "--dir", comment);
        }
        let comment = "The GET that `bearer-proxy check` sends.";
        text(&mut settings, "check.path", answers.request_path.as_deref(), "--request-path", comment);
        settings
    }

    fn bare(&mut self, key: &'static str, value: &str, comment: &'static str) {
        self.0.push(Setting { key, toml: value.to_owned(), plain: value.to_owned(), flag: "", comment });
    }

    pub(super) fn file(&self) -> String {
        let mut text = HEAD.to_owned();
        let mut section = "";
        for setting in &self.0 {
            let (of, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
            if of != section {
                section = of;
                text += &format!("\n[{section}]\n");
            } else if section.is_empty() {
                text.push('\n');
            }
            if !setting.comment.is_empty() {
                text += &format!("# {}\n", setting.comment);
            }
            text += &format!("{name} = {}\n", setting.toml);
        }
        text
    }

    /// The settings as environment variables, without the file of the secret, which does not exist yet.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let written = self.0.iter().filter(|setting| !setting.key.ends_with("_file"));
        written.map(|setting| (variable(setting.key), setting.plain.clone()))
    }

    /// An error about a variable becomes one about the flag that gave the value.
    pub(super) fn by_flag(&self, error: &str) -> String {
        let flags = self.0.iter().filter(|setting| !setting.flag.is_empty());
        flags.fold(error.to_owned(), |text, setting| {
            text.replace(
                &format!("environment {})", variable(setting.key.trim_end_matches("_file"))),
                &format!("{})", setting.flag),
            )
        })
    }
}

pub(super) fn variable(key: &str) -> String {
    format!("BEARER_PROXY_{}", key.replace('.', "__").to_ascii_uppercase())
}
