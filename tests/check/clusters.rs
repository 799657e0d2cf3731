//! Faults of the Kubernetes store.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use testkit::kubernetes::Cluster;
use testkit::{Proxy, Setup};

use crate::checked::{Checked, league, small};

fn in_cluster(setup: Setup, port: u16, account: &Path) -> Setup {
    setup
        .unset("STORE__PATH")
        .set("STORE__KIND", "kubernetes")
        .raw("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .raw("KUBERNETES_SERVICE_PORT", port)
        .raw("KUBERNETES_SERVICE_ACCOUNT_DIR", account.display())
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_is_found() {
    let simulator = league().await;
    let setup = small(Proxy::before(&simulator));
    let account = setup.folder().join("account");
    std::fs::create_dir(&account).unwrap();
    std::fs::write(account.join("namespace"), "shop").unwrap();
    std::fs::write(account.join("token"), "canary").unwrap();
    std::fs::copy(testkit::authority::Authority::new().ca_file(), account.join("ca.crt")).unwrap();
    let setup = in_cluster(setup, 9, &account);
    let checked = Checked::before(&simulator, &setup, &["--offline"]).await;
    checked.finds("store-cluster-unreachable", 1);
    assert!(checked.because_of("store-cluster-unreachable").contains(&"grant-absent"), "{:#}", checked.document);
    assert!(!checked.document.to_string().contains("canary"));
}

#[tokio::test]
async fn a_missing_rule_and_a_secret_that_cannot_be_used_are_found() {
    let Some(cluster) = Cluster::shared().await else { return };
    let simulator = league().await;
    let rules = |verbs: &[&str]| {
        json!([
            { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["bearer-proxy"], "verbs": verbs },
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "patch", "create"] },
        ])
    };
    let namespace = cluster.namespace().await;
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    let secret = |more: Value| {
        let mut secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "bearer-proxy" } });
        secret.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        secret
    };
    cluster.must(Method::POST, &secrets, Some(&secret(json!({})))).await;
    let check = async |verbs: &[&str]| {
        let account = cluster.account(&namespace, &rules(verbs)).await;
        let setup = in_cluster(small(Proxy::before(&simulator)), cluster.port(), account.folder());
        // RBAC reads a new role from a cache.
        for _ in 0..100 {
            let checked = Checked::before(&simulator, &setup, &["--offline"]).await;
            let detail = checked.check("store-cluster-forbidden")["detail"].to_string();
            if !detail.contains("`get`") && verbs.iter().all(|verb| !detail.contains(&format!("`{verb}`"))) {
                return checked;
            }
        }
        panic!("the account never gets {verbs:?}");
    };
    let checked = check(&["get", "watch"]).await;
    checked.finds("store-cluster-forbidden", 1);
    let detail = checked.check("store-cluster-forbidden")["detail"].to_string();
    assert!(detail.contains("`patch` of secrets/bearer-proxy in the namespace"), "{detail}");

    let all = ["get", "watch", "patch"];
    let owned = json!({ "metadata": { "annotations": { "meta.helm.sh/release-name": "shop" } } });
    let path = format!("{secrets}/bearer-proxy");
    cluster.must(Method::PATCH, &path, Some(&owned)).await;
    check(&all).await.finds("store-cluster-foreign-owner", 0);
    cluster.must(Method::DELETE, &path, None).await;
    cluster.must(Method::POST, &secrets, Some(&secret(json!({ "immutable": true })))).await;
    check(&all).await.finds("store-cluster-immutable", 1);
}
