//! A restart with a valid stored token makes no token call. A restart with an expired one makes one.

use std::time::Duration;

use http::StatusCode;
use simulator::{Options, Simulator};

use testkit::Proxy;

#[tokio::test]
async fn a_valid_stored_token_is_used_without_a_token_call() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let setup = proxy.stop().await;
    for _ in 0..2 {
        // The initial refresh token is still configured. The program knows its fingerprint and ignores it.
        let proxy = setup.again().start().await;
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        let status = proxy.status().await;
        assert_eq!((&status["state"], &status["generation"]), (&"valid".into(), &1.into()));
        proxy.stop().await;
    }
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 1);
}

#[tokio::test]
async fn an_expired_stored_token_is_renewed_by_one_call() {
    let life = Duration::from_secs(3);
    let simulator = Simulator::start(Options { access_lifetime: life, ..Options::league9() }).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let setup = proxy.stop().await;
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
    simulator.reconfigure(|options| options.access_lifetime = Duration::from_secs(3600));
    // Only the passing of time makes the token expire.
    tokio::time::sleep(life).await;

    let proxy = setup.start().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), calls + 1);
    assert_eq!(proxy.status().await["last_refresh"]["trigger"], "startup");
    proxy.stop().await;
}
