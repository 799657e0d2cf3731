//! The program refuses a document that it cannot read, says so, and keeps a copy. Only a person replaces the document. The running
//! proxy then continues with the new one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use simulator::{Options, Simulator};

use testkit::{Proxy, Setup};

const DAMAGED: &[u8] = b"{\"format\":1,\"generation\":7,";

/// The copies that the program kept.
fn kept(setup: &Setup) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::read_dir(setup.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| name(path).contains(".damaged-"))
        .map(|path| (name(&path), std::fs::read(&path).unwrap()))
        .collect()
}

/// Replaces the document at once, so that the program never reads half of it.
fn put(setup: &Setup, bytes: &[u8]) {
    let beside = setup.folder().join("new");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(beside, setup.store()).unwrap();
}

async fn refused_aloud(proxy: &Proxy) -> Value {
    let status = proxy.wait_for_status("refused", |status| status["state"] == "needs_login").await;
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("grant.json") && reason.contains("import"), "{reason}");
    let said = |line: &Value| {
        line["level"] == "ERROR" && line["reason"].as_str().is_some_and(|said| said.contains("grant.json"))
    };
    proxy.wait_for_log("the damage", said).await;
    let asked = proxy.refresh().await;
    assert!(asked.status == StatusCode::SERVICE_UNAVAILABLE && asked.text().contains("grant.json"), "{}", asked.text());
    let (code, out, _) = proxy.commands().run(&["status"]).await;
    assert!(code == 3 && out.contains("grant.json"), "{out}");
    status
}

async fn replace(simulator: &Simulator, proxy: &Proxy) {
    let token = simulator.grant().refresh_token;
    let (code, _, err) = proxy.commands().import(&[], &token).await;
    assert!(code == 1 && err.contains("--replace-damaged"), "{err}");
    assert_eq!(std::fs::read(proxy.setup().store()).unwrap(), DAMAGED, "not without being told to");
    let (code, _, err) = proxy.commands().import(&["--replace-damaged"], &token).await;
    assert_eq!(code, 0, "{err}");
    proxy.ready().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
}

#[tokio::test]
async fn found_at_the_start() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    // An initial refresh token in the configuration overwrites nothing either.
    for setup in [Proxy::without_grant(&simulator), Proxy::before(&simulator)] {
        let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
        put(&setup, DAMAGED);
        let proxy = setup.again().start().await;
        refused_aloud(&proxy).await;
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(std::fs::read(setup.store()).unwrap(), DAMAGED);
        assert_eq!(
            kept(&setup).into_values().collect::<Vec<_>>(),
            [DAMAGED],
            "one copy, however often it is looked at"
        );
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), calls, "nothing was presented");
        replace(&simulator, &proxy).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn found_while_the_proxy_runs() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    let good = std::fs::read(proxy.setup().store()).unwrap();
    put(proxy.setup(), DAMAGED);
    let status = refused_aloud(&proxy).await;
    assert_eq!(status["generation"], 2);
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "the token that it holds is good");
    assert_eq!(kept(proxy.setup()).len(), 1);

    assert_eq!(status["persisted"], false);
    assert!(status["reason"].as_str().unwrap().contains("stored once that document is moved away"), "{status}");

    // After the document is moved away, the program stores the live grant.
    std::fs::rename(proxy.setup().store(), proxy.setup().folder().join("away")).unwrap();
    proxy.wait_for_status("stored", |status| status["state"] == "valid" && status["persisted"] == true).await;
    assert_eq!(std::fs::read(proxy.setup().store()).unwrap(), good);
    put(proxy.setup(), DAMAGED);
    refused_aloud(&proxy).await;

    // After a person restores the document, the proxy continues by itself.
    put(proxy.setup(), &good);
    proxy.ready().await;
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);

    put(proxy.setup(), DAMAGED);
    refused_aloud(&proxy).await;
    replace(&simulator, &proxy).await;
    // The new document does not know of the three generations before it. The number still grows.
    let status = proxy.wait_for_status("renewed", |status| status["generation"].as_u64() > Some(3)).await;
    assert_eq!(status["state"], "valid");
    let presented = simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max());
    assert_eq!(presented, Some(1));
    proxy.stop().await;
}

#[tokio::test]
async fn a_stop_says_what_is_lost_and_fails() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let mut proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    put(proxy.setup(), DAMAGED);
    refused_aloud(&proxy).await;
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(1));
    let log = proxy.log();
    assert!(log.iter().any(|line| line.contains("STOPPING WITH A GRANT THAT IS NOT STORED")), "{log:#?}");
    assert_eq!(std::fs::read(proxy.setup().store()).unwrap(), DAMAGED);
}

#[tokio::test]
async fn a_deleted_one_is_stored_again_by_who_holds_the_grant() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let path = proxy.setup().store();
    let document = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(std::fs::read(&path).unwrap(), document);
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    let proxy = proxy.kill().await.start().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 2);
    proxy.stop().await;
}
