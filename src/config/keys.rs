//! Every key, once: what the layers may hold, what an error says is accepted, what `config` prints and the README lists.

use std::time::Duration;

use super::quantity::{duration_text, size_text};

mod table;

pub use table::KEYS;

/// What the names of all variables begin with.
pub(super) const PREFIX: &str = "BEARER_PROXY_";

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// With its section: `upstream.url`.
    pub name: &'static str,
    pub kind: Kind,
    pub preset: Preset,
    /// Whether a reload can't put a change into effect.
    pub needs_restart: bool,
    /// The grants under which the key has a use; empty: all.
    pub grants: &'static [&'static str],
    /// The stores under which the key has a use; empty: all.
    pub stores: &'static [&'static str],
    /// What an unset key means, for keys whose empty value is an error: who leaves a guard empty rarely means to open it.
    pub unset_means: Option<&'static str>,
    /// One line, without the name.
    pub doc: &'static str,
}

/// What a key takes. A text describes what no type does, for errors: "accepted: …".
#[derive(Debug)]
pub enum Kind {
    Boolean,
    Choice(&'static [&'static str]),
    Count {
        min: u64,
        max: u64,
    },
    /// A list of digests. What is no digest could be the key itself.
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
    /// A list of secrets, or a path in `X_file` of a file with one a line.
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

/// What a key is without being set.
#[derive(Debug)]
pub enum Preset {
    Unset,
    /// As it would stand in the environment.
    Value(&'static str),
    /// The profile says.
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

/// The key of that name in the file.
pub(super) fn find(name: &str) -> Option<(&'static Key, Form)> {
    KEYS.iter().find_map(|key| key.form(name, key.name, "_file"))
}

/// The key of that variable; the name has the [`PREFIX`].
pub(super) fn find_variable(name: &str) -> Option<(&'static Key, Form)> {
    KEYS.iter().find_map(|key| key.form(name, &key.variable(), "_FILE"))
}

/// Whether keys begin with this name and a dot.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section() == name)
}

/// The key that was probably meant, as it would be written in the file.
pub(super) fn nearest(name: &str) -> Option<String> {
    nearest_of(name, '.', |key| (key.name.to_owned(), "_file"))
}

/// The variable that was probably meant.
pub(super) fn nearest_variable(name: &str) -> Option<String> {
    nearest_of(name, '_', |key| (key.variable(), "_FILE"))
}

/// All keys, as a table in Markdown.
pub fn keys_markdown() -> String {
    let mut text = String::from("| key | default | accepted | restart | meaning |\n|---|---|---|---|---|\n");
    for key in KEYS {
        let accepts = key.kind.accepts().replace('|', "\\|");
        // The examples are for whoever got it wrong.
        let accepts = accepts.split(", such as").next().unwrap_or_default();
        let file = if key.kind.is_secret() { " (or `_file`)" } else { "" };
        let restart = if key.needs_restart { "yes" } else { "" };
        text += &format!("| `{}`{file} | {} | {accepts} | {restart} | {} |\n", key.name, key.preset.text(), key.doc);
    }
    text
}

fn nearest_of(name: &str, separator: char, spell: impl Fn(&Key) -> (String, &'static str)) -> Option<String> {
    // A longer name is no slip of the finger, and the distance costs its square.
    if name.len() > 100 {
        return None;
    }
    let candidates = KEYS.iter().flat_map(|key| {
        let (plain, suffix) = spell(key);
        let file = key.kind.is_secret().then(|| format!("{plain}{suffix}"));
        std::iter::once(plain).chain(file)
    });
    let slips = 2 + name.len() / 8;
    candidates
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(name, &candidate);
            // `client_id` at the top, or in another section.
            let displaced = separator == '.' && candidate.rsplit('.').next() == name.rsplit('.').next();
            (distance <= slips || displaced).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}

// === impl Key ===

impl Key {
    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.replace('.', "__").to_ascii_uppercase())
    }

    /// Empty for a key that stands before all sections.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// The name within its section.
    pub fn short_name(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, name)| name)
    }

    fn form(&'static self, name: &str, plain: &str, suffix: &str) -> Option<(&'static Self, Form)> {
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

// === impl Preset ===

impl Preset {
    fn text(&self) -> String {
        match self {
            Self::Unset => "–".to_owned(),
            Self::Value(text) => format!("`{text}`"),
            Self::Profile => "profile".to_owned(),
            Self::Computed(text) => (*text).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
