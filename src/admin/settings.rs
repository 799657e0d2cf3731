//! The configuration that the responses show or act on. A reload replaces it.

use std::sync::Arc;

use serde::Serialize;

use crate::config::{Config, Effective, Entry, Shown};
use crate::secret::Secret;

#[derive(Clone, Debug)]
pub struct Settings {
    pub config: Arc<Config>,
    pub effective: Effective,
}

/// One value of `GET /config`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Value {
    key: String,
    value: String,
    source: String,
}

// === impl Settings ===

impl Settings {
    /// The key that every request must carry.
    pub(super) fn key(&self) -> Option<&Secret> {
        self.config.admin.as_ref()?.key.as_ref()
    }

    /// Every value, with secrets masked.
    pub(super) fn values(&self) -> Vec<Value> {
        self.effective.entries().iter().map(Value::from).collect()
    }
}

// === impl Value ===

impl From<&Entry> for Value {
    fn from(entry: &Entry) -> Self {
        let mut key = entry.key.name.to_owned();
        if let Some(header) = &entry.header {
            key = format!("{key}.{header}");
        }
        let value = match &entry.shown {
            Shown::Bare(value) | Shown::Text(value) => value.clone(),
            Shown::List(items) => items.join(", "),
            Shown::SecretFile(path) => {
                key += "_file";
                path.display().to_string()
            }
            Shown::Masked => "***".to_owned(),
        };
        Self { key, value, source: entry.place.to_string() }
    }
}

#[cfg(test)]
impl Settings {
    /// The defaults, with this key.
    pub(crate) fn of_tests(key: Option<&str>) -> Self {
        let mut variables =
            vec![("BEARER_PROXY_OAUTH__CLIENT_ID", "7"), ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "canary-secret")];
        variables.extend(key.map(|key| ("BEARER_PROXY_ADMIN__KEY", key)));
        let loaded = Config::load(&crate::config::Sources::new(None, variables)).unwrap();
        Self { config: Arc::new(loaded.config), effective: loaded.effective }
    }
}
