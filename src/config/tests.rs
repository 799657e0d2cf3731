//! Each file holds one promise of the configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Config, Errors, Loaded, Sources};

mod bad_values;
mod defaults;
mod layers;
mod profiles;
mod reload;
mod secrets;
mod warnings;

/// Enough for the default profile.
const CLIENT: [(&str, &str); 2] =
    [("BEARER_PROXY_OAUTH__CLIENT_ID", "client"), ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "sesame")];

/// A directory with a configuration and its secrets.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        // Only for its owner, as the documentation says.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn load(&self, toml: &str, environment: &[(&str, &str)]) -> Result<Loaded, Errors> {
        let path = self.write("x.toml", toml.replace("DIR", &self.0.path().to_string_lossy()));
        Config::load(&Sources::new(Some(path), environment.iter().copied()))
    }

    /// The errors, one on each line, with `DIR` for the directory.
    fn errors(&self, toml: &str, environment: &[(&str, &str)]) -> Vec<String> {
        match self.load(toml, environment) {
            Ok(_) => Vec::new(),
            Err(errors) => {
                let text = errors.to_string().replace(&*self.0.path().to_string_lossy(), "DIR");
                text.lines().map(str::to_owned).collect()
            }
        }
    }
}

/// Loads a file with the environment of a client.
fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Loaded, Errors> {
    Files::new().load(toml, &[&CLIENT, environment].concat())
}

fn warnings(toml: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let files = Files::new();
    let loaded = files.load(toml, &[&CLIENT, environment].concat()).unwrap();
    let directory = files.0.path().to_string_lossy().into_owned();
    loaded.warnings.iter().map(|warning| warning.to_string().replace(&directory, "DIR")).collect()
}

/// The effective values, as `key = shown (place)`.
fn effective(loaded: &Loaded) -> Vec<String> {
    let line = |entry: &super::Entry| {
        let header = entry.header.as_ref().map(|header| format!(".{header}")).unwrap_or_default();
        format!("{}{header} = {:?} ({})", entry.key.name, entry.shown, entry.place)
    };
    loaded.effective.entries().iter().map(line).collect()
}
