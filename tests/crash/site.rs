//! The place of a grant, for tests that run on each store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::kubernetes::{Account, Cluster};
use tokio_postgres::NoTls;

use crate::postgres::Postgres;
use crate::support::Setup;

/// The place of one grant.
#[derive(Clone)]
pub enum Site {
    File,
    Postgres {
        url: String,
        /// `store.name`.
        name: String,
    },
    Kubernetes {
        cluster: &'static Cluster,
        account: Arc<Account>,
    },
}

const SECRET: &str = "bearer-proxy";

impl Site {
    /// A namespace of the shared cluster. `None`: no API server to test with.
    pub async fn kubernetes() -> Option<Self> {
        Some(Self::in_cluster(Cluster::shared().await?).await)
    }

    /// A namespace with the rights of the documentation.
    pub async fn in_cluster(cluster: &'static Cluster) -> Self {
        let (secrets, leases) = (["secrets"], ["leases"]);
        let (core, coordination) = ([""], ["coordination.k8s.io"]);
        let rules = json!([
            { "apiGroups": core, "resources": secrets, "resourceNames": [SECRET], "verbs": ["get", "watch", "patch"] },
            { "apiGroups": core, "resources": secrets, "verbs": ["create"] },
            { "apiGroups": coordination, "resources": leases, "resourceNames": [SECRET], "verbs": ["get", "patch"] },
            { "apiGroups": coordination, "resources": leases, "verbs": ["create"] },
        ]);
        let namespace = cluster.namespace().await;
        Self::Kubernetes { cluster, account: Arc::new(cluster.account(&namespace, &rules).await) }
    }

    /// Whether a process waits for a dead holder's lease from when it first saw it, and not from when it was taken.
    pub fn waits_from_sight(&self) -> bool {
        matches!(self, Self::Kubernetes { .. })
    }

    pub fn postgres(server: &Postgres, name: impl ToString) -> Self {
        Self::Postgres { url: server.url(), name: name.to_string().replace(' ', "-") }
    }

    pub fn configure(&self, setup: Setup) -> Setup {
        match self {
            Self::File => setup,
            Self::Postgres { url, name } => setup
                .unset("STORE__PATH")
                .set("STORE__KIND", "postgres")
                .set("STORE__URL", url)
                .set("STORE__NAME", name),
            Self::Kubernetes { cluster, account } => setup
                .unset("STORE__PATH")
                .set("STORE__KIND", "kubernetes")
                .raw("KUBERNETES_SERVICE_HOST", "127.0.0.1")
                .raw("KUBERNETES_SERVICE_PORT", cluster.port())
                .raw("KUBERNETES_SERVICE_ACCOUNT_DIR", account.folder().display()),
        }
    }

    /// The stored document, read without the program. `None`: nothing was ever stored. A result that a killed process wrote and did not
    /// rename counts as stored, so the judge requires that the program stores it.
    pub async fn document(&self, setup: &Setup) -> Option<Value> {
        let text = match self {
            Self::File => {
                let text = std::fs::read_to_string(setup.store()).ok()?;
                unrenamed(&setup.store(), &text).unwrap_or(text)
            }
            Self::Postgres { url, name } => {
                let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
                tokio::spawn(connection);
                if client.query_one("SELECT to_regclass('bearer_proxy_grant') IS NULL", &[]).await.unwrap().get(0) {
                    return None;
                }
                let sql = "SELECT document FROM bearer_proxy_grant WHERE name = $1";
                client.query_opt(sql, &[name]).await.unwrap()?.get::<_, Option<String>>(0)?
            }
            Self::Kubernetes { cluster, account } => settled(cluster, account).await?,
        };
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {} bytes", text.len())))
    }
}

/// The document in the Secret. The API server may still complete the request of a process that has died, and no event tells of its end.
async fn settled(cluster: &Cluster, account: &Account) -> Option<String> {
    let path = format!("/api/v1/namespaces/{}/secrets/{SECRET}", account.namespace);
    let mut last = None;
    loop {
        let (status, secret) = cluster.call(Method::GET, &path, None).await;
        assert!([StatusCode::OK, StatusCode::NOT_FOUND].contains(&status), "{status}");
        let version = secret["metadata"]["resourceVersion"].clone();
        if last.as_ref() == Some(&version) {
            let document = BASE64_STANDARD.decode(secret["data"]["grant.json"].as_str()?).unwrap();
            return Some(String::from_utf8(document).unwrap());
        }
        last = Some(version);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The temporary document, if it is complete and holds the result of the call that this document announces.
fn unrenamed(store: &Path, document: &str) -> Option<String> {
    let text = std::fs::read_to_string(store.with_file_name("grant.json.tmp")).ok()?;
    let (document, temporary): (Value, Value) =
        (serde_json::from_str(document).ok()?, serde_json::from_str(&text).ok()?);
    let follows = document["intent"].is_object()
        && temporary["intent"].is_null()
        && temporary["generation"].as_u64() == document["generation"].as_u64().map(|generation| generation + 1);
    follows.then_some(text)
}
