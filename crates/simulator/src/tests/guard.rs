//! The API's response to a request without a live token.

use super::*;

async fn with_headers(simulator: &Simulator, headers: &[(&str, &str)]) -> Seen {
    send(simulator, Http::One, request(simulator, Method::GET, "/api/v2/version", headers, "")).await.unwrap()
}

#[tokio::test]
async fn json_gets_a_401_and_anything_else_is_sent_to_the_login_page() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    for accept in ["application/json", "application/json, */*;q=0.8", "application/vnd.api+json"] {
        let seen = with_headers(&simulator, &[("accept", accept)]).await;
        assert_eq!((seen.status, seen.text()), (401, r#"{"message":"Unauthenticated."}"#), "{accept}");
        assert_eq!(seen.header("www-authenticate"), None);
    }
    for headers in [&[][..], &[("accept", "*/*")], &[("accept", "text/html")], &[("content-type", "application/json")]]
    {
        let seen = with_headers(&simulator, headers).await;
        assert_eq!((seen.status, seen.header("location")), (302, Some("/login")), "{headers:?}");
    }
    let page = send(&simulator, Http::One, request(&simulator, Method::GET, "/login", &[], "")).await.unwrap();
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=UTF-8")));
    assert!(page.header("set-cookie").is_some());
}

#[tokio::test]
async fn a_guest_without_json_can_meet_other_habits() {
    for (guest, status, body) in [(Guest::NoLoginRoute, 500, "Route [login] not defined."), (Guest::Empty, 401, "")] {
        let simulator = Simulator::start(Options { guest, ..Options::league9() }).await.unwrap();
        let seen = with_headers(&simulator, &[("accept", "*/*")]).await;
        assert_eq!(seen.status, status);
        assert!(seen.text().contains(body) && seen.text().is_empty() == body.is_empty(), "{}", seen.text());
        assert_eq!(with_headers(&simulator, &[("accept", "application/json")]).await.status, 401);
    }
}

#[tokio::test]
async fn only_one_live_bearer_token_is_let_in() {
    let options = Options { access_lifetime: Duration::from_secs(10), ..Options::league8() };
    let simulator = Simulator::start(options).await.unwrap();
    let (live, revoked) = (simulator.grant(), simulator.grant());
    simulator.revoke(Revocation::Access(revoked.access));
    let json = ("accept", "application/json");
    let bearer = |token: &str| format!("Bearer {token}");
    let (live, revoked) = (bearer(&live.access_token), bearer(&revoked.access_token));
    let cases: &[(&[&str], u16)] = &[
        (&[], 401),
        (&[&live], 200),
        (&[&revoked], 401),
        (&["Bearer eyJhbGciOiJub25lIn0.e30."], 401),
        (&[&live, &live], 401),
        (&["Basic YTpi"], 401),
    ];
    for (fields, status) in cases {
        let mut headers = vec![json];
        headers.extend(fields.iter().map(|field| ("authorization", *field)));
        assert_eq!(with_headers(&simulator, &headers).await.status, *status, "{} fields", fields.len());
    }
    simulator.clock().advance(Duration::from_secs(12));
    assert_eq!(with_headers(&simulator, &[json, ("authorization", &live)]).await.status, 401);
    simulator.with_ledger(|ledger| {
        assert_eq!(ledger.requests_seen(), 7);
        assert_eq!(ledger.executed("/api/v2/version"), 1);
        assert_eq!(ledger.expired_seen(Duration::ZERO).len(), 1);
        assert_eq!(ledger.expired_seen(Duration::from_secs(5)).len(), 0);
    });
}

#[tokio::test]
async fn an_api_that_does_not_look_revocations_up_lets_a_revoked_token_in() {
    let simulator = Simulator::start(Options { api_checks_revocation: false, ..Options::league8() }).await.unwrap();
    let grant = simulator.grant();
    simulator.revoke(Revocation::All(Kind::Access));
    assert_eq!(get(&simulator, "/api/v2/version", &grant.access_token).await.unwrap().status, 200);
    let seen = simulator.with_ledger(|ledger| ledger.requests().next().unwrap().credential);
    assert_eq!(seen, Credential::Revoked { token: 1 });
}

#[tokio::test]
async fn a_refused_request_is_read_whole_and_never_executed() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let headers = [("authorization", "Bearer dead"), ("accept", "application/json")];
    let post = request(&simulator, Method::POST, "/api/v2/echo", &headers, "hello");
    assert_eq!(send(&simulator, Http::One, post).await.unwrap().status, 401);
    simulator.with_ledger(|ledger| {
        let row = ledger.requests().next().unwrap();
        assert_eq!((row.body_length, row.executed, row.credential), (5, false, Credential::Unknown));
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(row.body_sha256.as_deref(), Some(sha256));
    });
}
