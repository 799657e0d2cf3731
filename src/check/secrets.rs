//! Checks of the secrets, by the result of loading the configuration.

use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::finding::Finding;
use super::ids::Id;
use crate::config::{Config, Errors, GrantConfig, ListenAddress, Loaded, SecretSource, Topic};
use crate::secret::Secret;

/// Shorter texts decode to something printable by chance.
const MIN_DECODED: usize = 12;
/// A shorter key can be guessed.
const MIN_ADMIN_KEY: usize = 16;
const OTHERS_MAY_WRITE: u32 = 0o002;

/// What is not in the configuration itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// The mode of the admin listener's unix socket, if there is one.
    pub admin_socket: Option<u32>,
}

pub fn gather(config: &Config) -> Facts {
    let socket = match config.admin.as_ref().map(|admin| &admin.listen) {
        Some(ListenAddress::Unix(path)) => std::fs::metadata(path).ok(),
        _ => None,
    };
    Facts { admin_socket: socket.map(|socket| socket.permissions().mode() & 0o7777) }
}

pub fn judge(loaded: Result<&Loaded, &Errors>, facts: Facts) -> Vec<Finding> {
    match loaded {
        Ok(loaded) => {
            let readable = loaded.warnings.iter().filter(|warning| warning.topic == Topic::WorldReadable);
            let mut findings: Vec<_> = readable
                .map(|warning| Id::SecretWorldReadable.warn(warning.to_string(), "remove the permission of others"))
                .collect();
            for (key, secret) in secrets(&loaded.config) {
                findings.extend(text(key, &secret));
            }
            findings.extend(admin(&loaded.config, facts));
            findings
        }
        Err(Errors(errors)) => errors
            .iter()
            .filter_map(|error| {
                let (id, hint) = match error.topic() {
                    Topic::SecretMissing => {
                        (Id::SecretMissing, "set the secret, or the path of a file that contains it")
                    }
                    Topic::SecretEmpty => (Id::SecretEmpty, "write the secret to the file"),
                    Topic::SecretUnreadable => {
                        (Id::SecretUnreadable, "correct the path, or let the user of the proxy read the file")
                    }
                    Topic::SecretCharacters => {
                        (Id::SecretNewline, "write the secret again, without line breaks: printf %s SECRET > FILE")
                    }
                    _ => return None,
                };
                Some(id.fail(error.to_string(), hint))
            })
            .collect(),
    }
}

/// The secrets that a person has copied from somewhere.
fn secrets(config: &Config) -> Vec<(&'static str, Secret)> {
    let mut secrets = Vec::new();
    let mut add = |key, secret: Option<&Secret>| secrets.extend(secret.map(|secret| (key, secret.clone())));
    add("oauth.client_secret", config.oauth.grant.endpoint().and_then(|endpoint| endpoint.client_secret.as_ref()));
    match &config.oauth.grant {
        GrantConfig::RefreshToken { first, .. } => add("oauth.refresh_token", first.as_ref()),
        GrantConfig::Static { access_token: SecretSource::Inline(token) } => add("oauth.access_token", Some(token)),
        GrantConfig::Static { .. } | GrantConfig::ClientCredentials { .. } => {}
    }
    add("admin.key", config.admin.as_ref().and_then(|admin| admin.key.as_ref()));
    secrets
}

fn text(key: &str, secret: &Secret) -> Option<Finding> {
    let text = secret.expose();
    if text.trim() != text {
        let detail = format!("{key} starts or ends with a blank");
        return Some(Id::SecretNewline.warn(detail, "write the secret again, without blanks around it"));
    }
    let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
    let inner = decoded.strip_suffix(b"\n").unwrap_or(&decoded);
    let is_text = inner.len() >= MIN_DECODED && inner.iter().all(u8::is_ascii_graphic);
    is_text.then(|| {
        Id::SecretEncodedTwice.warn(
            format!("{key} is base64 of a printable text; the server probably expects that text"),
            "decode it once: a Kubernetes Secret takes base64 in `data`, and plain text in `stringData`",
        )
    })
}

fn admin(config: &Config, facts: Facts) -> Option<Finding> {
    let admin = config.admin.as_ref()?;
    match (&admin.key, facts.admin_socket) {
        (Some(key), _) if key.expose().len() < MIN_ADMIN_KEY => Some(Id::AdminLoginOpen.warn(
            format!("admin.key has fewer than {MIN_ADMIN_KEY} characters; whoever guesses it can replace the grant by a login"),
            "use a random key: openssl rand -hex 32",
        )),
        (None, Some(mode)) if mode & OTHERS_MAY_WRITE != 0 => Some(Id::AdminLoginOpen.warn(
            format!(
                "every user of this machine may connect to {} (mode {mode:04o}) and replace the grant by a login",
                admin.listen
            ),
            "remove the permission of others (chmod o-w), or set admin.key",
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{load, names};

    const CANARY: &str = "canary-Secret_0123456789";

    #[test]
    fn each_fault_of_a_secret_has_its_id_and_shows_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        let rows = [
            ("OAUTH__CLIENT_SECRET", CANARY.to_owned(), &[][..]),
            ("OAUTH__CLIENT_SECRET", String::new(), &["secret-missing"]),
            ("OAUTH__CLIENT_SECRET_FILE", file("empty", "\n", 0o600), &["secret-empty"]),
            ("OAUTH__CLIENT_SECRET_FILE", folder.path().join("none").display().to_string(), &["secret-unreadable"]),
            ("OAUTH__CLIENT_SECRET", format!("{CANARY}\n"), &["secret-newline"]),
            ("OAUTH__CLIENT_SECRET", format!(" {CANARY}"), &["secret-newline"]),
            ("OAUTH__CLIENT_SECRET_FILE", file("two", &format!("{CANARY}\n\n"), 0o600), &["secret-newline"]),
            ("OAUTH__CLIENT_SECRET", STANDARD.encode(CANARY), &["secret-encoded-twice"]),
            ("OAUTH__CLIENT_SECRET", STANDARD.encode(format!("{CANARY}\n")), &["secret-encoded-twice"]),
            // 40 letters and digits, as Passport makes them, are base64 too.
            ("OAUTH__CLIENT_SECRET", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9n".to_owned(), &[]),
            ("OAUTH__CLIENT_SECRET_FILE", file("open", CANARY, 0o644), &["secret-world-readable"]),
            ("OAUTH__CLIENT_SECRET_FILE", file("closed", &format!("{CANARY}\n"), 0o640), &[]),
            ("ADMIN__KEY", "short".to_owned(), &["admin-login-open"]),
        ];
        for (name, value, expected) in &rows {
            let mut variables = vec![(*name, value.as_str())];
            // One secret in two ways would be a fault of its own.
            if name.ends_with("_FILE") {
                variables.push(("OAUTH__CLIENT_SECRET", ""));
            }
            let findings = judge(load(&variables).as_ref(), Facts::default());
            assert_eq!(names(&findings), *expected, "{name}={value:?}");
            assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
        }
    }

    #[test]
    fn a_socket_that_everyone_may_use_needs_a_key() {
        let socket = ("ADMIN__LISTEN", "unix:/run/admin.sock");
        let key = ("ADMIN__KEY", "0123456789abcdef0123456789abcdef");
        for (variables, mode, expected) in [
            (&[socket][..], Some(0o660), &[][..]),
            (&[socket], Some(0o666), &["admin-login-open"]),
            (&[socket, key], Some(0o666), &[]),
            (&[socket], None, &[]),
        ] {
            let findings = judge(load(variables).as_ref(), Facts { admin_socket: mode });
            assert_eq!(names(&findings), expected, "{mode:?}");
        }
    }
}
