use std::path::Path;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::config::{StoreConfig, StoreKindConfig};
use crate::token::store::{Intent, Lease};
use crate::token::{AccessToken, Generation};

const PATIENCE: Duration = Duration::from_secs(60);

fn binding(upstream: &str) -> Binding {
    Binding { token_url: "https://as.test/token".into(), client_id: "7".into(), upstream_origin: upstream.into() }
}

fn ours() -> Binding {
    binding("https://api.test")
}

fn access(token: &str) -> Access {
    Access { token: AccessToken::parse(token).unwrap(), obtained_at: Timestamp::UNIX_EPOCH, expires_at: None }
}

fn grant(refresh: &str, with: Option<&str>) -> NewGrant {
    NewGrant {
        lineage: Lineage::random().unwrap(),
        refresh: RefreshToken::parse(refresh).unwrap(),
        access: with.map(access),
        awaited: true,
    }
}

/// Generation 3, refused, with the intent of an ambiguous call.
fn spent() -> Record {
    let refresh = RefreshToken::parse("old").unwrap();
    let fingerprint = refresh.fingerprint();
    Record {
        generation: Generation(3),
        access: Some(access("old-access")),
        refresh: Some(refresh),
        intent: Some(Intent { owner: "peer".into(), at: Timestamp::UNIX_EPOCH, fingerprint, presented: 2 }),
        needs_login: Some("refused".into()),
        tried_initial: vec![fingerprint],
        ..Record::empty(ours())
    }
}

async fn open(path: &Path) -> Store {
    let kind = StoreKindConfig::File { path: path.to_owned() };
    Store::open(&StoreConfig { kind, keys: Vec::new() }, None).await.unwrap()
}

async fn folder() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("grant.json")).await;
    (folder, store)
}

async fn held(store: &Store) -> Lease {
    match store.lease("refresher", PATIENCE).await.unwrap() {
        Leased::Held(lease) => lease,
        Leased::Busy { .. } => panic!("busy"),
    }
}

#[test]
fn a_pair_replaces_the_stored_grant() {
    let other = Record { binding: binding("https://other.test"), ..spent() };
    for (stored, generation) in [(None, 1), (Some(spent()), 4), (Some(other), 4)] {
        let taken = stored.as_ref().map(|record| record.tried_initial.clone()).unwrap_or_default();
        let before = stored.as_ref().map_or(Record::empty(ours()).lineage, |record| record.lineage);
        let given = grant("new", Some("new-access"));
        let record = given.after(stored, &ours());
        assert_eq!((record.lineage, record.replaced), (given.lineage, vec![before]));
        assert_eq!(record.generation, Generation(generation));
        assert_eq!(record.access, Some(access("new-access")));
        assert_eq!(record.refresh, Some(RefreshToken::parse("new").unwrap()));
        assert_eq!(record.binding, ours());
        assert_eq!((record.intent, record.needs_login, record.tried_initial), (None, None, taken));
        assert_eq!(record.candidate, None);
    }
}

#[test]
fn a_bare_token_leaves_the_stored_grant_as_it_is() {
    let other = Record { binding: binding("https://other.test"), ..spent() };
    let candidate = Candidate::new(RefreshToken::parse("new").unwrap(), ours(), true);
    for stored in [None, Some(spent()), Some(other)] {
        let record = grant("new", None).after(stored.clone(), &ours());
        let before = stored.unwrap_or_else(|| Record::empty(ours()));
        assert_eq!(record, Record { candidate: Some(candidate.clone()), ..before });
    }
    // A second import of a possibly spent token keeps its intent. A settled one becomes a new candidate.
    let intent = Intent { presented: 1, fingerprint: candidate.fingerprint, ..spent().intent.unwrap() };
    let unclear = Candidate { intent: Some(intent), ..candidate.clone() };
    for (present, expected) in [
        (unclear.clone(), &unclear.clone()),
        (unclear.settled(crate::token::RefreshOutcome::Ambiguous, None), &candidate),
    ] {
        let stored = Record { candidate: Some(present), ..spent() };
        assert_eq!(grant("new", None).after(Some(stored), &ours()).candidate.as_ref(), Some(expected));
    }
}

#[tokio::test]
async fn a_grant_is_stored_where_there_was_none_and_where_there_was_one() {
    let (_folder, store) = folder().await;
    for (token, generation) in [("first", 1), ("second", 2)] {
        let stored = grant(token, Some("a")).store(&store, &ours(), Damaged::Leave, PATIENCE).await.unwrap();
        assert_eq!(stored.generation, Generation(generation));
        assert_eq!(store.load().await.unwrap(), Some(stored));
    }
    // The lease was released.
    held(&store).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_in_flight_is_waited_for_and_its_commit_is_not_lost() {
    let (folder, store) = folder().await;
    grant("first", Some("a")).store(&store, &ours(), Damaged::Leave, PATIENCE).await.unwrap();
    let lease = held(&store).await;

    let peer = open(&folder.path().join("grant.json")).await;
    let import =
        tokio::spawn(
            async move { grant("imported", None).store(&peer, &ours(), Damaged::Leave, PATIENCE).await.unwrap() },
        );
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!import.is_finished());
    let before = store.load().await.unwrap().unwrap();
    let renewed = Record { generation: Generation(2), access: Some(access("b")), ..before.clone() };
    let expect = Expect { version: Some(before.version()), fence: None };
    assert!(matches!(store.write(expect, &renewed).await.unwrap(), Written::Done));
    store.release(lease).await;

    let stored = import.await.unwrap();
    assert_eq!((stored.generation, stored.access), (Generation(2), Some(access("b"))));
    assert_eq!(stored.candidate.unwrap().token, Some(RefreshToken::parse("imported").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_never_free_is_given_up_on() {
    let (folder, store) = folder().await;
    let _lease = held(&store).await;
    let peer = open(&folder.path().join("grant.json")).await;
    let refused = grant("new", None).store(&peer, &ours(), Damaged::Leave, Duration::from_secs(20)).await;
    assert!(matches!(refused, Err(NotStored::Busy(_))), "{refused:?}");
    assert_eq!(store.load().await.unwrap(), None);
}

#[tokio::test]
async fn a_damaged_document_is_replaced_only_when_asked_to() {
    let (folder, store) = folder().await;
    let path = folder.path().join("grant.json");
    std::fs::write(&path, "half a docu").unwrap();
    let refused = grant("new", None).store(&store, &ours(), Damaged::Leave, PATIENCE).await;
    assert!(matches!(refused, Err(NotStored::Store(StoreError::Damaged(_)))), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a docu");

    let stored = grant("new", None).store(&store, &ours(), Damaged::Replace, PATIENCE).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Some(stored));
}
