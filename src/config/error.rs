//! Errors and warnings of the configuration, with their places. No text contains the value of a secret: the code that creates an error decides
//! what it shows.

use std::fmt;
use std::path::{Path, PathBuf};

use super::key::{Form, Key};
use super::profile::Profile;
use crate::files::mode_if_world_readable;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Default,
    Profile(Profile),
    File {
        path: PathBuf,
        /// The first line is 1.
        line: usize,
    },
    /// The name of the variable.
    Environment(String),
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file. An unreadable file of a secret is a [`ConfigError::SecretFile`].
    #[error("file {path}: cannot be read: {reason}", path = one_line(.path.display()))]
    Unreadable { path: PathBuf, reason: String },
    /// Without the text of the line, which may contain a secret.
    #[error("{place} column {column}: not TOML: {reason}")]
    Syntax { place: Place, column: usize, reason: String },
    #[error("{name} ({place}): unknown key{}", hint(.suggestion))]
    Unknown { name: String, place: Place, suggestion: Option<String> },
    #[error("{key} ({place}): invalid value{what} expected {accepted}")]
    Value { key: String, place: Place, what: String, accepted: String },
    #[error("{key}: missing: {why}; set it in the file, or as {variable}{}", file_form(.variable, *.secret))]
    Missing { key: &'static str, why: &'static str, variable: String, secret: bool },
    /// A violated rule between keys, or between a key and the machine. The text says what to do.
    #[error("{key} ({place}): {what}")]
    Rule { key: String, place: Place, what: String },
    /// The file of a secret cannot be used.
    #[error("{key} ({place}): {what}")]
    SecretFile { key: String, place: Place, what: String, topic: Topic },
}

/// All errors, one on each line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct Errors(pub Vec<ConfigError>);

/// Something valid that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub key: String,
    pub place: Place,
    pub what: String,
    pub topic: Topic,
}

/// The subject of an error or a warning. `check` has an id for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    UnknownKey,
    UnusedKey,
    /// A listener is open to everyone who reaches it.
    Exposure,
    SecretMissing,
    SecretEmpty,
    SecretUnreadable,
    /// A secret has a character that does not belong there, such as a line break.
    SecretCharacters,
    WorldReadable,
    Other,
}

/// Escapes control characters: a path may contain a line break.
pub(super) fn one_line(text: impl fmt::Display) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.to_string().chars().map(escaped).collect()
}

/// Secrets without a form of their own, unlike `store.url` and `store.keys`.
const PLAIN_SECRETS: [&str; 4] = ["oauth.client_secret", "oauth.refresh_token", "oauth.access_token", "admin.key"];

/// The warning for a file with secrets that every user of the machine may read. `None`: the mode is strict enough.
pub(super) fn world_readable(path: &Path) -> Option<String> {
    let mode = mode_if_world_readable(path)?;
    let path = one_line(path.display());
    Some(format!(
        "every user of this machine may read {path} (mode {mode:04o}), which contains a secret: chmod o-r {path}"
    ))
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|suggestion| format!("; {suggestion}")).unwrap_or_default()
}

fn file_form(variable: &str, is_secret: bool) -> String {
    if is_secret { format!(" or {variable}_FILE") } else { String::new() }
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

// === impl ConfigError ===

impl ConfigError {
    /// `shown`: the value, if it may be shown. `reason`: empty if the description of accepted values says enough.
    pub(super) fn value(key: String, place: Place, shown: Option<&str>, reason: &str, accepted: String) -> Self {
        let shown = shown.map(|shown| format!(" `{shown}`")).unwrap_or_default();
        let what = if reason.is_empty() { format!("{shown}:") } else { format!("{shown}: {reason};") };
        Self::Value { key, place, what, accepted }
    }

    /// The error for an empty value, if the key must not be empty.
    pub(super) fn empty(key: &Key, form: Form, place: Place) -> Option<Self> {
        let meaning = key.unset_means?;
        let suffix = if form == Form::File { "_file" } else { "" };
        let what = format!("the value is empty, and without the key {meaning}: set a value, or remove the key");
        Some(Self::Rule { key: format!("{}{suffix}", key.name), place, what })
    }

    /// Whether it concerns a value of this key.
    pub(super) fn is_about(&self, name: &str) -> bool {
        match self {
            Self::Value { key, .. } | Self::Rule { key, .. } | Self::SecretFile { key, .. } => {
                key.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "_file"))
            }
            _ => false,
        }
    }

    pub fn topic(&self) -> Topic {
        match self {
            Self::Unknown { .. } => Topic::UnknownKey,
            Self::Missing { secret: true, .. } => Topic::SecretMissing,
            Self::SecretFile { topic, .. } => *topic,
            // The only rule for the value of such a secret is which characters it may have.
            Self::Value { key, .. } if PLAIN_SECRETS.contains(&key.trim_end_matches("_file")) => {
                Topic::SecretCharacters
            }
            Self::Unreadable { .. }
            | Self::Syntax { .. }
            | Self::Missing { .. }
            | Self::Value { .. }
            | Self::Rule { .. } => Topic::Other,
        }
    }
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(profile) => write!(f, "profile {}", profile.name()),
            Self::File { path, line } => write!(f, "file {} line {line}", one_line(path.display())),
            Self::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

// === impl Warning ===

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.place, self.what)
    }
}
