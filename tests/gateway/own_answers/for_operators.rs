//! Refusals because the proxy has no token, no capacity, or is shutting down.

use http::Response;
use rustix::process::Signal;
use simulator::{Options, Simulator};

use super::{BOTH, assert_own};
use testkit::Proxy;
use testkit::body::{fed, full};
use testkit::connection::{Connection, connect, get, read};
use testkit::stage::Stage;
use testkit::within;

#[tokio::test]
async fn there_is_no_token() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::without_grant(&simulator).set("REFRESH__WAIT", "100ms").start().await;
    for protocol in BOTH {
        let mut client = Connection::over(connect(proxy.address(), None).await, protocol, false).await;
        let answer = client.ask(get("/api/v2/version")).await;
        assert_own(&answer, (503, "token-unavailable", "proxy_internal_error"), true, &format!("{protocol:?}"));
    }
    assert_eq!(simulator.with_ledger(|ledger| ledger.requests_seen()), 0, "nothing goes upstream without a token");
}

#[tokio::test]
async fn there_is_no_place_among_the_requests_in_flight() {
    let stage = Stage::plain(|setup| {
        setup.set("UPSTREAM__MAX_IN_FLIGHT", "1").set("UPSTREAM__QUEUE_TIMEOUT", "300ms").set("SHUTDOWN__GRACE", "10s")
    })
    .await;
    let (give, mut feeds) = tokio::sync::mpsc::unbounded_channel();
    stage.origin.on("/long", move |_| {
        let (feed, body) = fed();
        let _ = give.send(feed);
        async move { Ok(Response::new(body)) }
    });
    stage.origin.on("/short", |_| async move { Ok(Response::new(full("short"))) });
    for protocol in BOTH {
        let mut first = stage.client(protocol).await;
        let mut second = stage.client(protocol).await;
        // The request counts until the end of the body, not only until the head.
        let long = within(first.send(get("/long"))).await.unwrap();
        let feed = within(feeds.recv()).await.unwrap();
        let overloaded = second.ask(get("/short")).await;
        assert_own(&overloaded, (503, "overloaded", "connection_limit_reached"), true, &format!("{protocol:?}"));
        // A waiting request takes the slot that becomes free in time.
        let waiting = tokio::spawn(async move { second.ask(get("/short")).await });
        drop(feed);
        within(read(long)).await;
        assert_eq!(within(waiting).await.unwrap().text(), "short");
    }

    let mut first = stage.client(BOTH[0]).await;
    let mut second = stage.client(BOTH[0]).await;
    let long = within(first.send(get("/long"))).await.unwrap();
    let feed = within(feeds.recv()).await.unwrap();
    let waiting = tokio::spawn(async move { second.ask(get("/short")).await });
    // The queue has no event: the second request is in it after the proxy has read it.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    stage.proxy.signal(Signal::TERM);
    let draining = within(waiting).await.unwrap();
    assert_own(&draining, (503, "draining", "proxy_internal_response"), true, "drain");
    drop(feed);
    assert_eq!(within(read(long)).await.status, 200, "what is in flight finishes");
}
