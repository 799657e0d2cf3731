//! A refresh completes and is stored although the client that caused it has disconnected.

use std::time::Duration;

use http::{Method, StatusCode};
use simulator::{Kind, Latency, Options, Revocation, Simulator};

use testkit::{Proxy, request};

#[tokio::test]
async fn a_client_that_leaves_cancels_no_refresh() {
    let latency = Latency { before_commit: Duration::from_millis(100), after_commit: Duration::from_millis(300) };
    let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.revoke(Revocation::All(Kind::Access));

    let mut client = proxy.http1().await;
    let asking = tokio::spawn(async move { client.send(request(Method::GET, "/api/v2/version")).await });
    // The refresh that the client caused has reached the server.
    simulator.wait_until(|ledger| ledger.token_calls().len() == 2).await.unwrap();
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());

    proxy.wait_for_status("renewed", |status| status["generation"] == 2 && status["persisted"] == true).await;
    // Another process finds the stored token and makes no token call.
    let proxy = proxy.kill().await.start().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 2);
    proxy.stop().await;
}
