//! From what is given to what the program runs on, or to every error at once.
//!
//! Loading reads files and nothing else: it binds no port, calls nobody, and has the environment handed to it. So a reload is
//! the same call again.

use std::ffi::OsString;
use std::path::PathBuf;

use super::effective::Effective;
use super::environment::Environment;
use super::error::{Errors, Place, Warning};
use super::key::{Form, Preset};
use super::keys::{self, KEYS};
use super::profile::Profile;
use super::reader::Reader;
use super::sections::Config;
use super::settings::{Raw, Settings};
use super::watched::Watched;
use super::{file, variables};

/// What a configuration is read from. Without `Debug`: the environment holds secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// Of `--config`; else `BEARER_PROXY_CONFIG` names it, else there is none.
    pub file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
}

/// A valid configuration, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// To be logged at a start and a reload, and shown by `check`.
    pub warnings: Vec<Warning>,
    pub effective: Effective,
    /// Every file that was read or is named: when one changes, load again.
    pub files: Vec<Watched>,
}

/// What a configuration was read as, valid or not.
pub struct Read {
    pub loaded: Result<Loaded, Errors>,
    /// Every file that was read or is named, also one that is missing: when one changes, load again.
    pub files: Vec<Watched>,
}

// === impl Sources ===

impl Sources {
    /// The environment is that of the process (`std::env::vars_os()`), or a test's.
    pub fn new<K: Into<OsString>, V: Into<OsString>>(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self { file, environment: environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

// === impl Config ===

impl Config {
    /// # Errors
    /// All that is wrong. No text of it holds a secret.
    pub fn load(sources: &Sources) -> Result<Loaded, Errors> {
        Self::read(sources).loaded
    }

    /// The same, with the files to watch if it is invalid: one that is missing may appear.
    pub fn read(sources: &Sources) -> Read {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let environment = Environment::new(sources.environment.clone());
        let path = sources.file.clone().or_else(|| environment.get("BEARER_PROXY_CONFIG").map(PathBuf::from));
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

        // Under a profile that is not known, what is missing is not known either.
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

/// `None`: named, but not one of ours.
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

/// Tests hold that every row of our own tables has the shape of its key.
fn put(settings: &mut Settings, name: &str, text: &str, place: Place) {
    if let Some((key, Form::Value)) = keys::find(name)
        && let Ok(Some(raw)) = Raw::from_text(key, Form::Value, text, &place)
    {
        settings.set(key, place, raw);
    }
}
