//! What every store promises, asked of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::*;
use crate::config::StoreKey;
use crate::token::{Access, AccessToken, Generation, RefreshToken};

mod histories;

#[cfg(feature = "postgres")]
pub(super) use testkit::postgres as server;

/// A place that holds one grant and can be opened often.
pub(super) enum Site {
    Memory(memory::MemoryStore),
    File(TempDir),
    #[cfg(feature = "postgres")]
    Postgres {
        server: Arc<server::Postgres>,
        name: String,
    },
}

/// One test a promise and kind of store.
macro_rules! promises {
    (all: $($all:ident),+; durable: $($durable:ident),+;) => {
        mod memory_store {
            use super::Site;
            $(#[tokio::test] async fn $all() { super::$all(Site::memory()).await })+
        }

        mod file_store {
            use super::Site;
            $(#[tokio::test] async fn $all() { super::$all(Site::file()).await })+
            $(#[tokio::test] async fn $durable() { super::$durable(Site::file()).await })+
        }

        #[cfg(feature = "postgres")]
        mod postgres_store {
            use super::Site;
            $(#[tokio::test] async fn $all() { super::$all(Site::postgres()).await })+
            $(#[tokio::test] async fn $durable() { super::$durable(Site::postgres()).await })+
        }
    };
}

promises! {
    all:
        a_lease_is_had_by_one_until_it_is_given_back,
        a_lease_that_has_run_out_is_taken_over_and_its_fence_is_stale,
        a_lease_taken_anew_is_waited_for_anew,
        a_lease_that_was_given_back_allows_no_intent,
        a_late_commit_is_kept_if_the_store_holds_what_it_presented,
        a_write_that_expects_something_else_changes_nothing,
        a_repeated_write_is_done_once,
        of_two_commits_at_once_one_wins_and_the_other_learns_of_it,
        two_owners_in_a_race_never_hold_the_lease_at_once,
        a_watcher_learns_of_a_write_within_a_second_and_of_a_lease_never;
    durable:
        a_reopened_store_holds_what_was_written,
        the_first_key_encrypts_from_the_next_write_on_and_all_decrypt,
        a_wrong_key_is_a_clear_error_and_changes_nothing,
        a_damaged_document_is_refused_and_replaced_only_when_asked_for,
        a_document_of_a_newer_version_is_left_alone;
}

/// A minute: no test waits for its end.
const LONG: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

// === impl Site ===

impl Site {
    fn memory() -> Self {
        Self::Memory(memory::MemoryStore::new())
    }

    fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    #[cfg(feature = "postgres")]
    fn postgres() -> Self {
        use std::sync::atomic::AtomicU64;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("grant {}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self::Postgres { server: server::Postgres::shared(), name }
    }

    async fn store(&self) -> Store {
        self.store_with_keys(&[]).await
    }

    async fn store_with_keys(&self, keys: &[u8]) -> Store {
        let kind = match self {
            Self::Memory(store) => return Store::Memory(store.clone()),
            Self::File(folder) => StoreKindConfig::File { path: folder.path().join("grant.json") },
            #[cfg(feature = "postgres")]
            Self::Postgres { server, name } => {
                StoreKindConfig::Postgres { url: crate::secret::Secret::new(server.url()), name: name.clone() }
            }
        };
        let keys = keys.iter().map(|byte| StoreKey(Zeroizing::new([*byte; 32]))).collect();
        let store = Store::open(&StoreConfig { kind, keys }, None).await.unwrap();
        store.prepare().await.unwrap();
        store
    }

    /// The document as it lies there.
    async fn raw(&self) -> String {
        match self {
            Self::Memory(_) => unreachable!("holds no document"),
            Self::File(folder) => std::fs::read_to_string(folder.path().join("grant.json")).unwrap(),
            #[cfg(feature = "postgres")]
            Self::Postgres { server, name } => {
                let client = postgres::tests::client(&server.url()).await;
                let sql = "SELECT document FROM bearer_proxy_grant WHERE name = $1";
                client.query_one(sql, &[name]).await.unwrap().get(0)
            }
        }
    }

    async fn put_raw(&self, text: &str) {
        match self {
            Self::Memory(_) => unreachable!("holds no document"),
            Self::File(folder) => std::fs::write(folder.path().join("grant.json"), text).unwrap(),
            #[cfg(feature = "postgres")]
            Self::Postgres { server, name } => {
                let client = postgres::tests::client(&server.url()).await;
                let sql = "UPDATE bearer_proxy_grant SET document = $2 WHERE name = $1";
                assert_eq!(client.execute(sql, &[name, &text]).await.unwrap(), 1);
            }
        }
    }

    /// The damaged documents that were kept.
    async fn kept_aside(&self) -> Vec<String> {
        match self {
            Self::Memory(_) => unreachable!("holds no document"),
            Self::File(folder) => std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.to_str().unwrap().contains("grant.json.damaged-"))
                .map(|path| std::fs::read_to_string(path).unwrap())
                .collect(),
            #[cfg(feature = "postgres")]
            Self::Postgres { server, name } => {
                let client = postgres::tests::client(&server.url()).await;
                let sql = "SELECT damaged FROM bearer_proxy_grant WHERE name = $1";
                client.query_one(sql, &[name]).await.unwrap().get(0)
            }
        }
    }
}

/// A grant whose refresh token is `refresh`.
pub(super) fn grant(generation: u64, refresh: &str) -> Record {
    let then: jiff::Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
    let binding = Binding {
        token_url: "https://as.example/token".to_owned(),
        client_id: "7".to_owned(),
        upstream_origin: "https://api.example".to_owned(),
    };
    Record {
        generation: Generation(generation),
        access: Some(Access {
            token: AccessToken::parse(format!("access-{generation}")).unwrap(),
            obtained_at: then,
            expires_at: Some(then + jiff::SignedDuration::from_hours(1)),
        }),
        refresh: Some(RefreshToken::parse(refresh).unwrap()),
        ..Record::empty(binding)
    }
}

pub(super) fn expecting(record: &Record) -> Expect {
    Expect { version: Some(record.version()), fence: None }
}

/// For the first record.
pub(super) const NOTHING: Expect = Expect { version: None, fence: None };

pub(super) fn held(leased: Leased) -> Lease {
    match leased {
        Leased::Held(lease) => lease,
        Leased::Busy { retry_in } => panic!("busy, retry in {retry_in:?}"),
    }
}

pub(super) async fn lease(store: &Store, owner: &str, duration: Duration) -> Lease {
    loop {
        match store.lease(owner, duration).await.unwrap() {
            Leased::Held(lease) => return lease,
            Leased::Busy { retry_in } => {
                assert!(!retry_in.is_zero() && retry_in <= LEASE_POLL, "{retry_in:?}");
                tokio::time::sleep(retry_in).await;
            }
        }
    }
}

pub(super) async fn write(store: &Store, expect: Expect, record: &Record) {
    let written = store.write(expect, record).await.unwrap();
    assert!(matches!(written, Written::Done), "{written:?}");
}

/// The control plane spawns its tasks. Compiling is the test.
#[allow(dead_code, reason = "it is enough that it compiles")]
fn every_operation_can_be_part_of_a_spawned_task(store: &Store, lease: Lease, record: &Record, config: &StoreConfig) {
    fn spawned(_: impl Send) {}
    spawned(Store::open(config, None));
    spawned(store.prepare());
    spawned(store.load());
    spawned(store.lease("one", LONG));
    spawned(store.release(lease));
    spawned(store.write(NOTHING, record));
    spawned(store.replace_damaged(record));
    spawned(store.changed());
}

// === the promises ===

async fn a_lease_is_had_by_one_until_it_is_given_back(site: Site) {
    let (one, other) = (site.store().await, site.store().await);
    let mut last = 0;
    for _ in 0..3 {
        let lease = held(one.lease("one", LONG).await.unwrap());
        assert!(lease.fence > last, "a fence never goes back");
        assert!(lease.remaining() > LONG - SECOND && lease.remaining() <= LONG);
        last = lease.fence;
        for (store, owner) in [(&one, "one"), (&one, "task"), (&other, "one"), (&other, "other")] {
            let leased = store.lease(owner, LONG).await.unwrap();
            assert!(matches!(leased, Leased::Busy { retry_in } if retry_in <= LEASE_POLL), "{owner}: {leased:?}");
        }
        one.release(lease).await;
        let lease = held(other.lease("other", LONG).await.unwrap());
        assert!(lease.fence > last, "a fence never goes back");
        last = lease.fence;
        other.release(lease).await;
    }
}

async fn a_lease_that_has_run_out_is_taken_over_and_its_fence_is_stale(site: Site) {
    let (paused, taker) = (site.store().await, site.store().await);
    let first = grant(1, "one");
    write(&paused, NOTHING, &first).await;
    let duration = Duration::from_millis(400);
    let begun = Instant::now();
    let old = held(paused.lease("paused", duration).await.unwrap());
    let new = timeout(5 * SECOND, lease(&taker, "taker", LONG)).await.unwrap();
    assert!(begun.elapsed() >= duration, "taken after {:?}", begun.elapsed());
    assert!(old.remaining().is_zero());
    assert!(new.fence > old.fence);

    let intent = Record { needs_login: Some("the paused one's".to_owned()), ..first.clone() };
    let stale = Expect { fence: Some(old.fence), ..expecting(&first) };
    assert!(matches!(paused.write(stale, &intent).await.unwrap(), Written::Fenced));
    paused.release(old).await;
    assert!(
        matches!(paused.lease("paused", LONG).await.unwrap(), Leased::Busy { .. }),
        "released what was not its own"
    );
    assert_eq!(taker.load().await.unwrap(), Some(first.clone()));
    write(&taker, Expect { fence: Some(new.fence), ..expecting(&first) }, &intent).await;
    assert_eq!(taker.load().await.unwrap(), Some(intent));
}

async fn a_lease_taken_anew_is_waited_for_anew(site: Site) {
    let (holder, taker) = (site.store().await, site.store().await);
    let duration = Duration::from_millis(500);
    let first = held(holder.lease("holder", duration).await.unwrap());
    assert!(matches!(taker.lease("taker", LONG).await.unwrap(), Leased::Busy { .. }));
    tokio::time::sleep(duration * 3 / 5).await;
    holder.release(first).await;
    let begun = Instant::now();
    let second = held(holder.lease("holder", duration).await.unwrap());
    let taken = timeout(5 * SECOND, lease(&taker, "taker", LONG)).await.unwrap();
    assert!(begun.elapsed() >= duration, "taken after {:?}", begun.elapsed());
    holder.release(second).await;
    taker.release(taken).await;
}

async fn a_lease_that_was_given_back_allows_no_intent(site: Site) {
    let store = site.store().await;
    let first = grant(1, "one");
    write(&store, NOTHING, &first).await;
    let unheard_of = Expect { fence: Some(1), ..expecting(&first) };
    assert!(matches!(store.write(unheard_of, &grant(2, "two")).await.unwrap(), Written::Fenced));
    let lease = held(store.lease("one", LONG).await.unwrap());
    let fenced = Expect { fence: Some(lease.fence), ..expecting(&first) };
    store.release(lease).await;
    assert!(matches!(store.write(fenced, &grant(2, "two")).await.unwrap(), Written::Fenced));
    assert_eq!(store.load().await.unwrap(), Some(first));
}

async fn a_late_commit_is_kept_if_the_store_holds_what_it_presented(site: Site) {
    let (paused, taker) = (site.store().await, site.store().await);
    let first = grant(1, "one");
    write(&paused, NOTHING, &first).await;
    let old = held(paused.lease("paused", Duration::from_millis(50)).await.unwrap());
    let new = timeout(5 * SECOND, lease(&taker, "taker", LONG)).await.unwrap();
    let successor = grant(2, "two");
    write(&paused, expecting(&first), &successor).await;
    paused.release(old).await;

    let other = grant(2, "another");
    let written = taker.write(Expect { fence: Some(new.fence), ..expecting(&first) }, &other).await.unwrap();
    assert!(matches!(&written, Written::Superseded(Some(present)) if **present == successor), "{written:?}");
    assert_eq!(taker.load().await.unwrap(), Some(successor));
}

async fn a_write_that_expects_something_else_changes_nothing(site: Site) {
    let store = site.store().await;
    assert_eq!(store.load().await.unwrap(), None);
    let present = grant(3, "three");
    let written = store.write(expecting(&present), &grant(4, "four")).await.unwrap();
    assert!(matches!(written, Written::Superseded(None)), "{written:?}");
    assert_eq!(store.load().await.unwrap(), None);

    write(&store, NOTHING, &present).await;
    let no_refresh_token = Record { refresh: None, ..present.clone() };
    let expects = [
        NOTHING,
        expecting(&grant(2, "three")),
        expecting(&grant(4, "three")),
        expecting(&grant(3, "another")),
        expecting(&no_refresh_token),
    ];
    for expect in expects {
        let written = store.write(expect, &grant(4, "four")).await.unwrap();
        let left_alone = matches!(&written, Written::Superseded(Some(found)) if **found == present);
        assert!(left_alone, "{expect:?}: {written:?}");
        assert_eq!(store.load().await.unwrap(), Some(present.clone()), "{expect:?}");
    }
    write(&store, expecting(&present), &grant(4, "four")).await;
}

async fn a_repeated_write_is_done_once(site: Site) {
    let store = site.store().await;
    let (first, second) = (grant(1, "one"), grant(2, "two"));
    write(&store, NOTHING, &first).await;
    write(&store, NOTHING, &first).await;
    write(&store, expecting(&first), &second).await;
    write(&store, expecting(&first), &second).await;
    assert_eq!(store.load().await.unwrap(), Some(second));
}

async fn of_two_commits_at_once_one_wins_and_the_other_learns_of_it(site: Site) {
    let (one, other) = (site.store().await, site.store().await);
    let mut present = grant(0, "zero");
    write(&one, NOTHING, &present).await;
    for generation in 1..=30 {
        let (left, right) = (grant(generation, "left"), grant(generation, "right"));
        let answers = tokio::join!(one.write(expecting(&present), &left), other.write(expecting(&present), &right));
        present = match (answers.0.unwrap(), answers.1.unwrap()) {
            (Written::Done, Written::Superseded(Some(found))) if *found == left => left,
            (Written::Superseded(Some(found)), Written::Done) if *found == right => right,
            both => panic!("generation {generation}: {both:?}"),
        };
        assert_eq!(one.load().await.unwrap(), Some(present.clone()));
    }
}

async fn two_owners_in_a_race_never_hold_the_lease_at_once(site: Site) {
    const ROUNDS: u64 = 40;
    let busy = Arc::new(AtomicBool::new(false));
    let mut owners = Vec::new();
    write(&site.store().await, NOTHING, &grant(0, "0")).await;
    for owner in ["one", "other"] {
        let (store, busy) = (site.store().await, Arc::clone(&busy));
        owners.push(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let lease = lease(&store, owner, LONG).await;
                assert!(!busy.swap(true, Ordering::SeqCst), "{owner} got a lease that another holds");
                let present = store.load().await.unwrap().unwrap();
                let intent = Record { needs_login: Some(owner.to_owned()), ..present.clone() };
                write(&store, Expect { fence: Some(lease.fence), ..expecting(&present) }, &intent).await;
                let next = present.generation.0 + 1;
                write(&store, expecting(&intent), &grant(next, &next.to_string())).await;
                busy.store(false, Ordering::SeqCst);
                store.release(lease).await;
                tokio::task::yield_now().await;
            }
        }));
    }
    for owner in owners {
        owner.await.unwrap();
    }
    assert_eq!(site.store().await.load().await.unwrap().unwrap().generation.0, 2 * ROUNDS);
}

async fn a_watcher_learns_of_a_write_within_a_second_and_of_a_lease_never(site: Site) {
    let (watcher, writer) = (site.store().await, site.store().await);
    let mut present = grant(1, "one");
    write(&writer, NOTHING, &present).await;
    timeout(SECOND, watcher.changed()).await.expect("a write since the store was opened");
    watcher.load().await.unwrap();
    for generation in 2..5 {
        let quiet = timeout(Duration::from_millis(700), watcher.changed()).await;
        assert!(quiet.is_err(), "nothing had changed");
        let next = grant(generation, &generation.to_string());
        let (changed, ()) =
            tokio::join!(timeout(SECOND, watcher.changed()), write(&writer, expecting(&present), &next));
        changed.expect("within a second");
        assert_eq!(watcher.load().await.unwrap(), Some(next.clone()));
        present = next;
        let lease = held(writer.lease("writer", LONG).await.unwrap());
        writer.release(lease).await;
    }
}

async fn a_reopened_store_holds_what_was_written(site: Site) {
    let first = grant(1, "one");
    let fence = {
        let store = site.store().await;
        write(&store, NOTHING, &first).await;
        let lease = held(store.lease("one", LONG).await.unwrap());
        let fence = lease.fence;
        store.release(lease).await;
        fence
    };
    let store = site.store().await;
    assert_eq!(store.load().await.unwrap(), Some(first));
    assert!(held(store.lease("one", LONG).await.unwrap()).fence > fence);
}

async fn the_first_key_encrypts_from_the_next_write_on_and_all_decrypt(site: Site) {
    let mut present = grant(1, "one");
    write(&site.store().await, NOTHING, &present).await;
    assert!(site.raw().await.contains("access-1"));

    // Until a person says that it is theirs, it may be anybody's.
    let store = site.store_with_keys(&[1]).await;
    let plaintext = site.raw().await;
    for error in [
        store.load().await.unwrap_err(),
        store.write(expecting(&present), &grant(2, "two")).await.unwrap_err(),
        store.replace_damaged(&grant(2, "two")).await.unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Refused(text) if text.contains("bearer-proxy seal")), "{error:?}");
    }
    assert_eq!(site.raw().await, plaintext);
    assert_eq!(store.seal().await.unwrap(), Sealing::Sealed);
    assert!(!site.raw().await.contains("access-1"));
    assert_eq!(store.seal().await.unwrap(), Sealing::AlreadySealed);

    // Each step reads what the one before it wrote: keys at all, two rotations, and the end of each.
    for (generation, keys) in [(2, &[1][..]), (3, &[2, 1]), (4, &[2]), (5, &[3, 2]), (6, &[3])] {
        let store = site.store_with_keys(keys).await;
        assert_eq!(store.load().await.unwrap(), Some(present.clone()), "keys {keys:?}");
        let next = grant(generation, &generation.to_string());
        write(&store, expecting(&present), &next).await;
        assert!(!site.raw().await.contains("refresh_token"), "keys {keys:?}");
        present = next;
    }
}

async fn a_wrong_key_is_a_clear_error_and_changes_nothing(site: Site) {
    let present = grant(1, "one");
    write(&site.store_with_keys(&[1]).await, NOTHING, &present).await;
    let before = site.raw().await;
    for keys in [&[][..], &[2], &[2, 3]] {
        let store = site.store_with_keys(keys).await;
        let errors = [
            store.load().await.unwrap_err(),
            store.write(expecting(&present), &grant(2, "two")).await.unwrap_err(),
            store.write(NOTHING, &grant(2, "two")).await.unwrap_err(),
            store.replace_damaged(&grant(2, "two")).await.unwrap_err(),
        ];
        for error in errors {
            assert!(
                matches!(&error, StoreError::WrongKey(text) if text.contains("is encrypted with key")),
                "{error:?}"
            );
        }
        assert_eq!(site.raw().await, before, "keys {keys:?}");
        assert!(site.kept_aside().await.is_empty());
    }
    assert_eq!(site.store_with_keys(&[2, 1]).await.load().await.unwrap(), Some(present));
}

async fn a_damaged_document_is_refused_and_replaced_only_when_asked_for(site: Site) {
    let store = site.store_with_keys(&[1]).await;
    write(&store, NOTHING, &grant(1, "one")).await;
    let whole = site.raw().await;
    let mut kept = 0;
    for damaged in ["", " ", "\u{1}\u{2}", "{}", "[]", "{\"format\":1}", "def50200", &whole[..whole.len() / 2]] {
        site.put_raw(damaged).await;
        for error in [
            store.load().await.unwrap_err(),
            store.write(NOTHING, &grant(2, "two")).await.unwrap_err(),
            store.write(expecting(&grant(1, "one")), &grant(2, "two")).await.unwrap_err(),
            site.store().await.load().await.unwrap_err(),
        ] {
            assert!(matches!(&error, StoreError::Damaged(_)), "{damaged:?}: {error:?}");
            assert!(damaged.is_empty() || !error.to_string().contains("def50200"), "{error}");
        }
        assert_eq!(site.raw().await, damaged);

        let lease = held(store.lease("a person", LONG).await.unwrap());
        let imported = grant(7, "imported");
        assert!(matches!(store.replace_damaged(&imported).await.unwrap(), Written::Done));
        store.release(lease).await;
        assert_eq!(store.load().await.unwrap(), Some(imported.clone()));
        kept += 1;
        let aside = site.kept_aside().await;
        assert!(aside.iter().any(|text| text == damaged), "{damaged:?} is lost: {aside:?}");
        assert_eq!(aside.len(), kept, "one copy of each: {aside:?}");

        let written = store.replace_damaged(&grant(8, "eight")).await.unwrap();
        assert!(matches!(&written, Written::Superseded(Some(present)) if **present == imported), "{written:?}");
    }
}

async fn a_document_of_a_newer_version_is_left_alone(site: Site) {
    let store = site.store().await;
    write(&store, NOTHING, &grant(1, "one")).await;
    let newer = site.raw().await.replacen("\"format\": 2", "\"format\": 3", 1);
    site.put_raw(&newer).await;
    for error in [
        store.load().await.unwrap_err(),
        store.write(expecting(&grant(1, "one")), &grant(2, "two")).await.unwrap_err(),
        store.replace_damaged(&grant(2, "two")).await.unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Damaged(text) if text.contains("newer version (format 3")), "{error:?}");
    }
    assert_eq!(site.raw().await, newer);
    assert!(site.kept_aside().await.is_empty());
}
