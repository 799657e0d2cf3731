//! Any grants, committed one after the other by processes that come and go, under keys that rotate: what a new process finds is
//! what was committed last.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::token::store::records;

/// One process's life.
#[derive(Clone, Debug)]
struct Life {
    keys: Keys,
    commits: Vec<Record>,
}

/// What `store.keys` does from one process to the next.
#[derive(Clone, Copy, Debug)]
enum Keys {
    Stay,
    /// A new key comes first. The others still decrypt.
    Rotate,
    /// The others are taken out, once nothing needs them any more.
    Retire,
}

fn histories() -> impl Strategy<Value = Vec<Life>> {
    let keys = prop_oneof![Just(Keys::Stay), Just(Keys::Rotate), Just(Keys::Retire)];
    let life = (keys, prop::collection::vec(records(), 1..3)).prop_map(|(keys, commits)| Life { keys, commits });
    prop::collection::vec(life, 1..5)
}

/// Tries `cases` histories, each at a site of its own. The runtime lives as long as the server that they may share.
fn try_each(cases: u32, site: impl Fn() -> Site) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&histories(), |history| {
        runtime.block_on(replayed(site(), history));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

async fn replayed(site: Site, history: Vec<Life>) {
    let is_durable = !matches!(site, Site::Memory(_));
    let mut present: Option<Record> = None;
    let mut keys: Vec<u8> = Vec::new();
    for (number, life) in (1..).zip(history) {
        match life.keys {
            Keys::Stay => {}
            Keys::Rotate => keys.insert(0, number),
            Keys::Retire => keys.truncate(1),
        }
        let store = site.store_with_keys(&keys).await;
        if !keys.is_empty() {
            // A plaintext document is refused from here on.
            store.seal().await.unwrap();
        }
        assert_eq!(store.load().await.unwrap(), present, "life {number}");
        for wanted in life.commits {
            committed(&site, &store, present.as_ref(), &wanted, is_durable).await;
            present = Some(wanted);
        }
        if is_durable {
            assert_eq!(site.raw().await.contains("\"sealed\""), !keys.is_empty(), "life {number}");
        }
    }
    assert_eq!(site.store_with_keys(&keys).await.load().await.unwrap(), present);
}

/// A commit is the grant from then on; made again, as after a lost answer, it is done and changes nothing.
async fn committed(site: &Site, store: &Store, present: Option<&Record>, wanted: &Record, is_durable: bool) {
    let expect = Expect { version: present.map(Record::version), fence: None };
    write(store, expect, wanted).await;
    assert_eq!(store.load().await.unwrap().as_ref(), Some(wanted));
    if expect.version == Some(wanted.version()) {
        return;
    }
    let before = if is_durable { site.raw().await } else { String::new() };
    write(store, expect, wanted).await;
    // A writer that expects the old version and writes another record is refused.
    let other = Record { needs_login: Some("somebody else's".to_owned()), ..wanted.clone() };
    let written = store.write(expect, &other).await.unwrap();
    let is_theirs = other == *wanted && matches!(written, Written::Done);
    assert!(is_theirs || matches!(&written, Written::Superseded(Some(found)) if **found == *wanted), "{written:?}");
    // Sealing the same record again would give other bytes.
    assert!(!is_durable || site.raw().await == before, "it was written again");
    assert_eq!(store.load().await.unwrap().as_ref(), Some(wanted));
}

#[test]
fn a_grant_in_memory_is_what_was_committed_last() {
    try_each(200, Site::memory);
}

#[test]
fn a_grant_in_a_file_is_what_was_committed_last() {
    try_each(60, Site::file);
}

#[test]
#[cfg(feature = "postgres")]
fn a_grant_in_postgres_is_what_was_committed_last() {
    let _server = server::Postgres::shared();
    try_each(20, Site::postgres);
}

#[test]
#[cfg(feature = "kubernetes")]
fn a_grant_in_a_cluster_is_what_was_committed_last() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(_) = runtime.block_on(Site::kubernetes()) else { return };
    try_each(10, || runtime.block_on(Site::kubernetes()).unwrap());
}
