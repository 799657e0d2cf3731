//! Fuzzes the configuration. Any file and environment give either a configuration that can be printed and read again, or errors that name
//! the cause. Neither shows a secret.
//!
//! An input is a file; after a line `---`, the environment follows, one variable on each line. `DIR` stands for a directory with the files
//! `secret`, `keys`, `empty` and `blank`. `c4n4ry` stands for a secret. Where a secret is expected, it must not be shown.

use std::fs;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::key::{Key, Kind};
use super::keys::KEYS;
use super::{Config, Effective, Loaded, NoProxy, Place, Shown, Sources};

const CANARY: &str = "c4n4ry";
/// The contents of the files. No input contains these words.
const FILES: [(&str, &str); 4] = [
    ("secret", "f1l3-secret\n"),
    ("keys", "ZjFsMy1rZXlmMWwzLWtleWYxbDMta2V5ZjFsMy1rZXk=\n"),
    ("empty", "\n"),
    ("blank", " \n \n"),
];
const IN_FILES: [&str; 2] = ["f1l3", "ZjFsMy1r"];

pub fn config(folder: &Path, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if IN_FILES.iter().any(|word| text.contains(word)) || text.contains('\0') {
        return;
    }
    let text = text.replace("DIR", &folder.to_string_lossy());
    let (file, environment) = text.split_once("\n---\n").unwrap_or((&text, ""));
    let variables: Vec<(&str, &str)> = environment.lines().filter_map(|line| line.split_once('=')).collect();
    if names_other_files(file, &variables, folder) {
        return;
    }
    let loaded = load(folder, file, &variables);

    let mut said = Vec::new();
    match &loaded {
        Ok(loaded) => {
            said.extend([crate::cli::config::print(&loaded.effective), format!("{:?}", loaded.effective)]);
            said.extend(loaded.warnings.iter().map(ToString::to_string));
            let Config { upstream, outbound, store, .. } = &loaded.config;
            said.push(format!("{upstream:?} {outbound:?} {store:?}"));
            is_read_again(folder, loaded, &variables);
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            errors.0.iter().for_each(names_what_is_wrong);
            said.extend([errors.to_string(), format!("{errors:?}")]);
        }
    }
    let may_be_seen = is_public_in_file(file) || variables.iter().any(|(name, value)| is_public_variable(name, value));
    for text in said {
        assert!(may_be_seen || !text.contains(CANARY), "{text}");
        assert!(!IN_FILES.iter().any(|word| text.contains(word)), "{text}");
    }
}

fn load(folder: &Path, file: &str, variables: &[(&str, &str)]) -> Result<Loaded, super::Errors> {
    for (name, text) in FILES {
        let path = folder.join(name);
        assert!(path.exists() || fs::write(&path, text).is_ok(), "{} can't be written", path.display());
    }
    let path = folder.join("x.toml");
    assert!(fs::write(&path, file).is_ok(), "{} can't be written", path.display());
    Config::load(&Sources::new(Some(path), variables.iter().copied()))
}

/// The fuzzer must not read other files of the machine, or wait for a pipe.
fn names_other_files(file: &str, variables: &[(&str, &str)], folder: &Path) -> bool {
    let is_other = |path: &str| {
        !path.is_empty() && !FILES.iter().any(|(name, _)| folder.join(name).to_str() == Some(path)) && path != "/none"
    };
    let mut paths = Vec::new();
    if let Ok(table) = DeTable::parse(file) {
        walk(table.get_ref(), "", &mut |name, value| {
            if name.ends_with("_file") {
                paths.extend(value.as_str().map(str::to_owned));
            }
        });
    }
    paths.extend(variables.iter().filter(|(name, _)| name.ends_with("_FILE")).map(|(_, path)| (*path).to_owned()));
    paths.iter().any(|path| is_other(path))
}

/// Visits each key, with its section and its value.
fn walk(table: &DeTable<'_>, section: &str, visit: &mut impl FnMut(&str, &DeValue<'_>)) {
    for (name, value) in table {
        let name =
            if section.is_empty() { name.get_ref().to_string() } else { format!("{section}.{}", name.get_ref()) };
        visit(&name, value.get_ref());
        if let DeValue::Table(table) = value.get_ref() {
            walk(table, &name, visit);
        }
    }
}

/// Each error is one line. It begins with a key, a misspelled key, or the file.
fn names_what_is_wrong(error: &ConfigError) {
    let line = error.to_string();
    assert!(!line.contains(char::is_control), "{line:?}");
    match error {
        ConfigError::Unreadable { .. } | ConfigError::Syntax { .. } => assert!(line.starts_with("file "), "{line}"),
        ConfigError::Unknown { name, .. } => assert!(line.starts_with(&format!("{name} (")), "{line}"),
        ConfigError::Missing { key, .. } => assert!(KEYS.iter().any(|known| known.name == *key), "{line}"),
        ConfigError::Value { key, .. } | ConfigError::Rule { key, .. } | ConfigError::SecretFile { key, .. } => {
            let is_it = |known: &Key| {
                let rest = key.strip_prefix(known.name).unwrap_or("?");
                let of_headers = matches!(known.kind, Kind::Headers | Kind::Parameters) && rest.starts_with('.');
                rest.is_empty() || (rest == "_file" && known.kind.is_secret()) || of_headers || known.section() == key
            };
            assert!(line.starts_with(key.as_str()) && KEYS.iter().any(is_it), "{line}");
        }
    }
}

/// The output of `config` is the same configuration, if the file contained no secret.
fn is_read_again(folder: &Path, loaded: &Loaded, variables: &[(&str, &str)]) {
    let is_lost = |entry: &super::Entry| entry.shown == Shown::Masked && !matches!(entry.place, Place::Environment(_));
    if loaded.effective.entries().iter().any(is_lost) {
        return;
    }
    let printed = crate::cli::config::print(&loaded.effective);
    let again = load(folder, &printed, variables);
    let changes = |again: &Effective| loaded.effective.changes(again);
    match &again {
        Ok(again) => assert_eq!(changes(&again.effective), [], "{printed}"),
        Err(errors) => unreachable!("{errors}\n{printed}"),
    }
}

/// Whether the canary is in a name, or in a value that is not a secret.
fn is_public_in_file(file: &str) -> bool {
    let mut public = false;
    if let Ok(table) = DeTable::parse(file) {
        walk(table.get_ref(), "", &mut |name, value| public |= name.contains(CANARY) || is_public(name, value));
    }
    public
}

fn is_public(name: &str, value: &DeValue<'_>) -> bool {
    let holds = |value: &DeValue<'_>| texts(value).iter().any(|text| text.contains(CANARY));
    // This header is not a secret.
    if name.to_ascii_lowercase().ends_with(".headers.tenantregion") {
        return holds(value);
    }
    KEYS.iter().any(|key| match name.strip_prefix(key.name) {
        Some("") => {
            shows(key)
                && holds(value)
                && !(matches!(key.kind, Kind::Url(_)) && texts(value).iter().any(|text| hides(text)))
        }
        Some("_file") => key.kind.is_secret() && holds(value),
        _ => false,
    })
}

fn is_public_variable(name: &str, value: &str) -> bool {
    if name.contains(CANARY) {
        return true;
    }
    if name.eq_ignore_ascii_case("NO_PROXY") {
        // Every word that may be a host counts as one.
        return format!("{:?}", NoProxy::parse(value)).contains(CANARY);
    }
    if !value.contains(CANARY) {
        return false;
    }
    if name == "STATE_DIRECTORY" {
        return true;
    }
    if name.eq_ignore_ascii_case("HTTPS_PROXY") {
        return !hides(value);
    }
    KEYS.iter().any(|key| match name.strip_prefix(&key.variable()) {
        Some("") if matches!(key.kind, Kind::Headers) => is_public_table(value),
        // The names are shown, and the values never.
        Some("") if matches!(key.kind, Kind::Parameters) => names_of(value),
        Some("") => shows(key) && !(matches!(key.kind, Kind::Url(_)) && hides(value)),
        Some("_FILE") => key.kind.is_secret(),
        _ => false,
    })
}

fn is_public_table(value: &str) -> bool {
    let mut public = false;
    if let Ok(value) = DeValue::parse(value)
        && let DeValue::Table(table) = value.get_ref()
    {
        walk(table, "x.headers", &mut |name, value| public |= name.contains(CANARY) || is_public(name, value));
    }
    public
}

fn names_of(value: &str) -> bool {
    let mut named = false;
    if let Ok(value) = DeValue::parse(value)
        && let DeValue::Table(table) = value.get_ref()
    {
        walk(table, "x.parameters", &mut |name, _| named |= name.contains(CANARY));
    }
    named
}

fn shows(key: &Key) -> bool {
    !matches!(key.kind, Kind::Secret(_) | Kind::Secrets(_) | Kind::Digests(_) | Kind::Headers | Kind::Parameters)
}

/// Whether a URL may contain a password or a key.
fn hides(url: &str) -> bool {
    url.contains(['@', '?'])
}

fn texts(value: &DeValue<'_>) -> Vec<String> {
    match value {
        DeValue::String(text) => vec![text.to_string()],
        DeValue::Array(items) => items.iter().flat_map(|item| texts(item.get_ref())).collect(),
        _ => Vec::new(),
    }
}
