//! A key: its accepted values, its default, and the grants and stores under which it has an effect.

use std::time::Duration;

use super::quantity::{duration_text, size_text};

/// The prefix of all variables.
pub(super) const PREFIX: &str = "BEARER_PROXY_";

/// The grants that call the token endpoint.
pub(super) const CALLS_TOKEN_ENDPOINT: &[&str] = &["refresh_token", "client_credentials"];
/// The grants that a person starts by a login.
pub(super) const LOGS_IN: &[&str] = &["refresh_token"];

pub(super) const ADDRESS_OR_OFF: &str = "`IP:port`, `[::1]:port`, `unix:/path.sock` or `off`";
pub(super) const SECURE_URL: &str =
    "an `https` URL, or an `http` one to a loopback address, without user name, password and fragment";

pub(super) const MS: u64 = 1;
pub(super) const SEC: u64 = 1_000;
pub(super) const MIN: u64 = 60 * SEC;
pub(super) const DAY: u64 = 24 * 60 * MIN;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// With its section: `upstream.url`.
    pub name: &'static str,
    pub kind: Kind,
    pub preset: Preset,
    /// Whether a reload cannot put a change into effect.
    pub needs_restart: bool,
    /// The grants under which the key has a use; empty: all.
    pub grants: &'static [&'static str],
    /// The stores under which the key has a use; empty: all.
    pub stores: &'static [&'static str],
    /// What an unset key means, if an empty value is an error: an operator who leaves a guard empty rarely wants to open it.
    pub unset_means: Option<&'static str>,
    /// Whether an empty text is a value, and not an unset one.
    pub may_be_empty: bool,
    /// One line, without the name.
    pub doc: &'static str,
}

/// The shape of a key's values. A text describes the accepted values, for errors ("expected …") and for the documentation.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Boolean,
    Choice(&'static [&'static str]),
    Count {
        min: u64,
        max: u64,
    },
    /// A list of digests. Errors do not show a wrong value, because it could be the key itself.
    Digests(&'static str),
    Duration {
        min: Duration,
        max: Duration,
    },
    /// A path of a file that is read, and watched for changes.
    File,
    /// A table of header names and values. The values may be secrets.
    Headers,
    List(&'static str),
    /// A table of names and values of OAuth parameters. The values may be secrets.
    Parameters,
    /// `X`, or a path in `X_file`.
    Secret(&'static str),
    /// A list of secrets, or in `X_file` the path of a file with one secret per line.
    Secrets(&'static str),
    /// Bytes.
    Size {
        min: u64,
        max: u64,
    },
    Text(&'static str),
    /// A text, or a list of such.
    TextOrList(&'static str),
    /// Its user name, password and query may be secrets.
    Url(&'static str),
}

/// The default of a key.
#[derive(Clone, Copy, Debug)]
pub enum Preset {
    Unset,
    /// As it would be written in the environment.
    Value(&'static str),
    /// The profile defines it.
    Profile,
    /// It depends on other keys or on the machine.
    Computed(&'static str),
}

/// How a key was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Value,
    /// `X_file`
    File,
}

pub(super) const fn boolean() -> Key {
    key(Kind::Boolean)
}

pub(super) const fn choice(names: &'static [&'static str]) -> Key {
    key(Kind::Choice(names))
}

pub(super) const fn count(min: u64, max: u64) -> Key {
    key(Kind::Count { min, max })
}

pub(super) const fn digests(accepted: &'static str) -> Key {
    key(Kind::Digests(accepted))
}

/// In milliseconds.
pub(super) const fn duration(min: u64, max: u64) -> Key {
    key(Kind::Duration { min: Duration::from_millis(min), max: Duration::from_millis(max) })
}

pub(super) const fn file() -> Key {
    key(Kind::File)
}

pub(super) const fn headers() -> Key {
    key(Kind::Headers)
}

pub(super) const fn list(accepted: &'static str) -> Key {
    key(Kind::List(accepted))
}

pub(super) const fn parameters() -> Key {
    key(Kind::Parameters)
}

pub(super) const fn secret(accepted: &'static str) -> Key {
    key(Kind::Secret(accepted))
}

pub(super) const fn secrets(accepted: &'static str) -> Key {
    key(Kind::Secrets(accepted))
}

pub(super) const fn size(min: u64, max: u64) -> Key {
    key(Kind::Size { min, max })
}

pub(super) const fn text(accepted: &'static str) -> Key {
    key(Kind::Text(accepted))
}

pub(super) const fn text_or_list(accepted: &'static str) -> Key {
    key(Kind::TextOrList(accepted))
}

pub(super) const fn url(accepted: &'static str) -> Key {
    key(Kind::Url(accepted))
}

const fn key(kind: Kind) -> Key {
    Key {
        name: "",
        kind,
        preset: Preset::Unset,
        needs_restart: false,
        grants: &[],
        stores: &[],
        unset_means: None,
        may_be_empty: false,
        doc: "",
    }
}

// === impl Key ===

impl Key {
    pub(super) const fn default(self, value: &'static str) -> Self {
        Self { preset: Preset::Value(value), ..self }
    }

    /// The default is described, because it depends on other keys or on the machine.
    pub(super) const fn computed(self, default: &'static str) -> Self {
        Self { preset: Preset::Computed(default), ..self }
    }

    pub(super) const fn by_profile(self) -> Self {
        Self { preset: Preset::Profile, ..self }
    }

    pub(super) const fn restart(self) -> Self {
        Self { needs_restart: true, ..self }
    }

    pub(super) const fn grants(self, grants: &'static [&'static str]) -> Self {
        Self { grants, ..self }
    }

    pub(super) const fn stores(self, stores: &'static [&'static str]) -> Self {
        Self { stores, ..self }
    }

    /// An empty value is an error, which says what an unset key means.
    pub(super) const fn never_empty(self, unset_means: &'static str) -> Self {
        Self { unset_means: Some(unset_means), ..self }
    }

    pub(super) const fn may_be_empty(self) -> Self {
        Self { may_be_empty: true, ..self }
    }

    pub(super) const fn named(self, name: &'static str, doc: &'static str) -> Self {
        Self { name, doc: doc.trim_ascii(), ..self }
    }

    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "__").to_ascii_uppercase())
    }

    /// Empty for a key that precedes all sections.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// The name within its section.
    pub fn short_name(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, name)| name)
    }

    /// The key in the form that `name` has, if `name` is this key. `plain`: the key as the layer spells it. `suffix`: `_file` as
    /// the layer spells it.
    pub(super) fn form(&'static self, name: &str, plain: &str, suffix: &str) -> Option<(&'static Self, Form)> {
        match name.strip_prefix(plain)? {
            "" => Some((self, Form::Value)),
            rest if rest == suffix && self.kind.is_secret() => Some((self, Form::File)),
            _ => None,
        }
    }
}

// === impl Kind ===

impl Kind {
    /// Whether the values are secrets, and `X_file` is accepted too.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::Secrets(_))
    }

    /// Whether an error may show what was given.
    pub(super) fn may_be_shown(&self) -> bool {
        !self.is_secret() && !matches!(self, Self::Digests(_) | Self::Headers | Self::Parameters | Self::Url(_))
    }

    /// What is accepted, in words.
    pub fn accepts(&self) -> String {
        match self {
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::Choice(names) => one_of(names),
            Self::Count { min, max } => format!("a number from {min} to {max}"),
            Self::Duration { min, max } => {
                format!(
                    "a duration from {} to {}, such as `250ms`, `5s`, `10m`, `2h` or `30d`",
                    duration_text(*min),
                    duration_text(*max)
                )
            }
            Self::File => "the path of a file".to_owned(),
            Self::Headers => "a table of header names and their values, such as `{ TenantRegion = \"EU\" }`".to_owned(),
            Self::Parameters => {
                "a table of parameters and their values, such as `{ audience = \"https://api.example\" }`".to_owned()
            }
            Self::Size { min, max } => {
                format!(
                    "a size from {} to {}, such as `64KiB`, `1MiB` or a number of bytes",
                    size_text(*min),
                    size_text(*max)
                )
            }
            Self::Digests(text)
            | Self::List(text)
            | Self::Secret(text)
            | Self::Secrets(text)
            | Self::Text(text)
            | Self::TextOrList(text)
            | Self::Url(text) => (*text).to_owned(),
        }
    }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}
