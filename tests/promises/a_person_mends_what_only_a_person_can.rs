//! `needs_login`: the proxy uses the last access token until it expires, and the reason says what to do. A new grant takes effect
//! within a second, without a restart.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use simulator::{Grant, Kind, Options, Revocation, Simulator};

use testkit::{Proxy, Setup};

/// The response of the token endpoint.
fn answer(grant: &Grant) -> String {
    json!({"token_type": "Bearer", "expires_in": 3600, "access_token": grant.access_token, "refresh_token": grant.refresh_token})
        .to_string()
}

async fn status_exit(setup: &Setup) -> i32 {
    setup.run(&["status"]).await.0
}

fn calls(simulator: &Simulator) -> usize {
    simulator.with_ledger(|ledger| ledger.token_calls().len())
}

#[tokio::test]
async fn the_last_access_token_is_used_to_its_end_and_no_longer() {
    let life = Duration::from_secs(4);
    let simulator = Simulator::start(Options { access_lifetime: life, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).set("REFRESH__WAIT", "30s").start().await;
    proxy.ready().await;
    let commands = proxy.commands();
    assert_eq!(status_exit(&commands).await, 0);
    simulator.revoke(Revocation::All(Kind::Refresh));
    let status = proxy.wait_for_status("refused", |status| status["state"] == "needs_login").await;
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("Token has been revoked") && reason.contains("`bearer-proxy import`"), "{reason}");
    assert_eq!(status["last_refresh"]["outcome"], "rejected");
    assert_eq!(status_exit(&commands).await, 3);

    let mut client = proxy.http1().await;
    let (good, refused) = client.get_until_refused("/api/v2/version").await;
    assert!(good > 0, "a token that has not expired is still used");
    // No token will come by itself, so no client waits for one.
    assert_eq!((refused.status, refused.problem()), (StatusCode::SERVICE_UNAVAILABLE, "token-unavailable".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    let asked = Instant::now();
    assert_eq!(client.get("/api/v2/version").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(asked.elapsed() < Duration::from_secs(10), "refresh.wait is 30s: {:?}", asked.elapsed());
    assert_eq!(simulator.with_ledger(|ledger| ledger.expired_seen_total()), 0);
    assert_eq!(calls(&simulator), 2, "asked once");

    // `status` without a proxy reports the same, and so does the proxy after a restart.
    let setup = proxy.stop().await;
    assert_eq!(status_exit(&setup).await, 3);
    let proxy = setup.start().await;
    proxy.wait_for_status("still so", |status| status["state"] == "needs_login").await;
    assert_eq!(calls(&simulator), 2);

    simulator.reconfigure(|options| options.access_lifetime = Duration::from_secs(3600));
    let (code, _, err) = proxy.commands().import(&[], &simulator.grant().refresh_token).await;
    assert_eq!(code, 0, "{err}");
    proxy.ready().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(status_exit(&proxy.commands()).await, 0);
    let setup = proxy.stop().await;
    assert_eq!(status_exit(&setup).await, 0);
}

#[tokio::test]
async fn an_import_takes_effect_within_a_second() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let proxy = Proxy::without_grant(&simulator).start().await;
    let commands = proxy.commands();
    proxy.wait_for_status("empty", |status| status["state"] == "needs_login").await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::SERVICE_UNAVAILABLE);

    // The fastest of several, because the machine may be busy.
    let mut fastest = Duration::MAX;
    for generation in 1..=6 {
        let grant = simulator.grant();
        let bare = generation % 2 == 1;
        let before = calls(&simulator);
        let input = if bare { grant.refresh_token.clone() } else { answer(&grant) };
        let (code, _, err) = commands.import(&[], &input).await;
        assert_eq!(code, 0, "{err}");
        let imported = Instant::now();
        proxy
            .wait_for_status("adopted", |status| status["generation"] == generation && status["state"] == "valid")
            .await;
        fastest = fastest.min(imported.elapsed());
        assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
        let used = simulator.with_ledger(|ledger| ledger.calls_with(grant.refresh).count());
        assert_eq!(
            (used, calls(&simulator) - before),
            if bare { (1, 1) } else { (0, 0) },
            "a bare one is refreshed at once"
        );
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    assert_eq!(proxy.status().await["last_refresh"]["trigger"], "manual");
    proxy.stop().await;
}

#[tokio::test]
async fn an_import_that_does_not_work_says_so_and_what_lives_goes_on() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let bad = simulator.grant();
    simulator.revoke(Revocation::Refresh(bad.refresh));
    assert_eq!(proxy.commands().import(&[], &bad.refresh_token).await.0, 1);
    assert_eq!(proxy.status().await["state"], "valid");
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "the access token before it");
    assert_eq!(simulator.with_ledger(|ledger| ledger.calls_with(bad.refresh).count()), 1);
    assert_eq!(proxy.commands().import(&[], &simulator.grant().refresh_token).await.0, 0);
    proxy.wait_for_status("mended", |status| status["generation"] == 2 && status["state"] == "valid").await;
    proxy.stop().await;
}
