//! An upstream or a path that refuses every token costs a bounded number of refresh tokens. Other clients do not notice.

use std::time::{Duration, Instant};

use http::StatusCode;
use simulator::{Fault, Kind, Options, Revocation, Simulator};

use testkit::Proxy;

#[tokio::test]
async fn an_upstream_that_refuses_every_token_is_passed_through() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.fault(Fault::refusal().forever());
    let before = simulator.with_ledger(|ledger| ledger.token_calls().len());

    let mut client = proxy.http1().await;
    let began = Instant::now();
    for number in 0..1000u32 {
        let answer = client.get("/api/v2/version").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "request {number}");
        assert_eq!(answer.text(), r#"{"message":"Unauthenticated."}"#, "the upstream's own body");
        // A thousand in ten seconds.
        let due = began + Duration::from_millis(10) * number;
        tokio::time::sleep_until(due.into()).await;
    }
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len()) - before;
    assert!(calls <= 2, "{calls} refreshes");
    assert!(calls >= 1);
    let status = proxy.status().await;
    assert!(status["state"] == "valid" && status["refused_at"].is_string(), "{status}");
    simulator.clear_faults();
    assert_eq!(client.get("/api/v2/version").await.status, StatusCode::OK, "the token itself is good");
    assert_eq!(proxy.status().await["refused_at"], serde_json::Value::Null);
    proxy.stop().await;
}

#[tokio::test]
async fn one_path_that_always_refuses_disturbs_no_other() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let address = proxy.address();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let others = tokio::spawn(async move {
        let mut client = testkit::Client::http1(address).await;
        let mut statuses = std::collections::BTreeMap::new();
        while !*stopped.borrow() {
            *statuses.entry(client.get("/api/v2/version").await.status).or_insert(0) += 1;
        }
        statuses
    });
    let mut client = proxy.http1().await;
    for _ in 0..300 {
        assert_eq!(client.get("/api/v2/always-401").await.status, StatusCode::UNAUTHORIZED);
    }
    stop.send_replace(true);
    let statuses = others.await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&StatusCode::OK], "{statuses:?}");
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
    assert!(calls <= 3, "the first exchange and at most two refreshes, not {calls}");
    let refused = r#"bearer_proxy_replays_total{outcome="refused_again",reason="token_refused"}"#;
    assert!(proxy.metric(refused).await >= 1.0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_spent_budget_lets_refusals_pass() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).set("REFRESH__MAX_PER_HOUR", "2").start().await;
    proxy.ready().await;
    let mut client = proxy.http1().await;
    for expected in [StatusCode::OK, StatusCode::OK, StatusCode::UNAUTHORIZED] {
        simulator.revoke(Revocation::All(Kind::Access));
        assert_eq!(client.get("/api/v2/version").await.status, expected);
    }
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 3);
    // A person may still ask.
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    assert_eq!(client.get("/api/v2/version").await.status, StatusCode::OK);
    proxy.stop().await;
}
