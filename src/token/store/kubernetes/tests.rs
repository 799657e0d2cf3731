//! What only a cluster can do to the store. `src/token/store/tests` asks for the promises of every store.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde_json::{Value, json};
use testkit::kubernetes::{Account, Cluster};

use crate::config::{ClusterConfig, StoreConfig, StoreKindConfig};
use crate::token::store::Store;

mod faults;
mod rights;
mod tampering;

/// A namespace with a service account. Its grant has the default name.
pub(in crate::token::store) struct Place {
    pub(super) cluster: &'static Cluster,
    pub(super) account: Account,
}

const NAME: &str = "bearer-proxy";

/// The rules of the documentation.
pub(super) fn rules() -> Value {
    json!([
        { "apiGroups": [""], "resources": ["secrets"], "resourceNames": [NAME], "verbs": ["get", "watch", "patch"] },
        {
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [NAME], "verbs": ["get", "patch"],
        },
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"] },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] },
    ])
}

// === impl Place ===

impl Place {
    /// `None`: no API server to test with.
    pub(in crate::token::store) async fn new() -> Option<Self> {
        let cluster = Cluster::shared().await?;
        let namespace = cluster.namespace().await;
        let account = cluster.account(&namespace, &rules()).await;
        Some(Self { cluster, account })
    }

    pub(in crate::token::store) fn config(&self) -> ClusterConfig {
        ClusterConfig {
            server: format!("https://127.0.0.1:{}", self.cluster.port()),
            account: self.account.folder().to_owned(),
            namespace: self.account.namespace.clone(),
            name: NAME.to_owned(),
        }
    }

    pub(super) async fn store(&self) -> Store {
        let config = StoreConfig { kind: StoreKindConfig::Kubernetes(self.config()), keys: Vec::new() };
        Store::open(&config, None).await.unwrap()
    }

    pub(super) fn secret(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{NAME}", self.account.namespace)
    }

    pub(super) fn lease(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{NAME}", self.account.namespace)
    }

    /// The data of the Secret as text.
    pub(in crate::token::store) async fn data(&self) -> BTreeMap<String, String> {
        let secret = self.cluster.must(Method::GET, &self.secret(), None).await;
        let text = |value: &Value| String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
        secret["data"].as_object().unwrap().iter().map(|(key, value)| (key.clone(), text(value))).collect()
    }

    /// Changes the metadata or another field of the Secret.
    pub(super) async fn patch(&self, patch: Value) {
        self.cluster.must(Method::PATCH, &self.secret(), Some(&patch)).await;
    }

    /// Adds a label to the Secret.
    pub(super) async fn touch(&self) {
        self.patch(json!({ "metadata": { "labels": { "changed": "yes" } } })).await;
    }

    pub(super) async fn delete(&self) {
        self.cluster.must(Method::DELETE, &self.secret(), None).await;
    }

    /// Replaces the document.
    pub(in crate::token::store) async fn put(&self, text: &str) {
        self.patch(json!({ "data": { "grant.json": BASE64_STANDARD.encode(text) } })).await;
    }
}
