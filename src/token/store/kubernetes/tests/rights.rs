//! RBAC as the documentation has it: each verb is needed, the missing one is named, and nothing else is ever asked for.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{NAME, Place, rules};
use crate::token::store::tests::{NOTHING, expecting, grant, held, write};
use crate::token::store::{Leased, Store, StoreError};

const LONG: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// The documented rules without one verb of a resource.
fn without(resource: &str, verb: &str) -> Value {
    let mut rules = rules();
    for rule in rules.as_array_mut().unwrap() {
        if rule["resources"][0] == resource {
            rule["verbs"].as_array_mut().unwrap().retain(|present| present != verb);
        }
    }
    rules.as_array_mut().unwrap().retain(|rule| !rule["verbs"].as_array().unwrap().is_empty());
    rules
}

fn forbidden<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Unavailable(text)) if text.contains("RBAC forbids") => text,
        other => panic!("not forbidden: {other:?}"),
    }
}

/// RBAC reads its rules from a cache, so a change takes a moment.
async fn until_forbidden(store: &Store, verb: &str, plural: &str) -> String {
    let named = async {
        loop {
            let look = store.look().await;
            let rules = look.map(|look| look.cluster.unwrap().forbidden).unwrap_or_default();
            if let Some(rule) = rules.into_iter().find(|rule| rule.contains(&format!("`{verb}` of {plural}/"))) {
                return rule;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, named).await.expect("a named rule")
}

async fn until_allowed(store: &Store) {
    let allowed = async {
        while store.look().await.unwrap().cluster.unwrap().forbidden != [""; 0] {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, allowed).await.expect("the documented rules are enough");
}

#[tokio::test]
async fn each_missing_verb_is_named_by_the_operation_and_by_the_diagnosis() {
    let Some(place) = Place::new().await else { return };
    let store = place.store().await;
    until_allowed(&store).await;
    let present = grant(1, "one");
    write(&store, NOTHING, &present).await;
    store.release(held(store.lease("one", LONG).await.unwrap())).await;
    for (resource, verb) in
        [("secrets", "get"), ("secrets", "watch"), ("secrets", "patch"), ("leases", "get"), ("leases", "patch")]
    {
        place.cluster.grant(&place.account, &without(resource, verb)).await;
        let rule = until_forbidden(&store, verb, resource).await;
        assert!(rule.contains(&format!("add the verb `{verb}` of {resource}")), "{rule}");
        let store = place.store().await;
        let error = match (resource, verb) {
            ("secrets", "get") => forbidden(store.load().await),
            ("secrets", "patch") => forbidden(store.write(expecting(&present), &grant(2, "two")).await),
            ("leases", _) => forbidden(store.lease("one", LONG).await),
            _ => {
                // The first call reads. Then changes are still noticed, by further reads.
                timeout(LONG, store.changed()).await.unwrap();
                let (noticed, ()) = tokio::join!(timeout(LONG, store.changed()), place.touch());
                noticed.expect("a read notices it");
                continue;
            }
        };
        assert!(error.contains(&format!("`{verb}` of {resource}/{NAME}")), "{error}");
        place.cluster.grant(&place.account, &rules()).await;
        until_allowed(&store).await;
    }
}

#[tokio::test]
async fn create_is_needed_only_where_the_objects_do_not_exist() {
    let Some(place) = Place::new().await else { return };
    let named = |resource| without(resource, "create");
    let mut rules = named("secrets");
    rules.as_array_mut().unwrap().retain(|rule| rule["verbs"][0] != "create");
    place.cluster.grant(&place.account, &rules).await;
    let store = place.store().await;
    let rule = until_forbidden(&store, "create", "secrets").await;
    assert!(rule.contains("kubectl create secret generic bearer-proxy"), "{rule}");
    let error = forbidden(store.write(NOTHING, &grant(1, "one")).await);
    assert!(error.contains("kubectl create secret generic bearer-proxy"), "{error}");
    assert!(forbidden(store.lease("one", LONG).await).contains("create a Lease of that name"));

    // An operator makes them, empty.
    let namespace = &place.account.namespace;
    let metadata = json!({ "name": NAME });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata });
    place.cluster.must(Method::POST, &format!("/api/v1/namespaces/{namespace}/secrets"), Some(&secret)).await;
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata });
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    place.cluster.must(Method::POST, &leases, Some(&lease)).await;
    until_allowed(&store).await;
    assert_eq!(store.load().await.unwrap(), None, "an empty Secret holds no grant");
    let lease = held(store.lease("one", LONG).await.unwrap());
    write(&store, NOTHING, &grant(1, "one")).await;
    store.release(lease).await;
}

/// Everything that the store does, and the audit log of the API server.
#[tokio::test]
async fn no_request_goes_beyond_the_documented_role() {
    let Some(place) = Place::new().await else { return };
    let (store, peer) = (place.store().await, place.store().await);
    until_allowed(&store).await;
    let present = grant(1, "one");
    write(&store, NOTHING, &present).await;
    let lease = held(store.lease("one", LONG).await.unwrap());
    assert!(matches!(peer.lease("other", LONG).await.unwrap(), Leased::Busy { .. }));
    peer.changed().await;
    let next = grant(2, "two");
    let (changed, ()) = tokio::join!(timeout(5 * SECOND, peer.changed()), write(&store, expecting(&present), &next));
    changed.unwrap();
    peer.load().await.unwrap();
    store.release(lease).await;
    store.seal().await.unwrap();
    place.put("damaged").await;
    store.replace_damaged(&grant(3, "three")).await.unwrap();
    store.look().await.unwrap();

    let requests = place.cluster.audited(&place.account);
    assert!(requests.len() > 10, "{}", requests.len());
    for request in requests {
        let (verb, resource) = (request["verb"].as_str().unwrap(), request["objectRef"]["resource"].as_str().unwrap());
        let uri = request["requestURI"].as_str().unwrap();
        let allowed: &[&str] =
            if resource == "secrets" { &["get", "watch", "patch", "create"] } else { &["get", "patch", "create"] };
        assert!(["secrets", "leases"].contains(&resource) && allowed.contains(&verb), "{verb} {uri}");
        let named = request["objectRef"]["name"] == NAME || uri.contains("fieldSelector=metadata.name%3Dbearer-proxy&");
        assert!(named || verb == "create", "{verb} {uri}");
    }
}
