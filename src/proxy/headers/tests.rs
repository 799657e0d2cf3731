use super::*;

fn hygiene() -> Hygiene {
    Hygiene {
        via: ["1.0 gw", "1.1 gw", "2 gw"].map(HeaderValue::from_static),
        set: vec![(HeaderName::from_static("tenantregion"), HeaderValue::from_static("EU"))],
        default_accept: Some(HeaderValue::from_static("application/json, */*;q=0.8")),
        pass_cookies: false,
        strip_overrides: true,
        locations: Locations::from_text("https://api.example", "/v1"),
    }
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

#[test]
fn fields_for_this_gateway_end_here() {
    let given = headers(&[
        ("authorization", "Bearer mine"),
        ("authorization", "Basic mine"),
        ("proxy-authorization", "Basic x"),
        ("cookie", "session=1"),
        ("x-proxy-key", "key"),
        ("forwarded", "for=1"),
        ("x-forwarded-for", "1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-anything", "1"),
        ("x-real-ip", "1"),
        ("x_real_ip", "1"),
        ("true-client-ip", "1"),
        ("true_client_ip", "1"),
        ("cf-connecting-ip", "1"),
        ("cf_connecting-ip", "1"),
        ("proxy", "http://evil.example:3128"),
        ("x-forwarded_for", "1"),
        ("x_http_method_override", "DELETE"),
        ("content_length", "3"),
        ("transfer_encoding", "chunked"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("host", "localhost"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("accept", "text/html"),
    ]);
    let mut kept = given;
    assert_eq!(hygiene().request(&mut kept, Version::HTTP_11), None);
    assert_eq!(lines(&kept), ["accept: text/html", "tenantregion: EU", "via: 1.1 gw"]);
}

/// Also under `guard.pass_cookies`: browsers send a cookie to every port of its host.
#[test]
fn a_login_cookie_of_the_admin_listener_ends_here() {
    let passing = Hygiene { pass_cookies: true, ..hygiene() };
    for (given, expected) in [
        (&["a=1; bp_login_9901=secret; b=2"][..], Some("a=1; b=2")),
        (&["a=1", "bp_login_9901=secret", "b=2"], Some("a=1; b=2")),
        (&["bp_login_9901=secret"], None),
        (&["bp_login_9901 =secret;bp_login_80=x;a=1"], Some("a=1")),
        (&["bp_login_9901"], None),
        (&["a=bp_login_9901=1; xbp_login_1=2; bp_login_x=3"], Some("a=bp_login_9901=1; xbp_login_1=2; bp_login_x=3")),
        (&["a=1;b=2"], Some("a=1;b=2")),
    ] {
        let fields: Vec<_> = given.iter().map(|field| ("cookie", *field)).collect();
        let mut kept = headers(&fields);
        passing.request(&mut kept, Version::HTTP_2);
        assert_eq!(kept.get(COOKIE).map(|value| value.to_str().unwrap()), expected, "{given:?}");
        assert!(kept.get_all(COOKIE).iter().count() <= 1);
    }
}

#[test]
fn unknown_and_repeated_fields_pass_in_order() {
    let mut kept = headers(&[
        ("apitoken", "t"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-a", "3"),
        ("via", "1.0 before"),
        ("accept", "a/b"),
    ]);
    hygiene().request(&mut kept, Version::HTTP_2);
    assert_eq!(kept.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(kept.get_all("via").iter().collect::<Vec<_>>(), ["1.0 before", "2 gw"]);
    assert_eq!(kept["apitoken"], "t");
}

#[test]
fn what_connection_names_is_dropped_but_for_framing() {
    let mut kept = headers(&[
        ("connection", "close, X-Secret, te"),
        ("connection", "authorization,content-length , trailer"),
        ("x-secret", "1"),
        ("content-length", "3"),
        ("trailer", "x-sum"),
        ("accept", "a/b"),
    ]);
    hygiene().request(&mut kept, Version::HTTP_11);
    assert_eq!(lines(&kept), ["accept: a/b", "content-length: 3", "tenantregion: EU", "trailer: x-sum", "via: 1.1 gw"]);
}

#[test]
fn a_member_that_is_no_token_hides_none_beside_it() {
    let beside = |token: &[u8]| HeaderValue::from_bytes(&[token, b", \xff"].concat()).unwrap();
    let mut kept = headers(&[("x-secret", "1"), ("accept", "a/b")]);
    kept.insert(CONNECTION, beside(b"x-secret"));
    kept.insert(TE, beside(b"trailers"));
    hygiene().request(&mut kept, Version::HTTP_11);
    assert_eq!(lines(&kept), ["accept: a/b", "te: trailers", "tenantregion: EU", "via: 1.1 gw"]);
    let mut answered = headers(&[("x-secret", "1")]);
    answered.insert(CONNECTION, beside(b"x-secret"));
    hygiene().response(&mut answered);
    assert!(answered.is_empty(), "{answered:?}");
    let mut wish = headers(&[("connection", "upgrade")]);
    wish.insert(UPGRADE, beside(b"websocket"));
    assert_eq!(hygiene().request(&mut wish, Version::HTTP_11), None, "what is not understood is not asked for");
}

#[test]
fn via_names_the_version_in_which_the_request_came() {
    for (version, via) in [(Version::HTTP_10, "1.0 gw"), (Version::HTTP_11, "1.1 gw"), (Version::HTTP_2, "2 gw")] {
        let mut kept = headers(&[("via", "1.1 client")]);
        hygiene().request(&mut kept, version);
        assert_eq!(kept.get_all("via").iter().collect::<Vec<_>>(), ["1.1 client", via]);
    }
}

#[test]
fn te_is_made_anew() {
    for (te, expected) in [("trailers", true), ("gzip, Trailers;q=1", true), ("gzip", false), ("trailersx", false)] {
        let mut kept = headers(&[("te", te), ("connection", "te")]);
        hygiene().request(&mut kept, Version::HTTP_11);
        assert_eq!(kept.get("te").map(|value| value == "trailers"), expected.then_some(true), "{te}");
    }
}

#[test]
fn accept_is_set_only_where_the_client_has_no_wish() {
    let default = "application/json, */*;q=0.8";
    for (given, expected) in [
        (&[][..], default),
        (&[("accept", "*/*")], default),
        (&[("accept", " */* ")], default),
        (&[("accept", "*/*;q=0.9")], "*/*;q=0.9"),
        (&[("accept", "text/html")], "text/html"),
        (&[("accept", "")], ""),
    ] {
        let mut kept = headers(given);
        hygiene().request(&mut kept, Version::HTTP_11);
        assert_eq!(kept["accept"], expected, "{given:?}");
    }
    let mut twice = headers(&[("accept", "*/*"), ("accept", "text/html")]);
    hygiene().request(&mut twice, Version::HTTP_11);
    assert_eq!(twice.get_all("accept").iter().count(), 2);
}

#[test]
fn an_upgrade_is_a_wish_of_http_1_1_alone() {
    let given = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
    for (version, wish) in [
        (Version::HTTP_11, Some(UpgradeWish(HeaderValue::from_static("websocket")))),
        (Version::HTTP_10, None),
        (Version::HTTP_2, None),
    ] {
        assert_eq!(hygiene().request(&mut headers(&given), version), wish, "{version:?}");
    }
    assert_eq!(hygiene().request(&mut headers(&[("upgrade", "websocket")]), Version::HTTP_11), None);
}

#[test]
fn no_http_runs_in_a_tunnel() {
    for (protocols, wish) in [
        (&["websocket"][..], true),
        (&["echo/1.0, websocket"], true),
        (&["h2c"], false),
        (&["H2C"], false),
        (&["websocket, h2c"], false),
        (&["HTTP/2.0"], false),
        (&["TLS/1.3"], false),
        (&[""], false),
        (&["websocket", "h2c"], false),
        (&["websocket", "websocket"], false),
    ] {
        let mut given = headers(&[("connection", "upgrade")]);
        for protocol in protocols {
            given.append("upgrade", HeaderValue::from_static(protocol));
        }
        assert_eq!(hygiene().request(&mut given, Version::HTTP_11).is_some(), wish, "{protocols:?}");
        assert!(!given.contains_key("upgrade"));
    }
}

#[test]
fn a_cookies_crumbs_become_one_field() {
    let mut kept = headers(&[("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")]);
    Hygiene { pass_cookies: true, ..hygiene() }.request(&mut kept, Version::HTTP_2);
    assert_eq!(kept.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
}

#[test]
fn overrides_of_method_and_path_end_here_with_an_allow_list() {
    let given: Vec<(&str, &str)> = OVERRIDES.iter().map(|name| (*name, "DELETE")).collect();
    let mut kept = headers(&given);
    hygiene().request(&mut kept, Version::HTTP_2);
    assert!(OVERRIDES.iter().all(|name| !kept.contains_key(*name)), "{kept:?}");
    let mut kept = headers(&given);
    Hygiene { strip_overrides: false, ..hygiene() }.request(&mut kept, Version::HTTP_2);
    assert!(OVERRIDES.iter().all(|name| kept.contains_key(*name)), "{kept:?}");
}

#[test]
fn an_expectation_that_is_met_here_ends_here() {
    for (given, passed) in [
        (&["100-continue"][..], &[][..]),
        (&["100-Continue"], &[]),
        (&["100-continue", "100-continue"], &[]),
        // The upstream refuses expectations that this gateway does not understand.
        (&["a=b"], &["a=b"]),
        (&["100-continue, a"], &["100-continue, a"]),
        (&["100-continue", "a"], &["100-continue", "a"]),
    ] {
        let mut kept = headers(&given.iter().map(|value| ("expect", *value)).collect::<Vec<_>>());
        hygiene().request(&mut kept, Version::HTTP_11);
        assert_eq!(kept.get_all("expect").iter().collect::<Vec<_>>(), passed, "{given:?}");
    }
}

#[test]
fn responses_lose_hop_by_hop_fields_and_cookies() {
    let given = [
        ("connection", "close, x-internal"),
        ("x-internal", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("www-authenticate", "Bearer"),
        ("location", "/login"),
        ("content-location", "https://API.example/v1/users/7?x#y"),
        ("alt-svc", "h3=\":443\""),
        ("content-encoding", "gzip"),
    ];
    let mut kept = headers(&given);
    hygiene().response(&mut kept);
    assert_eq!(
        lines(&kept),
        ["content-encoding: gzip", "content-location: /users/7?x#y", "location: /login", "www-authenticate: Bearer"]
    );
    let mut with_cookies = headers(&given);
    Hygiene { pass_cookies: true, ..hygiene() }.response(&mut with_cookies);
    assert_eq!(with_cookies.get_all("set-cookie").iter().count(), 2);
}

#[test]
fn trailers_are_metadata_and_nothing_else() {
    let mut kept = headers(&[
        ("x-checksum", "1"),
        ("server-timing", "a"),
        ("authorization", "Bearer x"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("host", "evil.example"),
        ("cookie", "a=1"),
        ("set-cookie", "a=1"),
        ("connection", "close"),
        ("x-forwarded-for", "1"),
        ("x_real_ip", "1"),
        ("x-proxy-key", "1"),
        ("content_length", "3"),
        ("transfer_encoding", "chunked"),
        ("proxy_authorization", "Basic x"),
        ("forwarded", "for=1"),
        ("te", "trailers"),
        ("trailer", "x-checksum"),
        ("via", "1.1 evil"),
        ("alt-svc", "clear"),
        ("expect", "100-continue"),
        ("true-client-ip", "1"),
    ]);
    trailers(&mut kept);
    assert_eq!(lines(&kept), ["server-timing: a", "x-checksum: 1"]);
}
