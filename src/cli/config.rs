//! `config`: prints the effective configuration as a file that can be used again, with the source of each value.

use super::{Failure, Outcome};
use crate::config::{Effective, Entry, Shown};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print the SQL that the postgres store needs, and nothing else
    #[arg(long)]
    pub(super) schema: bool,
}

/// Needs no configuration.
#[cfg(feature = "postgres")]
pub(super) fn schema() -> Result<Outcome, Failure> {
    Ok(Outcome::done(crate::token::store::schema()))
}

#[cfg(not(feature = "postgres"))]
pub(super) fn schema() -> Result<Outcome, Failure> {
    Err(Failure::new("this build has no PostgreSQL store (the cargo feature `postgres`)"))
}

/// The configuration in TOML. A masked value becomes a comment, so that nobody uses the mask as a secret.
pub fn print(effective: &Effective) -> String {
    let mut text = String::new();
    let mut section = "";
    for entry in effective.entries() {
        if entry.key.section() != section {
            section = entry.key.section();
            text += &format!("\n[{section}]\n");
        }
        text += &line(entry);
    }
    text
}

fn line(entry: &Entry) -> String {
    let name = match &entry.header {
        Some(header) => format!("{}.{}", entry.key.short_name(), quoted_name(header)),
        None => entry.key.short_name().to_owned(),
    };
    let place = &entry.place;
    match &entry.shown {
        Shown::Bare(value) => format!("{name} = {value}  # {place}\n"),
        Shown::Text(value) => format!("{name} = {}  # {place}\n", quoted(value)),
        Shown::List(items) => {
            let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
            format!("{name} = [{}]  # {place}\n", items.join(", "))
        }
        Shown::SecretFile(path) => format!("{name}_file = {}  # {place}\n", quoted(&path.to_string_lossy())),
        Shown::Masked => format!("# {name} = \"***\"  # {place}\n"),
    }
}

/// A header name can hold characters that a bare TOML key cannot.
fn quoted_name(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
