//! Replicas that share one grant in the cluster.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use simulator::Simulator;
use testkit::kubernetes::{Account, Cluster};
use testkit::{Proxy, Setup};
use tokio::time::{Instant, timeout};

/// The replicas, and the account that all of them use.
pub struct Fleet {
    pub cluster: Cluster,
    pub account: Account,
    pub simulator: Simulator,
    pub setup: Setup,
    pub replicas: Vec<Proxy>,
}

/// `oauth.request_timeout`, and the length of a lease with it.
pub const CALL: Duration = Duration::from_secs(2);
pub const LEASE: Duration = Duration::from_secs(17);
/// The shortest life that the API server gives a token.
pub const TOKEN: Duration = Duration::from_secs(600);
/// Longer than a lease and the recovery from it.
const PATIENCE: Duration = Duration::from_secs(90);
const NAME: &str = "bearer-proxy";

// === impl Fleet ===

impl Fleet {
    /// `None`: no API server to test with.
    pub async fn start(simulator: Simulator, replicas: usize) -> Option<Self> {
        let cluster = Cluster::start().await?;
        let namespace = cluster.namespace().await;
        let (core, coordination) = ([""], ["coordination.k8s.io"]);
        let rules = json!([
            { "apiGroups": core, "resources": ["secrets"], "resourceNames": [NAME], "verbs": ["get", "watch", "patch"] },
            { "apiGroups": core, "resources": ["secrets"], "verbs": ["create"] },
            { "apiGroups": coordination, "resources": ["leases"], "resourceNames": [NAME], "verbs": ["get", "patch"] },
            { "apiGroups": coordination, "resources": ["leases"], "verbs": ["create"] },
        ]);
        let account = cluster.account(&namespace, &rules).await;
        cluster.renew_token(&account, TOKEN).await;
        let setup = Proxy::before(&simulator)
            .unset("STORE__PATH")
            .set("STORE__KIND", "kubernetes")
            .set("OAUTH__REQUEST_TIMEOUT", format!("{}s", CALL.as_secs()))
            .set("REFRESH__MAX_PER_HOUR", 100_000)
            .raw("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .raw("KUBERNETES_SERVICE_PORT", cluster.port())
            .raw("KUBERNETES_SERVICE_ACCOUNT_DIR", account.folder().display());
        let mut fleet = Self { cluster, account, simulator, setup, replicas: Vec::new() };
        for _ in 0..replicas {
            let replica = fleet.setup.again().start().await;
            replica.ready().await;
            fleet.replicas.push(replica);
        }
        Some(fleet)
    }

    /// Waits until every replica has the newest token, and the upstream accepts it. Returns its generation.
    pub async fn settle(&self) -> u64 {
        self.settle_or_lose().await.unwrap_or_else(|| panic!("the grant is lost:\n{}", self.log()))
    }

    /// The same. `None`: the grant was lost between the server's commit and ours.
    pub async fn settle_or_lose(&self) -> Option<u64> {
        let settled = async {
            loop {
                let all = join_all(self.replicas.iter().map(Proxy::status)).await;
                let generation = all[0]["generation"].as_u64().unwrap();
                if all.iter().any(|status| status["state"] == "needs_login") {
                    return None;
                }
                let is_valid = |status: &Value| status["state"] == "valid" && status["persisted"] == true;
                if all.iter().all(|status| is_valid(status) && status["generation"] == generation)
                    && self.stored_generation().await == Some(generation)
                {
                    let answers = join_all(self.replicas.iter().map(|replica| replica.get("/api/v2/version"))).await;
                    if answers.iter().all(|answer| answer.status == StatusCode::OK)
                        && join_all(self.replicas.iter().map(Proxy::status)).await[0]["generation"] == generation
                    {
                        return Some(generation);
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match timeout(PATIENCE, settled).await {
            Ok(generation) => generation,
            Err(_) => panic!("not settled:\n{}", self.log()),
        }
    }

    /// The path of the Secret.
    pub fn secret(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{NAME}", self.account.namespace)
    }

    pub async fn stored_generation(&self) -> Option<u64> {
        let (_, secret) = self.cluster.call(Method::GET, &self.secret(), None).await;
        let document = BASE64_STANDARD.decode(secret["data"]["grant.json"].as_str()?).unwrap();
        serde_json::from_slice::<Value>(&document).unwrap()["generation"].as_u64()
    }

    /// Waits for this generation in the Secret. Returns the time.
    pub async fn until_stored(&self, generation: u64) -> Duration {
        let began = Instant::now();
        while self.stored_generation().await != Some(generation) {
            assert!(began.elapsed() < PATIENCE, "never stored again:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    /// The logs of the replicas, without the requests.
    pub fn log(&self) -> String {
        let mut lines: Vec<String> = self.replicas.iter().flat_map(Proxy::log).collect();
        lines.retain(|line| !line.contains("proxy::observe"));
        lines.sort();
        lines.join("\n")
    }
}
