//! Where the grant is kept.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{computed, plain};
use crate::config::environment::Environment;
use crate::config::error::{Malformed, Place};
use crate::config::reader::Reader;
use crate::config::{StoreConfig, StoreKey, StoreKindConfig};

const DEFAULT_DIRECTORY: &str = "/var/lib/bearer-proxy";
const FILE_NAME: &str = "grant.json";

#[derive(Clone, Copy, PartialEq, Eq)]
enum StoreKind {
    File,
    Kubernetes,
    Memory,
    Postgres,
}

pub(super) fn read(reader: &mut Reader, environment: &Environment) -> Option<StoreConfig> {
    let grant_rotates = reader.text("oauth.grant") == Some("refresh_token");
    reader.preset("store.kind", Place::Default, computed(if grant_rotates { "file" } else { "memory" }));
    let kind = reader.choice("store.kind", StoreKind::from_name);
    if kind == Some(StoreKind::File) {
        let (path, place) = default_path(environment);
        reader.preset("store.path", place, computed(&path.to_string_lossy()));
    }
    if kind == Some(StoreKind::Postgres) {
        reader.preset("store.name", Place::Default, computed("default"));
    }
    let path = reader.parse("store.path", file_path);
    let store_name = reader.parse("store.name", name);
    let keys = reader.secrets("store.keys", key);
    let kind = match kind? {
        StoreKind::File => Some(StoreKindConfig::File { path: path? }),
        StoreKind::Kubernetes => {
            reader
                .reject("store.kind", "`kubernetes` is not in this version; use `file` on one machine, or `postgres`");
            None
        }
        StoreKind::Memory => {
            if grant_rotates {
                let why = "`memory` would lose the refresh token with the process, and with it the grant";
                reader.reject("store.kind", format!("{why}; use `file` or `postgres`"));
            }
            Some(StoreKindConfig::Memory)
        }
        StoreKind::Postgres => {
            if !cfg!(feature = "postgres") {
                reader.reject("store.kind", "this build has no `postgres` (the cargo feature `postgres`); use `file`");
            }
            if !reader.is_set("store.url") {
                reader.missing("store.url", "the connection URL of the store `postgres`");
            }
            let url = reader.secret("store.url", connection_url);
            Some(StoreKindConfig::Postgres { url: url?, name: store_name? })
        }
    };
    Some(StoreConfig { kind: kind?, keys: keys? })
}

/// systemd gives the unit's state directory in a variable, with several of them separated by colons (systemd.exec(5)).
fn default_path(environment: &Environment) -> (PathBuf, Place) {
    let variable = "STATE_DIRECTORY";
    let given = environment.get(variable).and_then(|value| value.to_str()).and_then(|value| value.split(':').next());
    match given {
        Some(directory) if !directory.is_empty() => {
            (Path::new(directory).join(FILE_NAME), Place::Environment(variable.to_owned()))
        }
        _ => (Path::new(DEFAULT_DIRECTORY).join(FILE_NAME), Place::Default),
    }
}

fn file_path(text: &str) -> Result<PathBuf, Malformed> {
    if text.ends_with('/') { Err("is a directory".into()) } else { Ok(PathBuf::from(text)) }
}

fn connection_url(text: &str) -> Result<(), Malformed> {
    let is_one = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_one { Ok(()) } else { Err("is no such URL".into()) }
}

fn name(text: &str) -> Result<String, Malformed> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_valid = (1..=128).contains(&text.len()) && text.bytes().all(is_plain);
    if is_valid { plain(text) } else { Err("is no such name".into()) }
}

fn key(text: &str) -> Result<StoreKey, Malformed> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| Malformed::from("has an item that is not base64"))?);
    let key: [u8; 32] =
        bytes.as_slice().try_into().map_err(|_| Malformed::from("has a key that is not of 32 bytes"))?;
    Ok(StoreKey(Zeroizing::new(key)))
}

// === impl StoreKind ===

impl StoreKind {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "file" => Some(Self::File),
            "kubernetes" => Some(Self::Kubernetes),
            "memory" => Some(Self::Memory),
            "postgres" => Some(Self::Postgres),
            _ => None,
        }
    }
}
