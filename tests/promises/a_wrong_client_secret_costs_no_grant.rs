//! A wrong client secret costs no grant. The program tries again after a growing wait, and at once on request.

use http::StatusCode;
use jiff::Timestamp;
use simulator::{CLIENT_SECRET, Options, Simulator};

use testkit::Proxy;

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

        // Requests cause no attempt, and learn when to come back.
        let answer = proxy.get("/api/v2/version").await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::SERVICE_UNAVAILABLE, "token-unavailable".to_owned())
        );
        let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "there is no token: a minute at most, not {seconds} s");
        assert!(status["retry_at"].is_string() && status["retrying"] == "refresh", "{status}");
        let before = calls();
        for _ in 0..2 {
            assert_eq!(proxy.refresh().await.status, StatusCode::SERVICE_UNAVAILABLE);
        }
        assert!(calls() >= before + 2, "a person is obeyed at once");
        let before = calls();
        let setup = proxy.stop().await;

        let proxy = setup.set("OAUTH__CLIENT_SECRET", CLIENT_SECRET).start().await;
        proxy.ready().await;
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "the grant was kept");
        assert!(calls() > before);
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
