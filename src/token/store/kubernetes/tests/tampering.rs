//! What people and other tools do to the two objects.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::timeout;

use super::Place;
use crate::token::store::tests::{NOTHING, expecting, grant, held, lease, write};
use crate::token::store::{Expect, Leased, StoreError, Written};

const LONG: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn labels_and_annotations_of_others_stay() {
    let Some(place) = Place::new().await else { return };
    let store = place.store().await;
    write(&store, NOTHING, &grant(1, "one")).await;
    let foreign = json!({
        "metadata": { "labels": { "team": "shop" }, "annotations": { "note": "ours" } },
        "data": { "other": "eA==" },
    });
    place.patch(foreign).await;
    write(&store, expecting(&grant(1, "one")), &grant(2, "two")).await;
    let secret = place.cluster.must(Method::GET, &place.secret(), None).await;
    assert_eq!(secret["metadata"]["labels"]["team"], "shop");
    assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "bearer-proxy");
    assert_eq!(
        (&secret["metadata"]["annotations"]["note"], &secret["data"]["other"]),
        (&json!("ours"), &json!("eA=="))
    );
}

#[tokio::test]
async fn an_immutable_secret_is_named_with_the_fix() {
    let Some(place) = Place::new().await else { return };
    let store = place.store().await;
    write(&store, NOTHING, &grant(1, "one")).await;
    place.patch(json!({ "immutable": true })).await;
    for store in [store, place.store().await] {
        let error = store.write(expecting(&grant(1, "one")), &grant(2, "two")).await.unwrap_err();
        let StoreError::Unavailable(text) = &error else { panic!("{error:?}") };
        assert!(text.contains("immutable"), "{text}");
        assert!(store.look().await.unwrap().cluster.unwrap().immutable);
    }
    place.delete().await;
    let store = place.store().await;
    write(&store, NOTHING, &grant(2, "two")).await;
}

#[tokio::test]
async fn a_secret_that_another_tool_owns_is_found() {
    let Some(place) = Place::new().await else { return };
    let store = place.store().await;
    write(&store, NOTHING, &grant(1, "one")).await;
    let owner = async || store.look().await.unwrap().cluster.unwrap().foreign_owner;
    assert_eq!(owner().await, None);
    for (metadata, tool) in [
        (json!({ "annotations": { "meta.helm.sh/release-name": "shop" } }), "Helm"),
        (json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "shop" } }), "Flux"),
        (json!({ "annotations": { "argocd.argoproj.io/tracking-id": "shop:/Secret:shop/x" } }), "Argo CD"),
    ] {
        place.patch(json!({ "metadata": metadata })).await;
        assert_eq!(owner().await.as_deref(), Some(tool));
    }
}

/// The store reports what it finds. The refresher, which knows the newest grant, stores that again.
#[tokio::test]
async fn a_secret_that_is_deleted_or_restored_from_an_old_copy_is_noticed_within_a_second() {
    let Some(place) = Place::new().await else { return };
    let (store, watcher) = (place.store().await, place.store().await);
    write(&store, NOTHING, &grant(1, "one")).await;
    let old = place.cluster.must(Method::GET, &place.secret(), None).await;
    write(&store, expecting(&grant(1, "one")), &grant(2, "two")).await;
    watcher.changed().await;
    assert_eq!(watcher.load().await.unwrap(), Some(grant(2, "two")));

    let (noticed, ()) = tokio::join!(timeout(SECOND, watcher.changed()), place.delete());
    noticed.expect("the deletion");
    assert_eq!(watcher.load().await.unwrap(), None);

    let mut copy = json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": old["data"] });
    copy["metadata"] = json!({ "name": old["metadata"]["name"], "annotations": old["metadata"]["annotations"] });
    let path = place.secret();
    let (secrets, _) = path.rsplit_once('/').unwrap();
    let noticed = timeout(SECOND, watcher.changed());
    let (noticed, _) = tokio::join!(noticed, place.cluster.must(Method::POST, secrets, Some(&copy)));
    noticed.expect("the old copy");
    assert_eq!(watcher.load().await.unwrap(), Some(grant(1, "one")));
    // A write over the old copy, and one over an older version of the object.
    let written = store.write(expecting(&grant(2, "two")), &grant(3, "three")).await.unwrap();
    assert!(matches!(&written, Written::Superseded(Some(present)) if **present == grant(1, "one")), "{written:?}");
    write(&store, expecting(&grant(1, "one")), &grant(2, "two")).await;
}

/// The holder may still be calling. So the next one waits for the duration of a lease, although nothing tells of a holder.
#[tokio::test]
async fn a_lease_that_is_deleted_while_it_is_held_is_waited_for() {
    let Some(place) = Place::new().await else { return };
    let (holder, taker) = (place.store().await, place.store().await);
    write(&holder, NOTHING, &grant(1, "one")).await;
    let first = held(holder.lease("holder", LONG).await.unwrap());
    let intent = Expect { fence: Some(first.fence), ..expecting(&grant(1, "one")) };
    write(&holder, intent, &grant(1, "one")).await;
    place.cluster.must(Method::DELETE, &place.lease(), None).await;

    let duration = 2 * SECOND;
    let leased = taker.lease("taker", duration).await.unwrap();
    assert!(matches!(leased, Leased::Busy { .. }), "{leased:?}");
    let began = tokio::time::Instant::now();
    let second = timeout(LONG, lease(&taker, "taker", duration)).await.unwrap();
    assert!(began.elapsed() >= duration - SECOND / 2, "{:?}", began.elapsed());
    assert!(second.fence > first.fence);
    let written = holder.write(intent, &grant(2, "two")).await.unwrap();
    assert!(matches!(written, Written::Fenced), "the Secret names the newer lease: {written:?}");
    holder.release(first).await;
    let leased = holder.lease("holder", LONG).await.unwrap();
    assert!(matches!(leased, Leased::Busy { .. }), "it gave back what was not its own: {leased:?}");
    taker.release(second).await;
}

/// A person adds a label to the Lease while it is held.
#[tokio::test]
async fn a_lease_that_somebody_touched_is_still_given_back() {
    let Some(place) = Place::new().await else { return };
    let (one, other) = (place.store().await, place.store().await);
    let lease = held(one.lease("one", LONG).await.unwrap());
    let label = json!({ "metadata": { "labels": { "touched": "yes" } } });
    place.cluster.must(Method::PATCH, &place.lease(), Some(&label)).await;
    one.release(lease).await;
    held(other.lease("other", LONG).await.unwrap());
}

#[tokio::test]
async fn a_lease_whose_task_has_ended_is_taken_back_by_its_process_alone() {
    let Some(place) = Place::new().await else { return };
    let (store, other) = (place.store().await, place.store().await);
    let first = held(store.lease("one", LONG).await.unwrap());
    let fence = first.fence;
    drop(first);
    let leased = other.lease("one", LONG).await.unwrap();
    assert!(matches!(leased, Leased::Busy { .. }), "another process cannot know: {leased:?}");
    let again = held(store.lease("one", LONG).await.unwrap());
    assert!(again.fence > fence);
    store.release(again).await;
}
