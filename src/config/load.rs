//! Loads the configuration, or reports every error at once.
//!
//! Loading only reads files. It binds no port, makes no network call, and gets the environment as an argument. So a reload is the same call
//! again.

use std::ffi::OsString;
use std::path::PathBuf;

use super::effective::Effective;
use super::environment::Environment;
use super::error::{ConfigError, Errors, Place, Warning};
use super::key::{Form, Preset};
use super::keys::{self, KEYS};
use super::profile::Profile;
use super::reader::Reader;
use super::sections::Config;
use super::settings::{Raw, Settings};
use super::watched::Watched;
use super::{file, variables};

/// The sources of a configuration. It has no `Debug`, because the environment contains secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The path in `--config`, otherwise in `BEARER_PROXY_CONFIG`; otherwise there is no file.
    pub file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
}

/// A valid configuration, with its warnings and files.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Logged at a start and at a reload.
    pub warnings: Vec<Warning>,
    pub effective: Effective,
    /// Every file that was read or is named. If one changes, the configuration must be loaded again.
    pub files: Vec<Watched>,
}

/// The result of a read, valid or not.
pub struct Read {
    pub loaded: Result<Loaded, Errors>,
    /// Every file that was read or is named, including missing ones. If one changes, the configuration must be loaded again.
    pub files: Vec<Watched>,
}

// === impl Sources ===

impl Sources {
    /// The environment of the process (`std::env::vars_os()`), or of a test.
    pub fn new<K: Into<OsString>, V: Into<OsString>>(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self { file, environment: environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }

    /// What to do if keys are missing because no file was read.
    pub fn file_hint(&self, errors: &Errors) -> Option<&'static str> {
        let is_missing = |error: &ConfigError| matches!(error, ConfigError::Missing { .. });
        let names_no_file = || self.path(&Environment::new(self.environment.clone())).is_none();
        (errors.0.iter().any(is_missing) && names_no_file())
            .then_some("no configuration file was read: name one with --config or BEARER_PROXY_CONFIG")
    }

    fn path(&self, environment: &Environment) -> Option<PathBuf> {
        self.file.clone().or_else(|| environment.get("BEARER_PROXY_CONFIG").map(PathBuf::from))
    }

    /// The variables that Kubernetes has injected, which look like keys of this program.
    pub fn service_links(&self) -> Vec<String> {
        variables::service_links(&Environment::new(self.environment.clone()))
    }
}

// === impl Config ===

impl Config {
    /// # Errors
    /// Everything that is wrong. No text contains a secret.
    pub fn load(sources: &Sources) -> Result<Loaded, Errors> {
        Self::read(sources).loaded
    }

    /// The same, with the files to watch even if it is invalid: a missing file may appear.
    pub fn read(sources: &Sources) -> Read {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let environment = Environment::new(sources.environment.clone());
        let path = sources.path(&environment);
        let watched = path.clone().map(Watched::new);
        let from_file = match &path {
            Some(path) => file::settings(path, &mut errors, &mut warnings),
            None => Some(Settings::default()),
        };
        let incomplete = from_file.is_none();
        let mut given = from_file.unwrap_or_default();
        given.merge(variables::settings(&environment, &mut errors));

        let profile = profile(&given);
        let mut settings = defaults();
        settings.merge(profile_defaults(profile.unwrap_or_default()));
        settings.merge(given);

        // With an unknown profile, it is unknown which keys are missing.
        let mut reader = Reader::new(KEYS, settings, incomplete || profile.is_none(), errors);
        reader.choice("profile", Profile::from_name);
        reader.warnings = warnings;
        reader.files.extend(watched);
        let config = Config::from_settings(&mut reader, profile.unwrap_or_default(), &environment);
        let files = reader.files.clone();
        let loaded = match config {
            Some(config) if reader.errors.is_empty() => {
                let effective = Effective::new(&reader);
                Ok(Loaded { config, warnings: reader.warnings, effective, files: reader.files })
            }
            _ => Err(Errors(reader.errors)),
        };
        Read { loaded, files }
    }
}

/// `None`: the profile is unknown.
fn profile(given: &Settings) -> Option<Profile> {
    match given.get("profile").map(|setting| &setting.raw) {
        None => Some(Profile::default()),
        Some(Raw::Text(name)) => Profile::from_name(name),
        Some(_) => None,
    }
}

fn defaults() -> Settings {
    let mut settings = Settings::default();
    for key in KEYS {
        if let Preset::Value(text) = key.preset {
            put(&mut settings, key.name, text, Place::Default);
        }
    }
    settings
}

fn profile_defaults(profile: Profile) -> Settings {
    let mut settings = Settings::default();
    for (name, text) in profile.values() {
        put(&mut settings, name, text, Place::Profile(profile));
    }
    settings
}

/// Tests check that each default has the shape of its key.
fn put(settings: &mut Settings, name: &str, text: &str, place: Place) {
    if let Some((key, Form::Value)) = keys::find(name)
        && let Ok(Some(raw)) = Raw::from_text(key, Form::Value, text, &place)
    {
        settings.set(key, place, raw);
    }
}
