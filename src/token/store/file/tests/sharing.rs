//! Replicas that share a file are recognised by their hosts.

use super::super::super::Holder;
use super::*;

/// Takes the lease and gives it back.
async fn turn(store: &Store, owner: &str) {
    let taken = lease(store, owner, LONG).await;
    store.release(taken).await;
}

async fn sharer(store: &Store) -> Option<String> {
    store.look().await.unwrap().holder.unwrap().shared_with
}

#[tokio::test]
async fn hosts_that_take_turns_are_noted() {
    let (_folder, path) = folder();
    let (one, other) = (open(&path).await.unwrap(), open(&path).await.unwrap());
    let [a, same_host, b] = ["7-a@web-0", "8-c@web-0", "7-b@web-1"];
    turn(&one, a).await;
    // The successor of a pod that was replaced.
    turn(&other, b).await;
    assert_eq!(one.look().await.unwrap().holder, Some(Holder { owner: b.into(), shared_with: None }));
    turn(&one, a).await;
    assert_eq!(sharer(&one).await.as_deref(), Some(b));
    turn(&other, b).await;
    assert_eq!(sharer(&one).await.as_deref(), Some(a));

    // One that has no competitor any more.
    turn(&other, b).await;
    assert_eq!(sharer(&one).await, None);
    // A command, an older version, and a process of the same host share locks, or run once.
    for another in ["login-7", "8-c", same_host] {
        turn(&one, a).await;
        turn(&other, another).await;
        turn(&one, a).await;
        assert_eq!(sharer(&one).await, None, "{another}");
    }
}

#[tokio::test]
async fn a_claim_of_another_version_is_read() {
    let (_folder, path) = folder();
    let store = open(&path).await.unwrap();
    for claim in [
        r#"{"owner":"7-a","fence":5,"duration_ms":1}"#,
        r#"{"owner":"7-a","fence":5,"duration_ms":1,"shared_with":"7-b@x","newer":true}"#,
    ] {
        fs::write(beside(&path, ".lease"), claim).unwrap();
        assert_eq!(store.look().await.unwrap().holder.unwrap().owner, "7-a", "{claim}");
        assert_eq!(lease(&store, "7-b@web-1", LONG).await.fence, 6, "{claim}");
    }
}
