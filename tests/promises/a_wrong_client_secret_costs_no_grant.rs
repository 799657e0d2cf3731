//! A wrong client secret: the grant is kept, nothing is tried for a quarter of an hour, and at once when a person asks.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use simulator::{CLIENT_SECRET, Options, Simulator};

use crate::support::Proxy;

#[tokio::test]
async fn it_rests_unless_a_person_asks() {
    for options in [Options::league8(), Options::league9()] {
        let simulator = Simulator::start(options).await.unwrap();
        let calls = || simulator.with_ledger(|ledger| ledger.token_calls().len());
        let setup = Proxy::before(&simulator).set("OAUTH__CLIENT_SECRET", "wrong").set("REFRESH__WAIT", "100ms");
        let proxy = setup.again().start().await;
        let refused = |status: &serde_json::Value| status["last_refresh"]["outcome"] == "misconfigured";
        let status = proxy.wait_for_status("refused", refused).await;
        assert_eq!((&status["state"], &status["reason"]), (&"starting".into(), &serde_json::Value::Null), "{status}");
        let said = status["last_refresh"]["error"].as_str().unwrap();
        assert!(said.contains("invalid_client") && said.contains("oauth.client_secret"), "{said}");

        // Requests do not ask for it, and are told when it may be worth asking again.
        let answer = proxy.get("/api/v2/version").await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::SERVICE_UNAVAILABLE, "token-unavailable".to_owned())
        );
        assert_eq!(answer.headers["retry-after"], "300", "five minutes at most");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(calls(), 1, "no backoff ends before the quarter of an hour");
        for count in 2..=3 {
            assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(calls(), count, "a person is obeyed at once");
        }
        let setup = proxy.stop().await;

        let proxy = setup.set("OAUTH__CLIENT_SECRET", CLIENT_SECRET).start().await;
        proxy.ready().await;
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "the grant was kept");
        assert_eq!(calls(), 4);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_token_that_lives_goes_on() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let setup = proxy.stop().await;
    let proxy = setup.set("OAUTH__CLIENT_SECRET", "wrong").start().await;
    proxy.ready().await;
    assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    let status = proxy.status().await;
    assert_eq!((&status["state"], &status["last_refresh"]["outcome"]), (&"valid".into(), &"misconfigured".into()));
    let at = |name: &serde_json::Value| name.as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(at(&status["expires_at"]) > at(&status["last_refresh"]["at"]));
    proxy.stop().await;
}
