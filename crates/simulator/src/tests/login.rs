//! The authorization code: how the browser gets it, and its exchange.

use std::collections::HashMap;

use url::Url;

use super::*;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The challenge of the verifier in RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const REDIRECT: &str = "http://127.0.0.1:49152/callback";

async fn authorize(simulator: &Simulator, params: &[(&str, &str)]) -> Seen {
    let mut url = Url::parse(&simulator.authorize_url()).unwrap();
    url.query_pairs_mut().extend_pairs(params);
    let target = format!("{}?{}", url.path(), url.query().unwrap());
    send(simulator, Http::One, request(simulator, Method::GET, &target, &[], "")).await.unwrap()
}

fn query(seen: &Seen) -> HashMap<String, String> {
    assert_eq!(seen.status, 302, "{}", seen.text());
    let location = Url::parse(seen.header("location").unwrap()).unwrap();
    assert!(location.as_str().starts_with(REDIRECT), "{location}");
    location.query_pairs().into_owned().collect()
}

async fn exchange(simulator: &Simulator, code: &str, params: Value) -> Seen {
    let mut all = json!({"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT});
    for (name, value) in params.as_object().unwrap() {
        all[name] = value.clone();
    }
    token_call(simulator, all).await.unwrap()
}

fn hint(seen: &Seen) -> (u16, String, String) {
    let body = seen.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (seen.status, text("error"), text("hint"))
}

fn expected(status: u16, code: &str, hint: &str) -> (u16, String, String) {
    (status, code.to_owned(), hint.to_owned())
}

#[tokio::test]
async fn the_browser_comes_back_with_a_code_and_its_state() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let seen = authorize(
        &simulator,
        &[
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
            ("redirect_uri", REDIRECT),
            ("scope", "*"),
            ("state", "a b&c"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ],
    )
    .await;
    let query = query(&seen);
    assert_eq!(query["state"], "a b&c");
    assert!(query["code"].starts_with("def50200"));
    let (access, next) = pair(&exchange(&simulator, &query["code"], json!({"code_verifier": VERIFIER})).await);
    assert_eq!(get(&simulator, "/api/v2/version", &access).await.unwrap().status, 200);
    pair(&refresh(&simulator, &next).await.unwrap());
}

#[tokio::test]
async fn a_browser_is_never_sent_to_a_redirect_uri_that_is_not_registered() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    for uri in ["https://evil.example/", "http://localhost:49152/callback", "http://127.0.0.1:49152/other"] {
        let params = [("response_type", "code"), ("client_id", CLIENT_ID), ("redirect_uri", uri)];
        let seen = authorize(&simulator, &params).await;
        assert_eq!((seen.status, &seen.json()["error"]), (401, &json!("invalid_client")), "{uri}");
        assert_eq!(seen.header("location"), None);
    }
    let unknown = authorize(&simulator, &[("response_type", "code"), ("client_id", "nobody")]).await;
    assert_eq!(unknown.json()["error"], "invalid_client");
    let implicit = authorize(&simulator, &[("response_type", "token"), ("client_id", CLIENT_ID)]).await;
    assert_eq!(implicit.json()["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_user_who_says_no_is_sent_back_with_an_error() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    simulator.fault(Fault::new(Target::Authorize, Step::BeforeBody, Act::Error(TokenError::AccessDenied)));
    let params = [("response_type", "code"), ("client_id", CLIENT_ID), ("redirect_uri", REDIRECT), ("state", "s")];
    let query = query(&authorize(&simulator, &params).await);
    assert_eq!((query["error"].as_str(), query["state"].as_str()), ("access_denied", "s"));
    assert_eq!(query.get("code"), None);
}

#[tokio::test]
async fn a_code_works_once() {
    let moved = [
        (Flavour::League8, "invalid_request", "Authorization code has been revoked"),
        (Flavour::League9, "invalid_grant", "Authorization code has been revoked"),
    ];
    for (flavour, code, text) in moved {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let spent = simulator.code(REDIRECT, Some(CHALLENGE));
        let (access, _) = pair(&exchange(&simulator, &spent, json!({"code_verifier": VERIFIER})).await);
        let again = exchange(&simulator, &spent, json!({"code_verifier": VERIFIER})).await;
        assert_eq!(hint(&again), expected(400, code, text));
        // League does not revoke the tokens.
        assert_eq!(get(&simulator, "/api/v2/version", &access).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_strict_server_ends_the_grant_of_a_code_that_comes_twice() {
    let simulator = Simulator::start(Options::rfc6749()).await.unwrap();
    let code = simulator.code(REDIRECT, Some(CHALLENGE));
    let (access, _) = pair(&exchange(&simulator, &code, json!({"code_verifier": VERIFIER})).await);
    assert_eq!(exchange(&simulator, &code, json!({"code_verifier": VERIFIER})).await.status, 400);
    assert_eq!(get(&simulator, "/api/v2/version", &access).await.unwrap().status, 401);
}

#[tokio::test]
async fn a_code_lives_ten_minutes() {
    for (flavour, code) in [(Flavour::League8, "invalid_request"), (Flavour::League9, "invalid_grant")] {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let late = simulator.code(REDIRECT, None);
        let timely = simulator.code(REDIRECT, None);
        simulator.clock().advance(Duration::from_secs(590));
        assert_eq!(exchange(&simulator, &timely, json!({})).await.status, 200);
        simulator.clock().advance(Duration::from_secs(11));
        let seen = exchange(&simulator, &late, json!({})).await;
        assert_eq!(hint(&seen), expected(400, code, "Authorization code has expired"));
    }
}

#[tokio::test]
async fn a_code_needs_its_verifier_and_its_redirect_uri() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let wrong = "x".repeat(43);
    let cases = [
        (Some(CHALLENGE), json!({}), "invalid_request", "Check the `code_verifier` parameter"),
        (Some(CHALLENGE), json!({"code_verifier": wrong}), "invalid_grant", "Failed to verify `code_verifier`."),
        (
            Some(CHALLENGE),
            json!({"code_verifier": "short"}),
            "invalid_request",
            "Code Verifier must follow the specifications of RFC-7636.",
        ),
        (
            None,
            json!({"code_verifier": VERIFIER}),
            "invalid_request",
            "code_verifier received when no code_challenge is present",
        ),
        (None, json!({"redirect_uri": null}), "invalid_request", "Check the `redirect_uri` parameter"),
        (None, json!({"redirect_uri": "http://127.0.0.1:1/callback"}), "invalid_request", "Invalid redirect URI"),
    ];
    for (challenge, params, code, text) in cases {
        let issued = simulator.code(REDIRECT, challenge);
        let seen = exchange(&simulator, &issued, params.clone()).await;
        assert_eq!(hint(&seen), expected(400, code, text), "{params}");
        // A refused try does not spend the code.
        let verifier = challenge.map_or(Value::Null, |_| VERIFIER.into());
        pair(&exchange(&simulator, &issued, json!({"code_verifier": verifier})).await);
    }
}

#[tokio::test]
async fn a_code_that_was_never_issued_is_refused() {
    let expectations = [
        (Flavour::League8, "invalid_request", "Cannot decrypt the authorization code"),
        (Flavour::League9, "invalid_grant", "Cannot validate the provided authorization code"),
    ];
    for (flavour, code, text) in expectations {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let seen = exchange(&simulator, "def50200beef", json!({})).await;
        assert_eq!(hint(&seen), expected(400, code, text));
    }
}

#[tokio::test]
async fn priava_has_no_page_to_authorize_on() {
    let simulator = Simulator::start(Options::priava()).await.unwrap();
    let seen = authorize(&simulator, &[("response_type", "code"), ("client_id", CLIENT_ID)]).await;
    assert_eq!(seen.status, 404);
    let code = simulator.code("https://app.example/callback", None);
    let params = json!({"redirect_uri": "https://app.example/callback"});
    pair(&exchange(&simulator, &code, params).await);
}
