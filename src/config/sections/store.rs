//! Where the grant is stored.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::config::environment::Environment;
use crate::config::error::Place;
use crate::config::key::{choice, secret, secrets, text};
use crate::config::malformed::Malformed;
use crate::config::reader::Reader;
use crate::config::section::{choice, section};
use crate::config::value::Value;
use crate::secret::Secret;

use super::{computed, plain};

mod kubernetes;

const DEFAULT_DIRECTORY: &str = "/var/lib/bearer-proxy";
const FILE_NAME: &str = "grant.json";

section! {
    #[derive(Clone, Debug)]
    pub struct StoreConfig in "store." {
        /// Encryption at rest. The first key encrypts, starting with the next write; all keys decrypt.
        keys: Vec<StoreKey> = secrets("a list of 32-byte keys in base64").stores(&["file", "postgres", "kubernetes"]).restart().never_empty("the grant is stored in plaintext")
            => secrets(key);
    }
    with {
        kind: StoreKindConfig;
    }
    keys {
        /// Where the grant is stored. `memory` is not possible with `refresh_token`, `kubernetes` only in a pod.
        kind = choice(StoreKind::NAMES).computed("`file`; `memory` for the other grants").restart();
        /// File store: path of the grant file. Its directory must exist.
        path = text("a path").computed("`$STATE_DIRECTORY/grant.json`, else `/var/lib/bearer-proxy/grant.json`").stores(&["file"]).restart();
        /// PostgreSQL store: connection URL.
        url = secret("a `postgres://` or `postgresql://` URL").stores(&["postgres"]).restart();
        /// PostgreSQL store: name of the grant. Kubernetes store: name of its Secret and Lease.
        name = text("1 to 128 letters, digits, `.`, `_` and `-`").computed("`default`; `bearer-proxy` for `kubernetes`").stores(&["postgres", "kubernetes"]).restart();
        /// Kubernetes store: namespace of its Secret and Lease.
        namespace = text("the name of a namespace").computed("the pod's own").stores(&["kubernetes"]).restart();
    }
}

choice! {
    enum StoreKind {
        File = "file",
        Postgres = "postgres",
        Kubernetes = "kubernetes",
        Memory = "memory",
    }
}

#[derive(Clone, Debug)]
pub enum StoreKindConfig {
    File { path: PathBuf },
    Postgres { url: Secret, name: String },
    Kubernetes(ClusterConfig),
    Memory,
}

/// The cluster that this process runs in.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// `https://10.96.0.1:443`
    pub server: String,
    /// The directory of the service account.
    pub account: PathBuf,
    pub namespace: String,
    /// The name of the Secret and of the Lease.
    pub name: String,
}

/// 32 bytes that encrypt the stored grant.
#[derive(Clone)]
pub struct StoreKey(pub Zeroizing<[u8; 32]>);

pub(super) fn read(reader: &mut Reader, environment: &Environment) -> Option<StoreConfig> {
    let grant_rotates = reader.text("oauth.grant") == Some("refresh_token");
    reader.preset("store.kind", Place::Default, computed(if grant_rotates { "file" } else { "memory" }));
    let kind = StoreKind::read(reader, "store.kind");
    if kind == Some(StoreKind::File) {
        let (path, place) = default_path(environment);
        reader.preset("store.path", place, computed(&path.to_string_lossy()));
    }
    if kind == Some(StoreKind::Postgres) {
        reader.preset("store.name", Place::Default, computed("default"));
    }
    if kind == Some(StoreKind::Kubernetes) {
        kubernetes::presets(reader, environment);
    }
    let path = reader.parse("store.path", file_path);
    let names = if kind == Some(StoreKind::Kubernetes) { kubernetes::name } else { name };
    let store_name = reader.parse("store.name", names);
    let namespace = reader.parse("store.namespace", kubernetes::namespace);
    let url = reader.secret("store.url", connection_url);
    let kind = kind.and_then(|kind| match kind {
        StoreKind::File => Some(StoreKindConfig::File { path: path? }),
        StoreKind::Kubernetes => {
            let server = kubernetes::server(reader, environment);
            let account = kubernetes::account(environment);
            Some(StoreKindConfig::Kubernetes(ClusterConfig {
                server: server?,
                account,
                namespace: namespace?,
                name: store_name?,
            }))
        }
        StoreKind::Memory => {
            if grant_rotates {
                let why = "with `memory`, the end of the process would lose the grant";
                reader.reject("store.kind", format!("{why}: use `file` or `postgres`"));
            }
            Some(StoreKindConfig::Memory)
        }
        StoreKind::Postgres => {
            if !cfg!(feature = "postgres") {
                reader
                    .reject("store.kind", "this build does not have `postgres` (cargo feature `postgres`): use `file`");
            }
            if !reader.is_set("store.url") {
                reader.missing("store.url", "the connection URL of the store `postgres`");
            }
            Some(StoreKindConfig::Postgres { url: url?, name: store_name? })
        }
    });
    StoreConfig::read(reader, kind)
}

/// systemd names the unit's state directories in a variable, separated by colons (systemd.exec(5)).
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
    if text.ends_with('/') { Err("the path is a directory".into()) } else { Ok(PathBuf::from(text)) }
}

fn connection_url(text: &str) -> Result<(), Malformed> {
    let is_one = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_one { Ok(()) } else { Err(Malformed::INVALID) }
}

fn name(text: &str) -> Result<String, Malformed> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_valid = (1..=128).contains(&text.len()) && text.bytes().all(is_plain);
    if is_valid { plain(text) } else { Err(Malformed::INVALID) }
}

fn key(text: &str) -> Result<StoreKey, Malformed> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| Malformed::from("an item is not base64"))?);
    let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| Malformed::from("a key does not have 32 bytes"))?;
    Ok(StoreKey(Zeroizing::new(key)))
}

// === impl StoreKey ===

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(***)")
    }
}
