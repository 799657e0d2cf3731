use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::super::state_dir::StateDir;
use super::super::tests::{beside, folder, names, open};
use super::*;
use crate::config::{StoreConfig, StoreKey, StoreKindConfig};
use crate::token::store::document::{encode, tests::sealer};
use crate::token::store::tests::{expecting, grant, held};
use crate::token::store::{Binding, Intent, Sealing, Store, Written};
use crate::token::{Generation, Lineage};

const LONG: Duration = Duration::from_secs(60);

fn lineage(number: u8) -> Lineage {
    Lineage::try_from(format!("{number:032x}")).unwrap()
}

fn token(text: &str) -> RefreshToken {
    RefreshToken::parse(text).unwrap()
}

fn intent(presented: &str) -> Option<Intent> {
    let fingerprint = token(presented).fingerprint();
    Some(Intent { owner: "killed".into(), at: jiff::Timestamp::UNIX_EPOCH, fingerprint, presented: 1 })
}

/// The grant's own token was announced.
fn announced() -> Record {
    Record { intent: intent("old"), ..grant(3, "old") }
}

fn successor() -> Record {
    grant(4, "new")
}

#[test]
fn only_the_outcome_of_the_announced_call_is_adopted() {
    let of = |number, record: Record| Record { lineage: lineage(number), ..record };
    let replacing = |record: Record| Record { replaced: record.replaced_by(lineage(9)), ..of(9, record) };
    let dead = |record: Record| Record { needs_login: Some("refused".into()), ..record };
    let elsewhere = |record: Record| {
        let binding = Binding { token_url: "https://other.example/token".into(), ..record.binding.clone() };
        Record { binding, ..record }
    };

    let waiting = Candidate::new(token("candidate"), grant(3, "old").binding, true);
    let presented = Candidate { intent: intent("candidate"), ..waiting.clone() };
    let beside = |candidate: &Candidate| Record { candidate: Some(candidate.clone()), ..grant(3, "old") };
    let settled =
        |outcome| replacing(Record { candidate: Some(waiting.clone().settled(outcome, None)), ..successor() });
    let other = Candidate::new(token("other"), waiting.binding.clone(), true).settled(RefreshOutcome::Ok, None);

    let initial = Record { intent: intent("initial"), ..grant(3, "old") };
    let first = Record { generation: Generation(0), refresh: None, access: None, ..initial.clone() };
    let took = |record: Record| Record { tried_initial: vec![token("initial").fingerprint()], ..replacing(record) };

    let rows = [
        ("a rotation", announced(), successor(), true),
        ("a server that keeps its refresh token", announced(), grant(4, "old"), true),
        ("a refresh token without an access token", announced(), Record { access: None, ..successor() }, true),
        ("after an unclear call", Record { intent: intent("old"), ..announced() }, successor(), true),
        ("no call was announced", grant(3, "old"), successor(), false),
        ("another token was announced", Record { intent: intent("other"), ..announced() }, successor(), false),
        ("an intent", grant(3, "old"), announced(), false),
        ("a repeated intent", announced(), announced(), false),
        ("an intent of the next generation", announced(), Record { intent: intent("new"), ..successor() }, false),
        ("a refusal", announced(), dead(grant(3, "old")), false),
        ("a refusal of the next generation", announced(), dead(successor()), false),
        ("a failure", announced(), grant(3, "old"), false),
        ("an older state", announced(), grant(2, "older"), false),
        ("a generation that was skipped", announced(), grant(5, "new"), false),
        ("the last generation", Record { generation: Generation(u64::MAX), ..announced() }, grant(0, "new"), false),
        ("nothing to present", announced(), Record { refresh: None, ..successor() }, false),
        ("a strange lineage", announced(), of(9, successor()), false),
        ("the grant of another server", announced(), elsewhere(successor()), false),
        ("an import", announced(), replacing(successor()), false),
        ("an accepted candidate", beside(&presented), settled(RefreshOutcome::Ok), true),
        ("a refused candidate", beside(&presented), settled(RefreshOutcome::Rejected), false),
        ("a candidate that was not presented", beside(&waiting), settled(RefreshOutcome::Ok), false),
        (
            "another candidate",
            beside(&presented),
            Record { candidate: Some(other), ..settled(RefreshOutcome::Ok) },
            false,
        ),
        ("a candidate for another server", beside(&presented), elsewhere(settled(RefreshOutcome::Ok)), false),
        (
            "a candidate without a new lineage",
            beside(&presented),
            Record { lineage: announced().lineage, ..settled(RefreshOutcome::Ok) },
            false,
        ),
        ("an import over a candidate", beside(&presented), replacing(successor()), false),
        ("a rotation beside a candidate", Record { intent: intent("old"), ..beside(&waiting) }, successor(), true),
        ("an initial token over a grant", initial.clone(), took(successor()), true),
        ("an initial token of an empty store", first.clone(), took(grant(1, "new")), true),
        ("an import over an initial token", initial, replacing(successor()), false),
        ("an initial token that was taken before", took(first), took(grant(1, "new")), false),
    ];
    for (what, document, temporary, expected) in rows {
        assert_eq!(adopts(&document, &temporary), expected, "{what}");
    }
}

/// A store whose last writer was killed between writing the temporary document and renaming it.
fn killed(path: &Path, keys: &[u8]) {
    fs::write(path, encode(&announced(), &sealer(keys)).unwrap()).unwrap();
    fs::write(beside(path, ".tmp"), encode(&successor(), &sealer(keys)).unwrap()).unwrap();
}

async fn open_with_keys(path: &Path, keys: &[u8]) -> Store {
    let keys = keys.iter().map(|byte| StoreKey(Zeroizing::new([*byte; 32]))).collect();
    Store::open(&StoreConfig { kind: StoreKindConfig::File { path: path.to_owned() }, keys }, None).await.unwrap()
}

#[tokio::test]
async fn a_successor_that_a_killed_process_wrote_is_stored_by_whoever_comes_next() {
    let comers = ["lease", "load", "write", "seal"];
    for (comer, keys) in comers.into_iter().flat_map(|comer| [(comer, &[][..]), (comer, &[1])]) {
        let (folder, path) = folder();
        killed(&path, keys);
        let store = open_with_keys(&path, keys).await;
        match comer {
            "lease" => store.release(held(store.lease("next", LONG).await.unwrap())).await,
            "load" => assert_eq!(store.load().await.unwrap(), Some(successor()), "{comer}"),
            "seal" => assert_ne!(store.seal().await.unwrap(), Sealing::Nothing),
            // An intent of a holder that has read the document before.
            _ => match store.write(expecting(&announced()), &announced()).await.unwrap() {
                Written::Superseded(theirs) => assert_eq!(theirs.as_deref(), Some(&successor())),
                written => panic!("{written:?}"),
            },
        }
        assert!(!beside(&path, ".tmp").exists(), "{comer} with {} keys", keys.len());
        assert_eq!(open_with_keys(&path, keys).await.load().await.unwrap(), Some(successor()), "{comer}");
        assert!(names(folder.path()).iter().all(|name| !name.contains("damaged")));
    }
}

#[tokio::test]
async fn a_plaintext_document_is_sealed_with_the_successor_that_a_killed_process_wrote() {
    let (_folder, path) = folder();
    killed(&path, &[]);
    let store = open_with_keys(&path, &[1]).await;
    assert!(matches!(store.load().await, Err(StoreError::Refused(_))), "plaintext stays refused");
    assert_eq!(store.seal().await.unwrap(), Sealing::Sealed);
    assert_eq!(store.load().await.unwrap(), Some(successor()));
}

#[tokio::test]
async fn what_is_not_a_complete_successor_changes_nothing_and_is_removed_by_the_next_write() {
    let whole = |record: &Record, keys: &[u8]| encode(record, &sealer(keys)).unwrap().to_vec();
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    let strange = Record { lineage: lineage(9), ..successor() };
    let rows: [(&str, &[u8], Vec<u8>); 8] = [
        ("nothing yet", &[], Vec::new()),
        ("cut", &[], cut(whole(&successor(), &[]))),
        ("cut and sealed", &[1], cut(whole(&successor(), &[1]))),
        ("zeros", &[], vec![0; 600]),
        ("too large", &[], vec![b' '; 2 * 1024 * 1024]),
        ("an intent", &[], whole(&announced(), &[])),
        ("another lineage", &[1], whole(&strange, &[1])),
        ("plaintext where the document is sealed", &[1], whole(&successor(), &[])),
    ];
    for (what, keys, temporary) in rows {
        let (_folder, path) = folder();
        killed(&path, keys);
        fs::write(beside(&path, ".tmp"), &temporary).unwrap();
        let store = open_with_keys(&path, keys).await;
        let lease = held(store.lease("next", LONG).await.unwrap());
        assert_eq!(store.load().await.unwrap(), Some(announced()), "{what}");
        assert!(fs::read(beside(&path, ".tmp")).unwrap() == temporary, "{what} is left to the next write");
        let written = store.write(expecting(&announced()), &announced()).await.unwrap();
        assert!(matches!(written, Written::Done), "{what}: {written:?}");
        assert!(!beside(&path, ".tmp").exists(), "{what}");
        store.release(lease).await;
    }
}

#[tokio::test]
async fn a_successor_that_another_key_or_version_can_read_is_kept_and_named() {
    let newer = br#"{"format":3,"generation":4}"#.to_vec();
    let other_key = encode(&successor(), &sealer(&[2])).unwrap().to_vec();
    for (temporary, expected) in [(newer, "newer version"), (other_key, "store.keys")] {
        let (_folder, path) = folder();
        killed(&path, &[1]);
        fs::write(beside(&path, ".tmp"), &temporary).unwrap();
        let store = open_with_keys(&path, &[1]).await;
        let refused = [
            store.lease("next", LONG).await.unwrap_err(),
            store.load().await.unwrap_err(),
            store.write(expecting(&announced()), &successor()).await.unwrap_err(),
        ];
        for error in refused {
            let error = error.to_string();
            assert!(error.contains("grant.json.tmp") && error.contains(expected), "{error}");
        }
        assert_eq!(fs::read(beside(&path, ".tmp")).unwrap(), temporary);
    }
}

#[tokio::test]
async fn what_this_program_did_not_make_is_not_adopted() {
    type Plant = fn(&Path, &Path);
    let plants: [(&str, Plant); 2] =
        [("link", |bait, at| symlink(bait, at).unwrap()), ("hard link", |bait, at| fs::hard_link(bait, at).unwrap())];
    for (what, plant) in plants {
        let (folder, path) = folder();
        killed(&path, &[]);
        let bait = folder.path().join("bait");
        fs::rename(beside(&path, ".tmp"), &bait).unwrap();
        plant(&bait, &beside(&path, ".tmp"));
        let store = open(&path).await.unwrap();
        let lease = held(store.lease("next", LONG).await.unwrap());
        assert_eq!(store.load().await.unwrap(), Some(announced()), "{what}");
        assert!(fs::symlink_metadata(beside(&path, ".tmp")).is_ok() && bait.exists(), "{what}");
        store.release(lease).await;
    }
}

#[tokio::test]
async fn the_temporary_document_of_a_living_writer_is_left_to_it() {
    let (folder, path) = folder();
    killed(&path, &[]);
    // The lock says that the writer lives, and it is not waited for.
    let writer = StateDir::new(&path).run(Transaction::begin).unwrap();
    let store = open(&path).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Some(announced()));
    assert!(names(folder.path()).contains(&"grant.json.tmp".to_owned()));
    drop(writer);
    assert_eq!(store.load().await.unwrap(), Some(successor()));
}
