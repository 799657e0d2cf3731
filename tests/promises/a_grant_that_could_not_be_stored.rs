//! The store fails between the token call and the commit. The program uses the new grant from memory, stores it as soon as
//! possible, never presents the spent token again, and reports the state.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use simulator::{Kind, Latency, Options, Revocation, Simulator};

use testkit::{Answer, Disk, Proxy, Setup, Trouble};

const METRIC: &str = "bearer_proxy_token_unpersisted";
const REASON: &str = "a rotated token is in memory only, because the store has not accepted it";

async fn simulator() -> Simulator {
    // Time to break the store while the response is under way.
    let latency = Latency { after_commit: Duration::from_millis(300), ..Latency::default() };
    Simulator::start(Options { latency, ..Options::league8() }).await.unwrap()
}

/// A proxy that has renewed its token but could not store it, and the response to the request for the refresh.
async fn unpersisted(simulator: &Simulator, disk: &Disk, setup: Setup) -> (Proxy, Answer) {
    let proxy = setup.start().await;
    proxy.ready().await;
    let committed = async {
        simulator.wait_until(|ledger| ledger.committed_calls() == 2).await.unwrap();
        disk.fail(proxy.pid());
    };
    let (refreshed, ()) = tokio::join!(proxy.refresh(), committed);
    (proxy, refreshed)
}

fn calls(simulator: &Simulator) -> usize {
    simulator.with_ledger(|ledger| ledger.token_calls().len())
}

/// From the metric: the log shows a repeated line only once a minute.
async fn failures(proxy: &Proxy) -> f64 {
    proxy.metric(r#"bearer_proxy_store_operations_total{operation="commit",outcome="error"}"#).await
}

#[tokio::test]
async fn it_is_used_told_and_stored_once_the_store_is_mended() {
    for trouble in Trouble::ALL {
        let simulator = simulator().await;
        let Some((disk, setup)) = Disk::new(trouble, Proxy::before(&simulator)) else { continue };
        let (proxy, refreshed) = unpersisted(&simulator, &disk, setup).await;
        assert_eq!(refreshed.status, StatusCode::OK, "{trouble:?}: {}", refreshed.text());
        let status = proxy.status().await;
        assert_eq!((&status["generation"], &status["persisted"]), (&json!(2), &json!(false)), "{trouble:?}");
        assert_eq!(proxy.metric(METRIC).await, 1.0);
        let readiness = proxy.admin(Method::GET, "/readyz").await;
        assert_eq!((readiness.status, &readiness.json()["reasons"]), (StatusCode::OK, &json!([REASON])));
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);

        // Neither a person nor a refusal makes it present the spent token.
        let again = proxy.refresh().await;
        assert_eq!(again.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(again.text().contains("could not be stored yet"), "{}", again.text());
        simulator.revoke(Revocation::All(Kind::Access));
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(calls(&simulator), 2, "{trouble:?}");

        let before = failures(&proxy).await;
        while failures(&proxy).await < before + 3.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        disk.mend(proxy.pid());
        proxy.wait_for_status("stored", |status| status["persisted"] == true).await;
        assert_eq!(proxy.metric(METRIC).await, 0.0);
        let document: Value = serde_json::from_str(&disk.document(proxy.pid())).unwrap();
        assert_eq!((&document["generation"], &document["intent"]), (&json!(2), &Value::Null));
        // From now on, the program presents the successor.
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()));
        assert_eq!(calls(&simulator), 3);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_stop_waits_for_the_store_and_then_says_loudly_what_is_lost() {
    let simulator = simulator().await;
    let setup = Proxy::before(&simulator).set("SHUTDOWN__GRACE", "2s");
    let (disk, setup) = Disk::new(Trouble::Vanishes, setup).unwrap();
    let (mut proxy, _) = unpersisted(&simulator, &disk, setup).await;
    let began = Instant::now();
    proxy.signal(rustix::process::Signal::TERM);
    let status = proxy.ended().await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(6), "{took:?}");
    let log = proxy.log();
    assert!(log.iter().any(|line| line.contains("STOPPING WITH A GRANT THAT COULD NOT BE STORED")), "{log:#?}");
    assert_eq!(status.code(), Some(1));
    assert_eq!(calls(&simulator), 2, "the spent token was presented again");
}

#[tokio::test]
async fn a_stop_stores_what_the_store_takes_at_last() {
    let simulator = simulator().await;
    let (disk, setup) = Disk::new(Trouble::Vanishes, Proxy::before(&simulator)).unwrap();
    let (mut proxy, _) = unpersisted(&simulator, &disk, setup).await;
    proxy.signal(rustix::process::Signal::TERM);
    while !proxy.log().iter().any(|line| line.contains("draining")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    disk.mend(proxy.pid());
    assert!(proxy.ended().await.success());
    let log = proxy.log();
    assert!(log.iter().any(|line| line.contains("the newest grant is stored")), "{log:#?}");

    let proxy = proxy.kill().await.start().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!((&proxy.status().await["generation"], calls(&simulator)), (&json!(2), 2));
    proxy.stop().await;
}

#[tokio::test]
async fn another_grant_that_a_person_stores_meanwhile_counts() {
    let simulator = simulator().await;
    let (disk, setup) = Disk::new(Trouble::CanNotBeWritten, Proxy::before(&simulator)).unwrap();
    let (proxy, _) = unpersisted(&simulator, &disk, setup).await;
    let grant = simulator.grant();
    // The test writes the document between two attempts, like an `import` that may write where the proxy may not.
    let path = proxy.setup().folder().join("store").join("grant.json");
    let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    document["refresh_token"] = json!(grant.refresh_token);
    document["lineage"] = json!("0123456789abcdef0123456789abcdef");
    document["intent"] = Value::Null;
    std::fs::write(&path, document.to_string()).unwrap();
    disk.mend(proxy.pid());

    let status =
        proxy.wait_for_status("adopted", |status| status["persisted"] == true && status["state"] == "valid").await;
    proxy
        .wait_for_status("renewed", |status| {
            // The generation never decreases, although the stored document had generation 1.
            status["generation"].as_u64() > Some(2) && status["last_refresh"]["trigger"] == "manual"
        })
        .await;
    assert_eq!(simulator.with_ledger(|ledger| ledger.calls_with(grant.refresh).count()), 1, "{status}");
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    proxy.stop().await;
}
