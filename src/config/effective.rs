//! The effective values with their sources, for the command `config`, and to find what a reload has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256};

use super::error::Place;
use super::key::{Key, Kind};
use super::keys::KEYS;
use super::reader::Reader;
use super::settings::{Raw, Setting};

/// Every key that has a value, in the order of `KEYS`. Contains no secret.
#[derive(Clone, Debug)]
pub struct Effective(Vec<Entry>);

/// One value, or one entry of a table of headers or parameters.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: &'static Key,
    pub header: Option<String>,
    pub shown: Shown,
    pub place: Place,
    fingerprint: Fingerprint,
}

/// Distinguishes a changed value from an unchanged one, without the value itself. Not shown, because a short secret could be guessed from
/// it.
#[derive(Clone, PartialEq, Eq)]
struct Fingerprint([u8; 32]);

/// A value in the form that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A number or a boolean, in TOML.
    Bare(String),
    Text(String),
    List(Vec<String>),
    /// The path in `X_file`.
    SecretFile(PathBuf),
    Masked,
}

/// A key whose value differs between two loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: &'static str,
    pub needs_restart: bool,
}

// === impl Effective ===

impl Effective {
    pub(super) fn new(reader: &Reader) -> Self {
        let settings = KEYS.iter().filter_map(|key| Some((key, reader.setting(key.name)?)));
        Self(settings.flat_map(|(key, setting)| entries(key, setting, reader)).collect())
    }

    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The keys whose values differ, each once, in the order of `KEYS`. A value that only moved to another source has not changed. The file
    /// of a secret has changed if its content has.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let index = |effective: &Self| -> BTreeMap<_, _> {
            effective
                .0
                .iter()
                .map(|entry| ((entry.key.name, entry.header.clone()), entry.fingerprint.clone()))
                .collect()
        };
        let (old, new) = (index(self), index(new));
        let names: BTreeSet<_> =
            old.keys().chain(new.keys()).filter(|name| old.get(name) != new.get(name)).map(|(key, _)| *key).collect();
        let changed = KEYS.iter().filter(|key| names.contains(key.name));
        changed.map(|key| Change { key: key.name, needs_restart: key.needs_restart }).collect()
    }
}

fn entries(key: &'static Key, setting: &Setting, reader: &Reader) -> Vec<Entry> {
    let one = |shown, parts: &[&[u8]]| {
        vec![Entry { key, header: None, shown, place: setting.place.clone(), fingerprint: Fingerprint::new(parts) }]
    };
    match &setting.raw {
        Raw::Text(text) => one(shown_text(key, text), &[text.as_bytes()]),
        Raw::List(items) => one(Shown::List(items.clone()), &items.iter().map(String::as_bytes).collect::<Vec<_>>()),
        Raw::Secret(secret) => one(Shown::Masked, &[secret.expose().as_bytes()]),
        Raw::Secrets(secrets) => {
            one(Shown::Masked, &secrets.iter().map(|secret| secret.expose().as_bytes()).collect::<Vec<_>>())
        }
        Raw::SecretFile(path) => {
            let content = reader.content(key.name).map_or("", |content| content.expose());
            one(Shown::SecretFile(path.clone()), &[path.as_os_str().as_encoded_bytes(), content.as_bytes()])
        }
        Raw::Headers(headers) => headers
            .iter()
            .map(|header| {
                let value = header.value.expose();
                let is_public = matches!(key.kind, Kind::Headers)
                    && super::header::name(&header.name).is_ok_and(|name| super::header::is_public(&name));
                Entry {
                    key,
                    header: Some(header.name.clone()),
                    shown: if is_public { Shown::Text(value.to_owned()) } else { Shown::Masked },
                    place: header.place.clone(),
                    fingerprint: Fingerprint::new(&[value.as_bytes()]),
                }
            })
            .collect(),
    }
}

fn shown_text(key: &Key, text: &str) -> Shown {
    match key.kind {
        Kind::Boolean | Kind::Count { .. } => Shown::Bare(text.to_owned()),
        // The text may have a password, or a key in the query.
        Kind::Url(_) if text.contains(['@', '?']) => Shown::Masked,
        _ => Shown::Text(text.to_owned()),
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// Each part is hashed with its length, so that different lists have different hashes.
    fn new(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}
