//! `oauth.refresh_token`: the program ignores a token that it knows. A new token replaces the stored grant after a refresh with it
//! succeeded. A token that does not work leaves the stored grant in use.

use http::StatusCode;
use serde_json::json;
use simulator::Act;
use simulator::{DeadRefresh, Fault, Grant, Options, Revocation, Simulator, Step, TokenError};

use testkit::{Proxy, Setup};

fn presented(simulator: &Simulator, grant: &Grant) -> usize {
    simulator.with_ledger(|ledger| ledger.calls_with(grant.refresh).count())
}

fn with(setup: &Setup, grant: &Grant) -> Setup {
    setup.again().set("OAUTH__REFRESH_TOKEN", &grant.refresh_token)
}

#[tokio::test]
async fn a_known_one_is_passed_over_and_a_new_one_has_to_work_first() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let (first, bad, good) = (simulator.grant(), simulator.grant(), simulator.grant());
    simulator.revoke(Revocation::Refresh(bad.refresh));
    let setup = Proxy::without_grant(&simulator);

    let proxy = with(&setup, &first).start().await;
    proxy.wait_for_status("taken", |status| status["generation"] == 1 && status["state"] == "valid").await;
    assert_eq!(proxy.status().await["last_refresh"]["trigger"], "startup");
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    proxy.stop().await;

    // The program tries a new token that does not work only once.
    for _ in 0..2 {
        let proxy = with(&setup, &bad).start().await;
        proxy.wait_for_status("tried", |_| presented(&simulator, &bad) == 1).await;
        let status = proxy.wait_for_status("kept", |status| status["state"] == "valid").await;
        assert_eq!((&status["generation"], &status["reason"]), (&json!(2), &json!(null)), "{status}");
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        proxy.stop().await;
    }
    let proxy = with(&setup, &bad).start().await;
    proxy.ready().await;
    assert_eq!(proxy.refresh().await.status, StatusCode::OK, "the stored grant is what is refreshed");
    assert_eq!(proxy.status().await["generation"], 3);
    proxy.stop().await;

    // A token that works becomes the grant. The program never presents the old one again.
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
    let proxy = with(&setup, &good).start().await;
    proxy.wait_for_status("replaced", |status| status["generation"] == 4 && status["state"] == "valid").await;
    proxy.stop().await;
    for known in [&first, &bad, &good] {
        let proxy = with(&setup, known).start().await;
        proxy.ready().await;
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        assert_eq!(proxy.status().await["generation"], 4);
        proxy.stop().await;
    }
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), calls + 1);
    assert_eq!([&first, &bad, &good].map(|grant| presented(&simulator, grant)), [1, 1, 1]);
    let most = simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max());
    assert_eq!(most, Some(1));
}

#[tokio::test]
async fn one_of_another_client_is_kept_for_later_and_holds_nothing_up() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let setup = proxy.stop().await;
    let wrong = TokenError::RefreshToken(DeadRefresh::NotLinked);
    simulator.fault(Fault::token(Step::BeforeCommit, Act::Error(wrong)));
    let new = simulator.grant();
    let proxy = with(&setup, &new).start().await;
    let tried = |status: &serde_json::Value| status["last_refresh"]["outcome"] == "misconfigured";
    let status = proxy.wait_for_status("tried", tried).await;
    assert_eq!((&status["state"], &status["generation"]), (&json!("valid"), &json!(1)));
    // A refused access token causes a refresh with the stored token.
    simulator.revoke(Revocation::All(simulator::Kind::Access));
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!((presented(&simulator, &new), &proxy.status().await["generation"]), (1, &json!(2)));
    // A refresh on request uses the new token.
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    assert_eq!((presented(&simulator, &new), &proxy.status().await["generation"]), (2, &json!(3)));
    proxy.stop().await;
}
