use http::{HeaderName, Version};

use super::*;
use crate::config::{AllowRule, PathPattern, PatternSegment, testing};

fn rules(change: impl FnOnce(&mut GuardConfig)) -> Rules {
    let mut guard = GuardConfig { hosts: None, max_header_size: 1024, ..testing::defaults().guard };
    change(&mut guard);
    Rules { guard, via: "bearer-proxy".into(), tls: false, has_prefix: false }
}

/// The problem type, or `ok`.
fn verdict(rules: &Rules, method: Method, uri: &str, lines: &[(&str, &str)], size: u64) -> &'static str {
    // HTTP/1.0 requires no `Host`.
    let mut request = Request::builder().version(Version::HTTP_10).method(method).uri(uri).body(()).unwrap();
    for (name, value) in lines {
        request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    match rules.judge(&request, size) {
        Ok(()) => "ok",
        Err(failure) => failure.kind(),
    }
}

#[test]
fn framing_comes_first() {
    let rules = rules(|guard| guard.hosts = Some(vec!["localhost".into()]));
    for (method, uri, expected) in [
        (Method::CONNECT, "a:1", "method-not-supported"),
        (Method::TRACE, "/", "method-not-supported"),
        (Method::OPTIONS, "*", "bad-request"),
        (Method::GET, "ftp://localhost/", "bad-request"),
        (Method::GET, "http://localhost/", "ok"),
        (Method::GET, "http://elsewhere/", "misdirected-request"),
        (Method::GET, "/", "misdirected-request"),
    ] {
        assert_eq!(verdict(&rules, method.clone(), uri, &[], 0), expected, "{method} {uri}");
    }
    assert_eq!(verdict(&rules, Method::GET, "/", &[("host", "localhost"), ("host", "localhost")], 0), "bad-request");
}

#[test]
fn hosts_are_compared_without_port_and_case() {
    let rules = rules(|guard| guard.hosts = Some(vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into()]));
    for (host, expected) in [
        ("localhost", "ok"),
        ("LOCALHOST:8080", "ok"),
        ("127.0.0.1:1", "ok"),
        ("[::1]:8080", "ok"),
        ("[::1]", "ok"),
        ("evil.example", "misdirected-request"),
        ("localhost.evil.example", "misdirected-request"),
        ("", "misdirected-request"),
    ] {
        assert_eq!(verdict(&rules, Method::GET, "/", &[("host", host)], 0), expected, "{host}");
    }
    let both = [("host", "localhost")];
    assert_eq!(verdict(&rules, Method::GET, "http://evil.example/", &both, 0), "misdirected-request");
}

#[test]
fn a_request_that_comes_back_is_a_loop() {
    for (via, expected) in [
        ("1.1 bearer-proxy", "loop"),
        ("1.0 a, 2 Bearer-Proxy (x)", "loop"),
        ("1.1 other", "ok"),
        ("1.1 bearer-proxy-2", "ok"),
    ] {
        assert_eq!(verdict(&rules(|_| {}), Method::GET, "/", &[("via", via)], 0), expected, "{via}");
    }
    let commented = http::HeaderValue::from_bytes(b"1.1 a (\xe4), 1.1 bearer-proxy").unwrap();
    let request = Request::builder().uri("/").header("host", "localhost").header("via", commented).body(()).unwrap();
    assert!(matches!(rules(|_| {}).judge(&request, 0), Err(Failure::Loop)), "a comment of any bytes hides no hop");
}

#[test]
fn a_client_key_is_asked_for_in_either_place() {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, b"right").as_ref());
    let rules = rules(|guard| guard.client_keys = vec![[7; 32], key]);
    for (lines, expected) in [
        (&[][..], "client-key-required"),
        (&[("x-proxy-key", "right")], "ok"),
        (&[("x-proxy-key", "wrong")], "client-key-required"),
        (&[("authorization", "Bearer right")], "ok"),
        (&[("authorization", "bearer right")], "ok"),
        (&[("authorization", "Bearer wrong")], "client-key-required"),
        (&[("authorization", "Basic right")], "client-key-required"),
        (&[("authorization", "right")], "client-key-required"),
        (&[("x-proxy-key", "wrong"), ("authorization", "Bearer right")], "client-key-required"),
    ] {
        assert_eq!(verdict(&rules, Method::GET, "/", lines, 0), expected, "{lines:?}");
    }
}

#[test]
fn the_empty_key_is_no_key() {
    let empty = digest(&SHA256, b"").as_ref().try_into().unwrap();
    let right = digest(&SHA256, b"right").as_ref().try_into().unwrap();
    let rules = rules(|guard| guard.client_keys = vec![empty, right]);
    for (lines, expected) in [
        (&[("x-proxy-key", "")][..], "client-key-required"),
        (&[("x-proxy-key", " \t ")], "client-key-required"),
        (&[("authorization", "Bearer ")], "client-key-required"),
        (&[("authorization", "Bearer  ")], "client-key-required"),
        (&[("authorization", "Bearer")], "client-key-required"),
        (&[("x-proxy-key", ""), ("authorization", "Bearer right")], "ok"),
    ] {
        assert_eq!(verdict(&rules, Method::GET, "/", lines, 0), expected, "{lines:?}");
    }
}

#[test]
fn a_page_of_another_site_is_refused_unless_it_has_a_key() {
    let key = digest(&SHA256, b"right").as_ref().try_into().unwrap();
    let (host, evil, own) =
        (("host", "localhost:8080"), ("origin", "https://evil.example"), ("origin", "http://localhost:8080"));
    let with_key = rules(|guard| guard.client_keys = vec![key]);
    let without = rules(|_| {});
    for (rules, uri, lines, expected) in [
        (&without, "/", &[host, evil][..], "cross-site"),
        (&without, "/", &[host, own], "ok"),
        (&without, "/", &[host, evil, ("x-proxy-key", "right")], "cross-site"),
        // An absolute-form target overrides `Host`.
        (&without, "http://localhost:8080/", &[("host", "evil.example"), own], "ok"),
        (&without, "http://localhost:8080/", &[("host", "evil.example"), evil], "cross-site"),
        (&with_key, "/", &[host, evil], "cross-site"),
        (&with_key, "/", &[host, evil, ("x-proxy-key", "wrong")], "cross-site"),
        (&with_key, "/", &[host, evil, ("x-proxy-key", "right")], "ok"),
        (&with_key, "/", &[host, ("sec-fetch-site", "cross-site"), ("authorization", "Bearer right")], "ok"),
        (&with_key, "/", &[host, own], "client-key-required"),
    ] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            assert_eq!(verdict(rules, method.clone(), uri, lines, 0), expected, "{method} {uri} {lines:?}");
        }
    }
}

#[test]
fn a_path_stays_below_that_of_the_upstream() {
    let without = rules(|_| {});
    let with = Rules { has_prefix: true, ..rules(|_| {}) };
    for (uri, expected) in [
        ("/a/b?x=../", "ok"),
        ("/../a", "bad-request"),
        ("/%2e%2e/a", "bad-request"),
        ("http://localhost/a/..", "bad-request"),
        ("http://localhost", "ok"),
    ] {
        assert_eq!(verdict(&with, Method::GET, uri, &[], 0), expected, "{uri}");
        assert_eq!(verdict(&without, Method::GET, uri, &[], 0), "ok", "{uri}");
    }
}

#[test]
fn with_an_allow_list_the_query_names_no_method() {
    let open = rules(|_| {});
    let closed = rules(|guard| guard.allow = Some(vec![AllowRule::parse("* /**").unwrap()]));
    for (uri, expected) in [
        ("/orders/7?_method=DELETE", "not-allowed"),
        ("/orders/7?a=b&%5Fmethod[]=DELETE", "not-allowed"),
        ("/orders/7?method=DELETE", "ok"),
        ("/_method", "ok"),
    ] {
        assert_eq!(verdict(&closed, Method::POST, uri, &[], 0), expected, "{uri}");
        assert_eq!(verdict(&open, Method::POST, uri, &[], 0), "ok", "{uri}");
    }
}

#[test]
fn only_what_is_on_the_allow_list_passes() {
    let pattern =
        |last| PathPattern(vec![PatternSegment::Literal("api".into()), PatternSegment::Literal("v2".into()), last]);
    let rules = rules(|guard| {
        guard.allow = Some(vec![
            AllowRule { method: Some(Method::GET), path: pattern(PatternSegment::One) },
            AllowRule { method: None, path: pattern(PatternSegment::Literal("any".into())) },
        ]);
    });
    for (method, path, expected) in [
        (Method::GET, "/api/v2/countries?x=/../", "ok"),
        (Method::POST, "/api/v2/countries", "not-allowed"),
        (Method::POST, "/api/v2/any", "ok"),
        (Method::POST, "/api/v2/%61ny", "ok"),
        (Method::GET, "/api/v2/a/b", "not-allowed"),
        (Method::GET, "/api/v2/..", "not-allowed"),
        (Method::GET, "/api/v2/%2e%2e", "not-allowed"),
        (Method::GET, "/api//v2/a", "not-allowed"),
        (Method::GET, "/api/v2/a%2fb", "not-allowed"),
    ] {
        assert_eq!(verdict(&rules, method.clone(), path, &[], 0), expected, "{method} {path}");
    }
}

#[test]
fn a_rule_may_spell_a_segment_in_any_encoding() {
    let rule = |text| AllowRule::parse(text).unwrap();
    let rules = rules(|guard| guard.allow = Some(vec![rule("GET /a%20b/*"), rule("GET /%C3%A4"), rule("GET /%61ny/")]));
    for (path, expected) in [
        ("/a%20b/c", "ok"),
        ("/%61%20b/c", "ok"),
        ("/a+b/c", "not-allowed"),
        ("/%C3%A4", "ok"),
        ("/%c3%a4", "ok"),
        ("/%C3%A5", "not-allowed"),
        ("/any/", "ok"),
        ("/any", "not-allowed"),
    ] {
        assert_eq!(verdict(&rules, Method::GET, path, &[], 0), expected, "{path}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_length() {
    let rules = rules(|guard| guard.max_body_size = Some(10));
    assert_eq!(verdict(&rules, Method::POST, "/", &[], 10), "ok");
    assert_eq!(verdict(&rules, Method::POST, "/", &[], 11), "body-too-large");
}

#[test]
fn a_head_over_the_limit_is_refused() {
    let rules = rules(|guard| guard.max_header_size = 100);
    // "GET / HTTP/1.1", "x: …", and the empty line.
    let fits = "v".repeat(100 - 16 - 5 - 2);
    assert_eq!(verdict(&rules, Method::GET, "/", &[("x", &fits)], 0), "ok");
    assert_eq!(verdict(&rules, Method::GET, "/?", &[("x", &fits)], 0), "headers-too-large");
    assert_eq!(verdict(&rules, Method::GET, "/?", &[("x", &fits[1..])], 0), "ok");
}

#[test]
fn a_key_that_is_listed_twice_is_a_key() {
    let key = digest(&SHA256, b"right").as_ref().try_into().unwrap();
    let rules = rules(|guard| guard.client_keys = vec![key, key]);
    assert_eq!(verdict(&rules, Method::GET, "/", &[("x-proxy-key", "right")], 0), "ok");
}

#[test]
fn an_ipv6_host_is_the_same_with_and_without_brackets() {
    for listed in ["::1", "[::1]"] {
        let rules = rules(|guard| guard.hosts = Some(vec![listed.into()]));
        assert_eq!(verdict(&rules, Method::GET, "/", &[("host", "[::1]:8080")], 0), "ok", "{listed}");
        assert_eq!(verdict(&rules, Method::GET, "/", &[("host", "[::2]")], 0), "misdirected-request", "{listed}");
    }
}

/// A service that is never ready, and must not be called.
struct Full;

impl Service<Admitted> for Full {
    type Response = ();
    type Error = Failure;
    type Future = LocalBoxFuture<Result<(), Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Pending
    }

    fn call(&mut self, _: Admitted) -> Self::Future {
        unreachable!("it is not ready")
    }
}

#[test]
fn the_guard_is_ready_when_what_it_guards_is() {
    let mut guard = GuardLayer(Rc::new(rules(|_| {}))).layer(Full);
    assert!(guard.poll_ready(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
}

#[test]
fn the_guards_have_an_order() {
    let rules = rules(|guard| {
        guard.hosts = Some(vec!["localhost".into()]);
        guard.client_keys = vec![[7; 32]];
        guard.allow = Some(Vec::new());
        guard.max_body_size = Some(1);
    });
    let (looped, foreign) = (("via", "1.1 bearer-proxy"), ("origin", "null"));
    assert_eq!(verdict(&rules, Method::GET, "/", &[looped, foreign], 2), "misdirected-request");
    assert_eq!(verdict(&rules, Method::GET, "/", &[("host", "localhost"), looped, foreign], 2), "cross-site");
    assert_eq!(verdict(&rules, Method::GET, "/", &[("host", "localhost"), looped], 2), "loop");
    assert_eq!(verdict(&rules, Method::GET, "/", &[("host", "localhost")], 2), "client-key-required");
}
