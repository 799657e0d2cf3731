//! Faults of the token endpoint and of the upstream, by the one call to each.

use std::collections::BTreeSet;

use http::header::DATE;
use simulator::{Act, Answer, Fault, Kind, Presented, Revocation, Step};

use crate::checked::{Checked, league, stored};
use testkit::body::full;
use testkit::connection::Protocol;
use testkit::origin::{Origin, Seen};

fn token(answer: Answer) -> Fault {
    Fault::token(Step::BeforeCommit, Act::Answer(answer)).forever()
}

fn api(answer: Answer) -> Fault {
    Fault::api(Step::BeforeCommit, Act::Answer(answer)).forever()
}

fn json(status: u16) -> Answer {
    Answer::json(status, &serde_json::json!({"message": "canary is not a secret here"})).body(r#"{"message":"x"}"#)
}

#[tokio::test]
async fn each_fault_of_the_servers_is_found() {
    let simulator = league().await;
    let setup = stored(&simulator).await;
    let old = |answer: Answer| answer.header(DATE.as_str(), "Sun, 06 Nov 1994 08:49:37 GMT");
    for (faults, id, code) in [
        (vec![token(Answer::redirect(302, "/login"))], "endpoint-redirects", 1),
        (vec![token(Answer::html(200, "Welcome"))], "endpoint-not-json", 1),
        (vec![token(Answer::html(404, "Not Found"))], "endpoint-not-json", 1),
        (vec![token(json(429))], "endpoint-throttles", 0),
        (vec![token(json(500))], "endpoint-fails", 0),
        (vec![token(Answer::html(502, "Bad Gateway"))], "endpoint-fails", 0),
        (vec![Fault::token(Step::BeforeCommit, Act::Reset).forever()], "endpoint-fails", 1),
        (vec![api(json(403))], "upstream-forbids", 0),
        (vec![api(json(429))], "upstream-quota", 0),
        (vec![api(json(500))], "upstream-fails", 0),
        (vec![Fault::api(Step::BeforeCommit, Act::Reset).forever()], "upstream-fails", 0),
        (vec![Fault::api(Step::BeforeCommit, Act::Refuse).forever()], "upstream-refuses", 1),
        (
            vec![api(old(json(200))), token(old(Answer::json(400, &serde_json::json!({"error": "invalid_grant"}))))],
            "clock-off",
            0,
        ),
    ] {
        faults.into_iter().for_each(|fault| simulator.fault(fault));
        let checked = Checked::before(&simulator, &setup, &[]).await;
        checked.finds(id, code);
        simulator.clear_faults();
    }
    // Nothing of this has cost the grant.
    let proxy = setup.start().await;
    assert_eq!(proxy.refresh().await.status, 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_found_without_the_grant() {
    let simulator = league().await;
    let setup = stored(&simulator).await.set("OAUTH__CLIENT_SECRET", "another-secret-than-the-right-one");
    Checked::before(&simulator, &setup, &[]).await.finds("client-rejected", 1);
}

#[tokio::test]
async fn a_refused_token_causes_no_refresh() {
    let simulator = league().await;
    let proxy = stored(&simulator).await.start().await;
    proxy.ready().await;
    simulator.revoke(Revocation::All(Kind::Access));
    Checked::before(&simulator, &proxy.commands(), &[]).await.finds("upstream-refuses", 1);
    assert_eq!(proxy.status().await["generation"], 1);
    assert_eq!(proxy.status().await["refused_at"], serde_json::Value::Null);
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_skipped_is_neither_shown_nor_called() {
    let simulator = league().await;
    let setup = stored(&simulator).await;
    simulator.fault(token(Answer::html(404, "Not Found")));
    let arguments = ["--skip", "client-rejected", "--skip", "endpoint-not-json"];
    let checked = Checked::before(&simulator, &setup, &arguments).await;
    assert_eq!((checked.problems(), checked.code), (vec![], 0), "{:#}", checked.document);
    assert!(!checked.document.to_string().contains("client-rejected\""), "{:#}", checked.document);
    assert_eq!(
        simulator.with_ledger(|ledger| ledger
            .token_calls()
            .iter()
            .filter(|call| call.presented == Presented::Unknown)
            .count()),
        0
    );

    let (code, _, err) = setup.run(&["check", "--skip", "no-such-check"]).await;
    assert!(code == 2 && err.contains("expected one of config-invalid"), "{code} {err}");
    let (code, ..) = setup.again().set("OAUTH__ACCESS_TOKEN", "x").run(&["check", "--offline", "--strict"]).await;
    assert_eq!(code, 1, "a warning is a failure");
}

#[tokio::test]
async fn the_made_up_refresh_token_is_a_new_one_each_time_and_never_a_real_one() {
    let simulator = league().await;
    let setup = stored(&simulator).await;
    let stored = setup.document()["refresh_token"].as_str().unwrap().to_owned();
    assert!(simulator.serial(&stored).is_some(), "the server must know the stored token");
    let recorder = Origin::start(Protocol::Http1, None).await;
    let refuse = |_: &Seen| {
        let refusal = http::Response::builder().status(400).header("content-type", "application/json");
        refusal.body(full(r#"{"error":"invalid_grant"}"#)).unwrap()
    };
    let mut calls = recorder.answer("/oauth/token", refuse);
    let setup = setup.set("OAUTH__TOKEN_URL", format!("{}/oauth/token", recorder.url()));
    let mut presented = BTreeSet::new();
    for _ in 0..3 {
        Checked::new(&setup, &[]).await;
        let call = calls.recv().await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
        let token = body["refresh_token"].as_str().unwrap().to_owned();
        let random = token.strip_prefix("bearer-proxy-check-").unwrap_or_else(|| panic!("{token}"));
        assert!(random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        // By the ledger: the server never issued it.
        assert_eq!(simulator.serial(&token), None);
        assert!(!String::from_utf8_lossy(&call.body).contains(&stored));
        presented.insert(token);
    }
    assert_eq!(presented.len(), 3);
    assert!(calls.try_recv().is_err(), "more than one call in a run");
}
