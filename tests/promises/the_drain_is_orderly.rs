//! SIGTERM: the proxy becomes unready, finishes the requests and the refresh in flight, stores the result, and exits with 0.

use std::time::Duration;

use http::{Method, StatusCode};
use rustix::process::Signal;
use simulator::{Kind, Latency, Options, Revocation, Simulator};

use testkit::{Proxy, request};

#[tokio::test]
async fn a_request_and_its_refresh_in_flight_finish() {
    let latency = Latency { before_commit: Duration::from_millis(300), after_commit: Duration::from_millis(300) };
    let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
    let mut proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    simulator.revoke(Revocation::All(Kind::Access));
    let mut client = proxy.http1().await;
    let asking = tokio::spawn(async move { client.send(request(Method::GET, "/api/v2/version")).await });
    simulator.wait_until(|ledger| ledger.token_calls().len() == 2).await.unwrap();

    proxy.signal(Signal::TERM);
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let ended = proxy.ended().await;
    assert_eq!(ended.code(), Some(0), "{}", proxy.log().join("\n"));

    let again = proxy.setup().again().start().await;
    assert_eq!(again.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 2, "what was refreshed was stored");
    again.stop().await;
}

#[tokio::test]
async fn a_refresh_that_a_person_asked_for_is_stored_before_the_end() {
    let latency = Latency { before_commit: Duration::from_millis(200), after_commit: Duration::from_millis(400) };
    let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
    let mut proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    proxy.rested().await;
    let asking = proxy.begin_refresh();
    simulator.wait_until(|ledger| ledger.token_calls().len() == 2).await.unwrap();
    proxy.signal(Signal::INT);
    assert_eq!(proxy.ended().await.code(), Some(0), "{}", proxy.log().join("\n"));
    drop(asking.await);
    let document = proxy.setup().document();
    assert_eq!(document["generation"], 2);
}

#[tokio::test]
async fn it_is_not_ready_while_it_drains_and_goes_on_taking_requests_during_the_delay() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let mut proxy = Proxy::before(&simulator).set("SHUTDOWN__DELAY", "1s").start().await;
    proxy.ready().await;
    assert_eq!(proxy.admin(Method::GET, "/readyz").await.status, StatusCode::OK);
    assert!(proxy.admin(Method::POST, "/drain").await.status.is_success());
    proxy.wait_for_status("draining", |status| status["draining"] == true).await;
    assert_eq!(proxy.admin(Method::GET, "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "a new request within the delay");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// A second signal means that the operator does not want to wait for the clients.
#[tokio::test]
async fn a_second_signal_ends_the_grace_of_requests_and_no_refresh() {
    let latency = Latency { before_commit: Duration::from_secs(2), after_commit: Duration::from_millis(300) };
    for delay in ["0s", "60s"] {
        let simulator = Simulator::start(Options { latency, ..Options::league8() }).await.unwrap();
        let setup = Proxy::before(&simulator).set("SHUTDOWN__GRACE", "60s").set("SHUTDOWN__DELAY", delay);
        let mut proxy = setup.start().await;
        proxy.ready().await;
        proxy.rested().await;
        let address = proxy.address();
        let long = request(Method::GET, "/api/v2/events?n=1000&every=100");
        let streaming = tokio::spawn(async move { testkit::Client::http1(address).await.send(long).await });
        simulator.wait_until(|ledger| ledger.requests_seen() > 0).await.unwrap();
        let asking = proxy.begin_refresh();
        simulator.wait_until(|ledger| ledger.token_calls().len() == 2).await.unwrap();
        proxy.signal(Signal::TERM);
        proxy.wait_for_log("the drain", |line| line.to_string().contains("draining")).await;
        proxy.signal(Signal::TERM);
        // The bound is far below the grace and the delay.
        assert_eq!(proxy.ended().await.code(), Some(0), "{}", proxy.log().join("\n"));
        assert!(streaming.await.unwrap().is_err(), "the response was cut");
        drop(asking.await);
        let document = proxy.setup().document();
        assert_eq!(document["generation"], 2, "the refresh in flight was stored");
    }
}
