//! The fields of a request: which pass, which the proxy removes, which it adds.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request};

use super::Scene;
use testkit::body::TestBody;
use testkit::connection::{Protocol, get};
use testkit::origin::Seen;
use testkit::stage::TOKEN;
use testkit::within;

async fn ask(scene: &Scene, lines: &[(&str, &[u8])]) -> Seen {
    let mut record = scene.stage.origin.record("/fields");
    let mut request: Request<TestBody> = get("/fields");
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
    }
    assert_eq!(scene.client().await.ask(request).await.status, 200);
    within(record.recv()).await.unwrap()
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

/// What the proxy itself sends to this upstream.
fn own(scene: &Scene) -> Vec<&'static str> {
    match scene.stage.up {
        Protocol::Http1 => vec!["accept", "authorization", "host", "via"],
        Protocol::Http2 => vec!["accept", "authorization", "via"],
    }
}

pub async fn unknown_and_repeated_fields_pass_in_order(scene: Scene) {
    let seen = ask(
        &scene,
        &[
            ("x-repeated", b"3"),
            ("x-unknown", b"a, b;c=\"d\"\t\"\\\""),
            ("x-repeated", b"1"),
            ("x-empty", b""),
            ("x-repeated", b"2"),
            ("x-obs-text", b"caf\xe9 \xff"),
            ("x_underscore", b"1"),
            ("!#$%&'*+-.^_`|~9", b"1"),
            ("range", b"bytes=0-1"),
            ("if-none-match", b"\"e\""),
            ("if-none-match", b"W/\"f\""),
            ("accept-encoding", b"gzip, br"),
            ("cache-control", b"no-cache"),
            ("user-agent", b"test/1"),
            ("referer", b"http://localhost/x"),
            ("origin", b"http://localhost"),
            ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("max-forwards", b"5"),
            ("x-request-id", b"42"),
        ],
    )
    .await;
    assert_eq!(seen.values("x-repeated"), ["3", "1", "2"]);
    assert_eq!(seen.values("if-none-match"), ["\"e\"", "W/\"f\""]);
    assert_eq!(seen.headers["x-obs-text"].as_bytes(), b"caf\xe9 \xff");
    for (name, value) in [
        ("x-unknown", "a, b;c=\"d\"\t\"\\\""),
        ("x-empty", ""),
        ("x_underscore", "1"),
        ("!#$%&'*+-.^_`|~9", "1"),
        ("range", "bytes=0-1"),
        ("accept-encoding", "gzip, br"),
        ("cache-control", "no-cache"),
        ("user-agent", "test/1"),
        ("referer", "http://localhost/x"),
        ("origin", "http://localhost"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("max-forwards", "5"),
        ("x-request-id", "42"),
    ] {
        assert_eq!(seen.values(name), [value], "{name}");
    }
}

pub async fn exactly_one_authorization_and_no_credential_of_the_clients(scene: Scene) {
    let seen = ask(
        &scene,
        &[
            ("authorization", b"Bearer of-the-client"),
            ("authorization", b"Basic b2Y6Y2xpZW50"),
            ("proxy-authorization", b"Basic b2Y6Y2xpZW50"),
            ("cookie", b"session=of-the-client"),
            ("x-proxy-key", b"of-the-client"),
            ("forwarded", b"for=1.2.3.4"),
            ("x-forwarded-for", b"1.2.3.4"),
            ("x-forwarded-host", b"of-the-client"),
            ("x-forwarded-whatever", b"of-the-client"),
            ("x-real-ip", b"1.2.3.4"),
            ("true-client-ip", b"1.2.3.4"),
            ("cf-connecting-ip", b"1.2.3.4"),
            ("proxy", b"http://of-the-client:3128"),
        ],
    )
    .await;
    assert_eq!(seen.values("authorization"), [format!("Bearer {TOKEN}")]);
    assert_eq!(names(&seen.headers), own(&scene));
}

pub async fn fields_of_the_hop_end_here(scene: Scene) {
    // HTTP/2 has no such fields: a request with one is malformed (RFC 9113 §8.2.2).
    if !scene.is_http1() {
        return;
    }
    let seen = ask(
        &scene,
        &[
            ("connection", b"keep-alive, X-Named"),
            ("connection", b"x-named-too , authorization, host, via"),
            ("x-named", b"1"),
            ("x-named-too", b"1"),
            ("keep-alive", b"timeout=5"),
            ("proxy-connection", b"keep-alive"),
            ("te", b"gzip"),
        ],
    )
    .await;
    assert_eq!(names(&seen.headers), own(&scene));
    assert_eq!(seen.values("authorization"), [format!("Bearer {TOKEN}")]);
}

pub async fn te_trailers_is_made_anew(scene: Scene) {
    let value: &[u8] = if scene.is_http1() { b"gzip;q=0.5, Trailers" } else { b"trailers" };
    let seen = ask(&scene, &[("te", value)]).await;
    assert_eq!(seen.values("te"), ["trailers"]);
}

pub async fn via_and_host_are_the_gateways(scene: Scene) {
    let seen = ask(&scene, &[("via", b"1.0 before")]).await;
    let received = if scene.is_http1() { "1.1" } else { "2" };
    assert_eq!(seen.values("via"), ["1.0 before".to_owned(), format!("{received} bearer-proxy")]);
    assert_eq!(seen.host, scene.stage.origin.host());
    // HTTP/2 has `:authority` only.
    let lines = if scene.stage.up == Protocol::Http1 { 1 } else { 0 };
    assert_eq!(seen.values("host").len(), lines);
}

pub async fn accept_is_made_plain_where_the_client_does_not_care(scene: Scene) {
    const PLAIN: &str = "application/json, */*;q=0.8";
    for (given, expected) in [
        (&[][..], &[PLAIN][..]),
        (&["*/*"], &[PLAIN]),
        (&["text/html"], &["text/html"]),
        (&["text/html", "*/*"], &["text/html", "*/*"]),
        (&["*/*;q=0.5"], &["*/*;q=0.5"]),
        (&[""], &[""]),
    ] {
        let lines: Vec<(&str, &[u8])> = given.iter().map(|value| ("accept", value.as_bytes())).collect();
        assert_eq!(ask(&scene, &lines).await.values("accept"), expected, "{given:?}");
    }
}
