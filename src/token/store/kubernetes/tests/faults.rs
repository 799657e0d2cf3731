//! An API server that is away, slow, throttles, cuts watches, or has other certificates and tokens.

use std::time::Duration;

use rustix::process::Signal;
use testkit::authority::Authority;
use testkit::kubernetes::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::{NAME, Place, rules};
use crate::config::{ClusterConfig, StoreConfig, StoreKindConfig};
use crate::token::store::tests::{NOTHING, expecting, grant, held, write};
use crate::token::store::{Store, StoreError};

const LONG: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Unavailable(text)) => text,
        other => panic!("not unavailable: {other:?}"),
    }
}

/// Repeats a write until its outcome is known, as the refresher does.
async fn until_written(store: &Store, expect: crate::token::store::Expect, record: &crate::token::store::Record) {
    timeout(LONG, async {
        while store.write(expect, record).await.is_err() {
            tokio::time::sleep(SECOND / 5).await;
        }
    })
    .await
    .expect("the API server is back");
}

#[tokio::test]
async fn a_wrong_token_or_ca_is_named_and_a_renewed_one_is_used_at_once() {
    let Some(place) = Place::new().await else { return };
    let store = place.store().await;
    write(&store, NOTHING, &grant(1, "one")).await;
    let file = |name: &str| place.account.folder().join(name);
    std::fs::write(file("token"), "canary").unwrap();
    let error = unavailable(store.load().await);
    assert!(error.contains("does not accept the service account token") && !error.contains("canary"), "{error}");
    std::fs::remove_file(file("token")).unwrap();
    let error = unavailable(store.load().await);
    assert!(error.contains("mount one into this container"), "{error}");
    place.cluster.renew_token(&place.account, LONG * 10).await;
    assert_eq!(store.load().await.unwrap(), Some(grant(1, "one")));

    let ca = std::fs::read(file("ca.crt")).unwrap();
    std::fs::copy(Authority::new().ca_file(), file("ca.crt")).unwrap();
    let error = unavailable(store.load().await);
    assert!(error.contains("certificate") && error.contains("ca.crt"), "{error}");
    std::fs::write(file("ca.crt"), ca).unwrap();
    assert_eq!(store.load().await.unwrap(), Some(grant(1, "one")));
}

/// An API server of its own: it is stopped, killed and started again.
#[tokio::test]
async fn an_api_server_or_etcd_that_goes_is_an_error_in_time_and_works_again_when_it_is_back() {
    let Some(cluster) = Cluster::start().await else { return };
    let namespace = cluster.namespace().await;
    let account = cluster.account(&namespace, &rules()).await;
    let config = ClusterConfig {
        server: format!("https://127.0.0.1:{}", cluster.port()),
        account: account.folder().to_owned(),
        namespace,
        name: NAME.to_owned(),
    };
    let open = async || {
        let config = StoreConfig { kind: StoreKindConfig::Kubernetes(config.clone()), keys: Vec::new() };
        Store::open(&config, None).await.unwrap()
    };
    let (store, watcher) = (open().await, open().await);
    write(&store, NOTHING, &grant(1, "one")).await;
    watcher.changed().await;

    cluster.signal_api_server(Signal::STOP);
    let began = Instant::now();
    let one = grant(1, "one");
    let two = grant(2, "two");
    let answers = tokio::join!(
        async { unavailable(store.write(expecting(&one), &two).await) },
        async { unavailable(open().await.load().await) },
        async { unavailable(open().await.lease("one", LONG).await) },
    );
    assert!(began.elapsed() < 12 * SECOND, "{:?}", began.elapsed());
    assert!(answers.0.contains("https://127.0.0.1:"), "{}", answers.0);
    cluster.signal_api_server(Signal::CONT);
    until_written(&store, expecting(&one), &two).await;
    timeout(LONG, watcher.changed()).await.expect("the watch goes on");

    // The watch is cut, and what happened meanwhile is found.
    cluster.kill_api_server();
    assert!(unavailable(open().await.load().await).contains("https://127.0.0.1:"));
    cluster.start_api_server();
    cluster.ready().await;
    until_written(&store, expecting(&two), &grant(3, "three")).await;
    timeout(LONG, async {
        while watcher.load().await.ok().flatten() != Some(grant(3, "three")) {
            watcher.changed().await;
        }
    })
    .await
    .expect("the watch finds it");

    let lease = held(store.lease("one", LONG).await.unwrap());
    cluster.kill_etcd();
    cluster.start_etcd();
    cluster.ready().await;
    until_written(&store, expecting(&grant(3, "three")), &grant(4, "four")).await;
    store.release(lease).await;
    held(watcher.lease("other", LONG).await.unwrap());
}

/// A server that only throttles. It counts the requests.
#[tokio::test]
async fn retry_after_is_respected_and_no_call_is_made_before() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "t").unwrap();
    std::fs::copy(authority.ca_file(), folder.path().join("ca.crt")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = authority.acceptor(&["localhost"], &["http/1.1"]);
    let (count, counted) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            count.send_modify(|count| *count += 1);
            let answer =
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let config = ClusterConfig {
        server: format!("https://localhost:{port}"),
        account: folder.path().to_owned(),
        namespace: "default".to_owned(),
        name: NAME.to_owned(),
    };
    let store =
        Store::open(&StoreConfig { kind: StoreKindConfig::Kubernetes(config), keys: Vec::new() }, None).await.unwrap();
    assert!(unavailable(store.load().await).contains("429"));
    for _ in 0..3 {
        assert!(unavailable(store.load().await).contains("Retry-After"));
        assert!(unavailable(store.lease("one", LONG).await).contains("Retry-After"));
    }
    assert_eq!(*counted.borrow(), 1);
    tokio::time::sleep(2 * SECOND).await;
    assert!(unavailable(store.load().await).contains("429"));
    assert_eq!(*counted.borrow(), 2);
}

/// The API server ends a watch whose version etcd has compacted (410 Gone). The next one begins with a read.
#[tokio::test]
async fn a_cut_watch_finds_what_it_has_missed() {
    let Some(place) = Place::new().await else { return };
    let (store, watcher) = (place.store().await, place.store().await);
    write(&store, NOTHING, &grant(1, "one")).await;
    watcher.changed().await;
    let Store::Kubernetes(inner) = &watcher else { unreachable!() };
    inner.watch.lock().await.cut();
    inner.secrets.latest.watched(false);
    write(&store, expecting(&grant(1, "one")), &grant(2, "two")).await;
    timeout(SECOND, watcher.changed()).await.expect("the read at the begin of the next watch");
    assert_eq!(watcher.load().await.unwrap(), Some(grant(2, "two")));
    let (noticed, ()) = tokio::join!(timeout(SECOND, watcher.changed()), place.touch());
    noticed.expect("the next watch");
}
