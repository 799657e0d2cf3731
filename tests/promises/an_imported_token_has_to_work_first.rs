//! `import` of a bare refresh token replaces the grant after a refresh with it succeeded. Until then, or if it fails, the stored
//! grant does not change.

use http::StatusCode;
use serde_json::{Value, json};
use simulator::{Act, DeadRefresh, Fault, Grant, Options, Revocation, Simulator, Step, TokenError};

use testkit::{Proxy, Setup};

fn presented(simulator: &Simulator, grant: &Grant) -> usize {
    simulator.with_ledger(|ledger| ledger.calls_with(grant.refresh).count())
}

/// The stored grant, without its candidates.
fn stored(setup: &Setup) -> Value {
    let text = std::fs::read_to_string(setup.store()).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document.as_object_mut().unwrap().remove("candidate");
    document
}

/// A setup with a grant in its store, and no proxy.
async fn with_grant(simulator: &Simulator) -> Setup {
    let proxy = Proxy::before(simulator).start().await;
    proxy.ready().await;
    proxy.stop().await.unset("OAUTH__REFRESH_TOKEN")
}

fn failing(error: TokenError) -> Fault {
    Fault::token(Step::BeforeCommit, Act::Error(error))
}

#[tokio::test]
async fn without_a_proxy_import_finds_out_itself() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let setup = with_grant(&simulator).await;
    let before = stored(&setup);

    // (what the server says, exit code, what the person reads)
    let revoked = TokenError::RefreshToken(DeadRefresh::Revoked);
    for (fault, said) in [
        (failing(revoked), "the token endpoint refused this refresh token: "),
        (failing(TokenError::Client), "correct the configuration, then import the token again"),
        (Fault::throttled(None), "import the token again, or store it with --unverified"),
    ] {
        let grant = simulator.grant();
        simulator.fault(fault);
        let (code, out, err) = setup.import(&[], &grant.refresh_token).await;
        assert_eq!((code, out.as_str()), (1, ""), "{said}: {err}");
        assert!(err.contains(said) && err.contains("the stored grant is unchanged"), "{said}: {err}");
        assert!(!err.contains(&grant.refresh_token), "{said}");
        assert_eq!((stored(&setup), presented(&simulator, &grant)), (before.clone(), 1), "{said}");
        // It is not tried again.
        let proxy = setup.again().start().await;
        proxy.ready().await;
        assert_eq!((stored(&setup), presented(&simulator, &grant)), (before.clone(), 1), "{said}");
        proxy.stop().await;
    }

    let good = simulator.grant();
    let (code, out, err) = setup.import(&[], &good.refresh_token).await;
    assert_eq!(
        (code, out.as_str()),
        (0, "verified and stored as generation 2; a running proxy uses it within a second\n"),
        "{err}"
    );
    assert_eq!(presented(&simulator, &good), 1);
    let proxy = setup.start().await;
    proxy.ready().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(proxy.status().await["generation"], 2);
    assert_eq!(simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max()), Some(1));
    proxy.stop().await;
}

#[tokio::test]
async fn a_running_proxy_finds_out_and_import_says_what_came_of_it() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let proxy = with_grant(&simulator).await.start().await;
    proxy.ready().await;
    let commands = proxy.commands();
    let before = stored(&commands);

    let bad = simulator.grant();
    simulator.revoke(Revocation::Refresh(bad.refresh));
    let (code, _, err) = commands.import(&[], &bad.refresh_token).await;
    assert_eq!(code, 1);
    assert!(err.contains("refused this refresh token") && err.contains("Token has been revoked"), "{err}");
    assert_eq!((stored(&commands), presented(&simulator, &bad)), (before, 1));
    let status = proxy.status().await;
    assert_eq!((&status["state"], &status["reason"]), (&json!("valid"), &json!(null)), "{status}");
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    // The grant still works.
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);

    let good = simulator.grant();
    let (code, out, err) = commands.import(&[], &good.refresh_token).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("verified and stored as generation 3"), "{out}");
    proxy.wait_for_status("replaced", |status| status["generation"] == 3 && status["state"] == "valid").await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    assert_eq!(simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max()), Some(1));
    proxy.stop().await;
}

#[tokio::test]
async fn an_unclear_outcome_keeps_the_candidate_and_the_policy_decides() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let setup = with_grant(&simulator).await;
    let before = stored(&setup);
    for (policy, presentations, generation) in [("never", 1, 1), ("once", 2, 2)] {
        let setup = setup.again().set("OAUTH__AMBIGUOUS_RETRY", policy);
        let grant = simulator.grant();
        simulator.fault(failing(TokenError::Server("x".to_owned())));
        let (code, _, err) = setup.import(&[], &grant.refresh_token).await;
        assert_eq!(code, 1, "{policy}: {err}");
        assert_eq!((stored(&setup), presented(&simulator, &grant)), (before.clone(), 1), "{policy}");
        let proxy = setup.start().await;
        let done = |status: &Value| status["generation"] == generation && status["state"] == "valid";
        proxy.wait_for_status(policy, done).await;
        assert_eq!(presented(&simulator, &grant), presentations, "{policy}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn an_unverified_one_waits_for_the_next_start() {
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let setup = with_grant(&simulator).await;
    let (before, grant) = (stored(&setup), simulator.grant());
    let (code, out, err) = setup.import(&["--unverified"], &grant.refresh_token).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("stored as a candidate"), "{out}");
    assert_eq!((stored(&setup), presented(&simulator, &grant)), (before, 0));
    // An outage at the start does not cost the candidate.
    simulator.fault(Fault::throttled(None));
    let proxy = setup.start().await;
    proxy.wait_for_status("taken", |status| status["generation"] == 2 && status["state"] == "valid").await;
    assert_eq!(presented(&simulator, &grant), 2);
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_clearly_no_grant_is_refused_and_the_grant_stays() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = with_grant(&simulator).await;
    let before = stored(&setup);
    let calls = simulator.with_ledger(|ledger| ledger.token_calls().len());
    for (input, said) in [
        ("null\n", "it is the word `null`"),
        ("<html><body>502 Bad Gateway</body></html>", "it is a page of HTML"),
        (
            r#"{"error":"invalid_grant","error_description":"The code has expired"}"#,
            "an error response of the token endpoint: invalid_grant: The code has expired",
        ),
        ("error=bad_verification_code&error_description=It+is+incorrect", "bad_verification_code: It is incorrect"),
    ] {
        let (code, out, err) = setup.import(&[], input).await;
        assert_eq!((code, out.as_str()), (1, ""), "{input}");
        assert!(err.contains(said), "{input}: {err}");
        assert_eq!(stored(&setup), before, "{input}");
    }
    let grant = simulator.grant();
    let form = format!(
        "access_token={}&expires_in=3600&refresh_token={}&token_type=bearer",
        grant.access_token, grant.refresh_token
    );
    let (code, out, err) = setup.import(&[], &form).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("stored as generation 2"), "{out}");
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), calls, "nothing was presented");
    let proxy = setup.start().await;
    proxy.ready().await;
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK);
    proxy.stop().await;
}
