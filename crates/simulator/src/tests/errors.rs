//! Every row of the token endpoint's error tables, in each flavour's column.

use super::*;

const SCHEME: (&str, &str) = ("authorization", "Basic bm9ib2R5Om5vdGhpbmc=");

/// Status, `error`, and `hint`.
type Expected = (u16, &'static str, Option<&'static str>);

fn assert_row(flavour: Flavour, seen: &Seen, (status, code, hint): Expected) {
    let body = seen.json();
    assert_eq!(seen.status, status, "{flavour:?}: {body}");
    assert_eq!(body["error"], code, "{flavour:?}: {body}");
    assert!(body["error_description"].is_string(), "{flavour:?}: {body}");
    let hint = hint.filter(|_| flavour.is_league());
    assert_eq!(body.get("hint").and_then(Value::as_str), hint, "{flavour:?}: {body}");
    // A copy, which 9.0 removed.
    let message = (flavour == Flavour::League8).then_some(&body["error_description"]);
    assert_eq!(body.get("message"), message, "{flavour:?}: {body}");
    assert_eq!(seen.header("content-type"), Some("application/json"));
}

/// Runs one case in each flavour: league 8, league 9, Priava, RFC 6749.
async fn assert_rows<C>(case: C, expected: [Expected; 4])
where
    C: AsyncFn(&Simulator) -> Seen,
{
    for (flavour, row) in
        [Flavour::League8, Flavour::League9, Flavour::Priava, Flavour::Rfc6749].into_iter().zip(expected)
    {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let seen = case(&simulator).await;
        assert_row(flavour, &seen, row);
    }
}

fn dead(hint: &'static str) -> [Expected; 4] {
    [
        (401, "invalid_request", Some(hint)),
        (400, "invalid_grant", Some(hint)),
        (400, "invalid_grant", None),
        (400, "invalid_grant", None),
    ]
}

fn same(status: u16, code: &'static str, hint: Option<&'static str>) -> [Expected; 4] {
    [(status, code, hint), (status, code, hint), (400, code, None), (status, code, None)]
}

#[tokio::test]
async fn a_refresh_token_that_was_never_issued_cannot_be_decrypted() {
    let case = async |simulator: &Simulator| refresh(simulator, "def50200cafe").await.unwrap();
    assert_rows(case, dead("Cannot decrypt the refresh token")).await;
}

#[tokio::test]
async fn a_refresh_token_of_another_client_is_not_linked() {
    let case = async |simulator: &Simulator| {
        let other = Client { id: "other".to_owned(), ..Client::default() };
        simulator.reconfigure(|options| options.clients.push(other));
        let grant = simulator.grant_for("other").unwrap();
        refresh(simulator, &grant.refresh_token).await.unwrap()
    };
    assert_rows(case, dead("Token is not linked to client")).await;
}

#[tokio::test]
async fn an_expired_refresh_token_is_refused() {
    let case = async |simulator: &Simulator| {
        let grant = simulator.grant();
        simulator.clock().advance(Duration::from_secs(31_536_001));
        refresh(simulator, &grant.refresh_token).await.unwrap()
    };
    assert_rows(case, dead("Token has expired")).await;
}

#[tokio::test]
async fn a_spent_refresh_token_is_refused() {
    let case = async |simulator: &Simulator| {
        let grant = simulator.grant();
        pair(&refresh(simulator, &grant.refresh_token).await.unwrap());
        refresh(simulator, &grant.refresh_token).await.unwrap()
    };
    assert_rows(case, dead("Token has been revoked")).await;
}

#[tokio::test]
async fn a_revoked_refresh_token_is_refused() {
    let case = async |simulator: &Simulator| {
        let grant = simulator.grant();
        assert!(simulator.revoke(Revocation::Refresh(grant.refresh)));
        refresh(simulator, &grant.refresh_token).await.unwrap()
    };
    assert_rows(case, dead("Token has been revoked")).await;
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_client_fail_alike() {
    for params in [json!({"client_secret": "wrong"}), json!({"client_id": "nobody"})] {
        let case = async |simulator: &Simulator| {
            let mut params = params.clone();
            params["grant_type"] = "refresh_token".into();
            params["refresh_token"] = simulator.grant().refresh_token.into();
            token_call(simulator, params).await.unwrap()
        };
        assert_rows(case, same(401, "invalid_client", None)).await;
    }
}

#[tokio::test]
async fn the_scheme_is_named_only_to_whom_used_one() {
    for flavour in [Flavour::League8, Flavour::League9, Flavour::Rfc6749] {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let with = token_call_of(&simulator, json!({"grant_type": "client_credentials"}), &[SCHEME]).await.unwrap();
        assert_row(flavour, &with, (401, "invalid_client", None));
        assert_eq!(with.header("www-authenticate"), Some("Basic realm=\"OAuth\""), "{flavour:?}");
        let params = json!({"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"});
        let without = token_call_of(&simulator, params, &[]).await.unwrap();
        assert_row(flavour, &without, (401, "invalid_client", None));
        assert_eq!(without.header("www-authenticate"), None, "{flavour:?}");
    }
}

#[tokio::test]
async fn a_missing_parameter_is_named() {
    let cases = [
        (json!({"grant_type": "refresh_token", "client_id": null}), "Check the `client_id` parameter"),
        (json!({"grant_type": "refresh_token"}), "Check the `refresh_token` parameter"),
        (json!({"grant_type": "authorization_code"}), "Check the `code` parameter"),
    ];
    for (params, hint) in cases {
        for flavour in [Flavour::League8, Flavour::League9, Flavour::Rfc6749] {
            let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
            let seen = token_call(&simulator, params.clone()).await.unwrap();
            assert_row(flavour, &seen, (400, "invalid_request", Some(hint)));
        }
    }
}

#[tokio::test]
async fn a_missing_secret_is_a_wrong_one_to_league_8_alone() {
    let expected = [
        (Flavour::League8, (401, "invalid_client", None)),
        (Flavour::League9, (400, "invalid_request", Some("Check the `client_secret` parameter"))),
    ];
    for (flavour, row) in expected {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let params = json!({"grant_type": "client_credentials", "client_secret": null});
        assert_row(flavour, &token_call(&simulator, params).await.unwrap(), row);
    }
}

#[tokio::test]
async fn a_body_that_is_not_understood_has_no_grant_type() {
    let hint = "Check that all required parameters have been provided";
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let body = json!({"grant_type": "refresh_token", "client_id": CLIENT_ID}).to_string();
    let wrong = request(&simulator, Method::POST, "/oauth/token", &[("content-type", "text/plain")], body);
    let seen = send(&simulator, Http::One, wrong).await.unwrap();
    assert_row(Flavour::League8, &seen, (400, "unsupported_grant_type", Some(hint)));
    for params in [json!({}), json!({"grant_type": "password"})] {
        let case = async |simulator: &Simulator| token_call(simulator, params.clone()).await.unwrap();
        assert_rows(case, same(400, "unsupported_grant_type", Some(hint))).await;
    }
}

#[tokio::test]
async fn a_wider_scope_is_refused_and_spends_nothing() {
    for flavour in [Flavour::League8, Flavour::League9, Flavour::Rfc6749] {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let grant = simulator.grant();
        let params = json!({"grant_type": "refresh_token", "refresh_token": grant.refresh_token, "scope": "* admin"});
        let seen = token_call(&simulator, params).await.unwrap();
        assert_row(flavour, &seen, (400, "invalid_scope", Some("Check the `admin` scope")));
        pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
    }
}

#[tokio::test]
async fn a_grant_type_that_is_not_the_clients_is_refused() {
    let case = async |simulator: &Simulator| {
        simulator.reconfigure(|options| options.clients[0].grants = vec![GrantType::AuthorizationCode]);
        refresh(simulator, &simulator.grant().refresh_token).await.unwrap()
    };
    let unauthorized = (400, "unauthorized_client", None);
    assert_rows(case, [(401, "invalid_client", None), unauthorized, unauthorized, unauthorized]).await;
}

#[tokio::test]
async fn only_league_8_minds_a_foreign_redirect_uri_on_a_refresh() {
    for (flavour, status) in [(Flavour::League8, 401), (Flavour::League9, 200)] {
        let simulator = Simulator::start(Options::new(flavour)).await.unwrap();
        let token = simulator.grant().refresh_token;
        let params =
            json!({"grant_type": "refresh_token", "refresh_token": token, "redirect_uri": "https://other.example/"});
        assert_eq!(token_call(&simulator, params).await.unwrap().status, status, "{flavour:?}");
    }
}

#[tokio::test]
async fn a_client_id_in_digits_is_not_linked_to_its_own_token_in_league_8() {
    for (flavour, status) in [(Flavour::League8, 401), (Flavour::League9, 200)] {
        let client = Client { id: "7".to_owned(), ..Client::default() };
        let options = Options { clients: vec![client], ..Options::new(flavour) };
        let simulator = Simulator::start(options).await.unwrap();
        let token = simulator.grant().refresh_token;
        let params = json!({"client_id": 7, "grant_type": "refresh_token", "refresh_token": token});
        let seen = token_call(&simulator, params.clone()).await.unwrap();
        assert_eq!(seen.status, status, "{flavour:?}");
        if flavour == Flavour::League8 {
            let row = (401, "invalid_request", Some("Token is not linked to client"));
            assert_row(flavour, &seen, row);
            pair(&refresh_as_text(&simulator, params).await);
        }
    }
}

async fn refresh_as_text(simulator: &Simulator, mut params: Value) -> Seen {
    params["client_id"] = "7".into();
    token_call(simulator, params).await.unwrap()
}

#[tokio::test]
async fn a_server_error_is_told_in_leagues_words() {
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    simulator.fault(Fault::token(Step::BeforeCommit, Act::Error(TokenError::Server("no key".to_owned()))));
    let grant = simulator.grant();
    let seen = refresh(&simulator, &grant.refresh_token).await.unwrap();
    assert_row(Flavour::League9, &seen, (500, "server_error", None));
    assert!(seen.text().contains("prevented it from fulfilling the request: no key"), "{}", seen.text());
    pair(&refresh(&simulator, &grant.refresh_token).await.unwrap());
}

#[tokio::test]
async fn calls_beyond_the_limit_are_throttled_until_the_window_closes() {
    for (accept, is_json) in [("application/json", true), ("*/*", false)] {
        let limit = RateLimit { calls: 2, per: Duration::from_secs(60) };
        let simulator = Simulator::start(Options { rate_limit: Some(limit), ..Options::league8() }).await.unwrap();
        let call = async || {
            let form = [("content-type", "application/x-www-form-urlencoded"), ("accept", accept)];
            let body = format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}");
            send(&simulator, Http::One, request(&simulator, Method::POST, "/oauth/token", &form, body)).await.unwrap()
        };
        let first = call().await;
        assert_eq!((first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")), (Some("2"), Some("1")));
        assert_eq!(call().await.header("x-ratelimit-remaining"), Some("0"));
        let throttled = call().await;
        assert_eq!(throttled.status, 429);
        let wait: i64 = throttled.header("retry-after").unwrap().parse().unwrap();
        assert!((59..=61).contains(&wait), "{wait}");
        assert_eq!(throttled.header("x-ratelimit-remaining"), Some("0"));
        assert!(throttled.header("x-ratelimit-reset").is_some());
        if is_json {
            assert_eq!(throttled.text(), "{\n    \"message\": \"Too Many Attempts.\"\n}");
        } else {
            assert!(throttled.text().contains("Too Many Requests"), "{}", throttled.text());
        }
        simulator.clock().advance(Duration::from_secs(61));
        assert_eq!(call().await.status, 200);
        assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls()[2].outcome.clone()), Outcome::Throttled);
    }
}

#[tokio::test]
async fn the_url_of_the_cookies_renewal_is_not_the_token_endpoint() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let post = request(&simulator, Method::POST, "/oauth/token/refresh", &[("accept", "application/json")], "{}");
    let seen = send(&simulator, Http::One, post).await.unwrap();
    assert_eq!((seen.status, seen.json()["message"].as_str()), (419, Some("CSRF token mismatch.")));
    let get = request(&simulator, Method::GET, "/oauth/token", &[("accept", "application/json")], "");
    assert_eq!(send(&simulator, Http::One, get).await.unwrap().status, 405);
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 0);
}
