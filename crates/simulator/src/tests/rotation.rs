//! The effect of a refresh on the tokens, and its record in the ledger.

use super::*;

#[tokio::test]
async fn a_refresh_answers_as_passport_does() {
    for flavour in [Flavour::League8, Flavour::League9] {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let seen = refresh(&simulator, &simulator.grant().refresh_token).await.unwrap();
        let (access, refresh) = pair(&seen);
        assert_eq!(seen.header("content-type"), Some("application/json; charset=UTF-8"));
        assert_eq!(seen.header("cache-control"), Some("no-store, private"));
        assert_eq!(seen.header("pragma"), Some("no-cache"));
        assert_eq!(seen.header("x-ratelimit-limit"), Some("300"));
        let body = seen.json();
        assert_eq!(body["token_type"], "Bearer");
        assert!((31_535_999..=31_536_000).contains(&body["expires_in"].as_i64().unwrap()), "{body}");
        assert!(access.starts_with("eyJ") && refresh.starts_with("def50200"));
        assert!(seen.text().starts_with(r#"{"token_type":"Bearer","expires_in":"#), "{}", seen.text());
    }
}

#[tokio::test]
async fn members_of_the_answer_can_be_missing() {
    let options = Options { token_type: None, expires_in: false, rotation: Rotation::Kept, ..Options::league8() };
    let simulator = Simulator::start(options).await.unwrap();
    let grant = simulator.grant();
    for _ in 0..2 {
        let seen = refresh(&simulator, &grant.refresh_token).await.unwrap();
        let members: Vec<String> = seen.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["access_token"]);
    }
}

#[tokio::test]
async fn the_old_access_token_dies_with_the_refresh_and_the_successor_outlives_a_reuse() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    assert_eq!(get(&simulator, "/api/v2/version", &grant.access_token).await.unwrap().status, 200);
    let (access, next) = pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    assert_eq!(get(&simulator, "/api/v2/version", &grant.access_token).await.unwrap().status, 401);
    assert_eq!(get(&simulator, "/api/v2/version", &access).await.unwrap().status, 200);
    assert_eq!(refresh(&simulator, &grant.refresh_token).await.unwrap().status, 401);
    // No family revocation in league.
    assert_eq!(get(&simulator, "/api/v2/version", &access).await.unwrap().status, 200);
    pair(&refresh(&simulator, &next).await.unwrap());
}

#[tokio::test]
async fn the_tokens_are_spent_before_the_answer_is_written() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    simulator.fault(Fault::token(Step::AfterCommit, Act::Hang));
    let (waiting, token) = (simulator.clone(), grant.refresh_token.clone());
    let call = tokio::spawn(async move { refresh(&waiting, &token).await });
    simulator.wait_until(|ledger| ledger.committed_calls() == 1).await.unwrap();
    assert_eq!(get(&simulator, "/api/v2/version", &grant.access_token).await.unwrap().status, 401);
    let again = refresh(&simulator, &grant.refresh_token).await.unwrap();
    assert_eq!(again.json()["hint"], "Token has been revoked");
    call.abort();
}

#[tokio::test]
async fn a_refresh_works_after_the_access_token_expired_or_was_revoked() {
    let options = Options { access_lifetime: Duration::from_secs(10), ..Options::league8() };
    let simulator = Simulator::start(options).await.unwrap();
    let expired = simulator.grant();
    simulator.clock().advance(Duration::from_secs(11));
    assert_eq!(get(&simulator, "/api/v2/version", &expired.access_token).await.unwrap().status, 401);
    pair(&refresh(&simulator, &expired.refresh_token).await.unwrap());
    let revoked = simulator.grant();
    simulator.revoke(Revocation::Access(revoked.access));
    pair(&refresh(&simulator, &revoked.refresh_token).await.unwrap());
}

#[tokio::test]
async fn a_strict_server_ends_the_grant_when_a_token_is_reused() {
    let simulator = Simulator::start(Options::rfc6749()).await.unwrap();
    let grant = simulator.grant();
    let (access, next) = pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    assert_eq!(refresh(&simulator, &grant.refresh_token).await.unwrap().status, 400);
    assert_eq!(get(&simulator, "/api/v2/version", &access).await.unwrap().status, 401);
    assert_eq!(refresh(&simulator, &next).await.unwrap().status, 400);
}

#[tokio::test]
async fn a_lenient_server_takes_a_spent_token_within_its_leeway() {
    let reuse = Reuse::Leeway(Duration::from_secs(30));
    let simulator = Simulator::start(Options { reuse, ..Options::rfc6749() }).await.unwrap();
    let grant = simulator.grant();
    pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    simulator.clock().advance(Duration::from_secs(20));
    pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    // Counted from the first time that it was spent.
    simulator.clock().advance(Duration::from_secs(20));
    assert_eq!(refresh(&simulator, &grant.refresh_token).await.unwrap().status, 400);
}

#[tokio::test]
async fn a_reusable_token_lives_on_beside_its_successor() {
    let simulator = Simulator::start(Options { rotation: Rotation::Reusable, ..Options::league9() }).await.unwrap();
    let grant = simulator.grant();
    let (_, first) = pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    let (_, second) = pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    assert_ne!(first, second);
}

#[tokio::test]
async fn two_calls_at_once_both_win_on_a_racy_server_and_one_wins_elsewhere() {
    let latency = Latency { before_commit: Duration::from_millis(200), after_commit: Duration::ZERO };
    for (racy, winners) in [(true, 2), (false, 1)] {
        let simulator = Simulator::start(Options { racy, latency, ..Options::league8() }).await.unwrap();
        let token = simulator.grant().refresh_token;
        let (one, two) = tokio::join!(refresh(&simulator, &token), refresh(&simulator, &token));
        let won = [one, two].into_iter().filter(|seen| seen.as_ref().unwrap().status == 200).count();
        assert_eq!(won, winners, "racy: {racy}");
    }
}

#[tokio::test]
async fn client_credentials_come_without_a_refresh_token() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let seen = token_call(&simulator, json!({"grant_type": "client_credentials", "scope": "*"})).await.unwrap();
    let body = seen.json();
    assert_eq!(body.get("refresh_token"), None);
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(get(&simulator, "/api/v2/health", token).await.unwrap().status, 200);
}

#[tokio::test]
async fn both_body_formats_and_both_ways_of_authentication_work() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let basic = {
        use base64::Engine;
        let text = format!("{CLIENT_ID}:{CLIENT_SECRET}");
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };
    let params = json!({"grant_type": "client_credentials"});
    assert_eq!(token_call_of(&simulator, params, &[("authorization", &basic)]).await.unwrap().status, 200);
    let form = format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}");
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let call = request(&simulator, Method::POST, "/oauth/token", &kind, form);
    assert_eq!(send(&simulator, Http::Two, call).await.unwrap().status, 200);
}

#[tokio::test]
async fn priava_wants_a_form_a_region_and_a_redirect_uri() {
    let simulator = Simulator::start(Options::priava()).await.unwrap();
    let token = simulator.grant().refresh_token;
    let params = json!({
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "grant_type": "refresh_token",
        "refresh_token": token,
    });
    let without_uri = token_call_of(&simulator, params.clone(), &[]).await.unwrap();
    assert_eq!((without_uri.status, &without_uri.json()["error"]), (400, &json!("invalid_request")));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!(
        "grant_type=refresh_token&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}&refresh_token={token}\
         &redirect_uri=https://app.example/callback"
    );
    let without_region = request(&simulator, Method::POST, "/rest/oauth/token", &form, body);
    assert_eq!(send(&simulator, Http::One, without_region).await.unwrap().status, 400);
    let seen = refresh(&simulator, &token).await.unwrap();
    let (access, _) = pair(&seen);
    assert_eq!((&seen.json()["token_type"], &seen.json()["expires_in"]), (&json!("BEARER"), &json!(21_600)));
    assert_eq!(get(&simulator, "/api/rest/echo", &access).await.unwrap().status, 200);
    assert_eq!(get(&simulator, "/api/rest/echo", "dead").await.unwrap().status, 401);
    let quota = get(&simulator, "/api/rest/quota", &access).await.unwrap();
    assert_eq!((quota.status, quota.header("retry-after")), (429, None));
    assert_eq!(quota.json()["limits"], "450 requests / 5 minutes (300 seconds)");
}

#[tokio::test]
async fn the_ledger_tells_calls_answers_and_generations_apart() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let grant = simulator.grant();
    let (access, _) = pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    refresh(&simulator, &grant.refresh_token).await.unwrap();
    refresh(&simulator, "never issued").await.unwrap();
    get(&simulator, "/api/v2/echo?x=1", &access).await.unwrap();
    simulator.wait_until(|ledger| ledger.requests().all(|row| row.delivery == Delivery::Delivered)).await.unwrap();
    simulator.with_ledger(|ledger| {
        assert_eq!(ledger.calls_per_refresh_token(), [(1, 2)].into());
        assert_eq!(ledger.answered_calls_per_refresh_token(), [(1, 2)].into());
        assert_eq!(ledger.committed_calls(), 1);
        let calls = ledger.token_calls();
        assert_eq!(calls[0].outcome, Outcome::Granted);
        assert_eq!(calls[1].outcome, Outcome::Refused("invalid_request: Token has been revoked".to_owned()));
        assert_eq!(calls[2].presented, Presented::Unknown);
        let issued = ledger.issued_as(2).unwrap();
        assert_eq!((issued.grant, issued.generation, issued.parent, issued.call), (1, 2, Some(1), Some(1)));
        let row = ledger.requests().next().unwrap();
        assert_eq!((row.credential, row.target.as_str()), (Credential::Live { token: 2 }, "/api/v2/echo?x=1"));
    });
}
