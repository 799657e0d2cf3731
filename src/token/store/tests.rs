//! What every store promises, asked of each.

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::config::StoreKey;
use crate::token::{Access, AccessToken, Generation, RefreshToken};

mod documents;
mod histories;
mod leases;
mod writes;

use self::documents::*;
use self::leases::*;
use self::writes::*;

#[cfg(feature = "postgres")]
pub(super) use testkit::postgres as server;

/// A place that holds one grant and can be opened often.
pub(super) enum Site {
    Memory(memory::MemoryStore),
    File(TempDir),
    #[cfg(feature = "postgres")]
    Postgres {
        server: std::sync::Arc<server::Postgres>,
        name: String,
    },
    #[cfg(feature = "kubernetes")]
    Kubernetes(kubernetes::tests::Place),
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

        // Without an API server, each says `not run`.
        #[cfg(feature = "kubernetes")]
        mod kubernetes_store {
            use super::Site;
            $(#[tokio::test] async fn $all() {
                if let Some(site) = Site::kubernetes().await { super::$all(site).await }
            })+
            $(#[tokio::test] async fn $durable() {
                if let Some(site) = Site::kubernetes().await { super::$durable(site).await }
            })+
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
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("grant {}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self::Postgres { server: server::Postgres::shared(), name }
    }

    #[cfg(feature = "kubernetes")]
    async fn kubernetes() -> Option<Self> {
        kubernetes::tests::Place::new().await.map(Self::Kubernetes)
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
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(place) => StoreKindConfig::Kubernetes(place.config()),
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
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(place) => place.data().await.remove("grant.json").unwrap(),
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
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(place) => place.put(text).await,
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
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(place) => {
                let data = place.data().await;
                data.into_iter().filter(|(key, _)| key.contains(".damaged-")).map(|(_, text)| text).collect()
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
