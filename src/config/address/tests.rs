use proptest::prelude::*;

use super::*;

#[test]
fn ip_literals_are_known_with_and_without_brackets() {
    assert_eq!(ip_literal("127.0.0.1"), Some("127.0.0.1".parse().unwrap()));
    assert_eq!(ip_literal("[::1]"), Some("::1".parse().unwrap()));
    assert_eq!(ip_literal("localhost"), None);
}

#[test]
fn a_listener_is_an_address_or_a_socket_file() {
    for (text, expected) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:0", "[::1]:0"),
        ("localhost:80", "127.0.0.1:80"),
        ("unix:/run/p.sock", "unix:/run/p.sock"),
    ] {
        assert_eq!(ListenAddress::parse(text).unwrap().to_string(), expected);
    }
    let long = format!("unix:/{}", "x".repeat(107));
    for text in ["", ":8080", "8080", "*:8080", "127.0.0.1", "example.com:80", "127.0.0.1:65536", "unix:p.sock", &long]
    {
        assert!(ListenAddress::parse(text).is_err(), "{text}");
    }
}

#[test]
fn only_this_machine_reaches_a_loopback_listener() {
    for (text, expected) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("unix:/p", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("10.0.0.1:1", false),
    ] {
        assert_eq!(ListenAddress::parse(text).unwrap().is_loopback(), expected, "{text}");
    }
}

#[test]
fn two_listeners_collide_on_one_address() {
    for (one, two, expected) in [
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("0.0.0.0:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("127.0.0.1:80", "127.0.0.1:81", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("0.0.0.0:80", "[::1]:80", false),
        ("unix:/a", "unix:/a", true),
        ("unix:/a", "unix:/b", false),
    ] {
        let parse = |text| ListenAddress::parse(text).unwrap();
        assert_eq!(parse(one).collides(&parse(two)), expected, "{one} {two}");
    }
}

#[test]
fn a_credential_goes_to_https_or_to_the_loopback() {
    for text in [
        "https://a.example",
        "https://a.example:8443/t?x=1",
        "http://127.0.0.1:1/",
        "http://127.8.8.8",
        "http://[::1]",
        "http://localhost:9",
    ] {
        assert!(secure_url(text).is_ok(), "{text}");
    }
    for text in [
        "",
        "a.example",
        "https:a.example",
        "https:///a.example",
        "https:\\\\a.example",
        "https://",
        " https://a.example",
        "https://a.exa\tmple",
        "http://a.example",
        "http://localhost.a.example",
        "http://127.0.0.1.a.example",
        "http://128.0.0.1",
        "http://0.0.0.0",
        "ftp://a.example",
        "https://user@a.example",
        "https://:pw@a.example",
        "https://a.example/#f",
    ] {
        assert!(secure_url(text).is_err(), "{text}");
    }
}

#[test]
fn an_upstream_is_an_origin_and_a_prefix() {
    for (text, expected, prefix) in [
        ("https://A.example", "https://a.example", ""),
        ("https://a.example/", "https://a.example", ""),
        ("https://a.example:443/api/", "https://a.example", "/api"),
        ("http://[::1]:80/api/v2", "http://[::1]", "/api/v2"),
        ("http://127.0.0.1:8080/a//", "http://127.0.0.1:8080", "/a"),
    ] {
        let (origin, found) = origin(text).unwrap();
        assert_eq!((origin.to_string().as_str(), found.as_str()), (expected, prefix), "{text}");
    }
    assert!(origin("https://a.example/?q").is_err());
}

#[test]
fn an_outbound_proxy_is_a_host_a_port_and_perhaps_credentials() {
    let proxy = outbound_proxy("http://me:p%40ss%2Bw+d@proxy.example:3128").unwrap().unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
    assert_eq!(proxy.credentials.unwrap().expose(), "me:p@ss+w+d");
    let proxy = outbound_proxy("[::1]:3128").unwrap().unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port, proxy.credentials.is_some()), ("::1", 3128, false));
    assert!(outbound_proxy("off").unwrap().is_none());
    for text in ["", "https://p:1", "socks5://p:1", "http://p:1/x", "http://p:1?x", "http://", "p q"] {
        assert!(outbound_proxy(text).is_err(), "{text}");
    }
}

#[test]
fn a_host_is_compared_without_port_and_case() {
    for (text, expected) in [
        ("API.Internal", "api.internal"),
        ("my_service:8080", "my_service"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("[0:0::1]:8080", "[::1]"),
    ] {
        assert_eq!(host(text).unwrap(), expected, "{text}");
    }
    for text in ["", ":80", "a b", "a/b", "*.example.com", "a:b", "http://a", "a:99999"] {
        assert!(host(text).is_err(), "{text}");
    }
}

#[test]
fn a_redirect_uri_keeps_its_text() {
    assert_eq!(RedirectUri::parse("https://a.example").unwrap().as_str(), "https://a.example");
    assert_eq!(RedirectUri::parse("com.example.app:/cb").unwrap().as_str(), "com.example.app:/cb");
    for text in ["", "/callback", "https://a.example/#f", "https://a.example/ b"] {
        assert!(RedirectUri::parse(text).is_err(), "{text}");
    }
}

#[test]
fn an_upstream_that_is_the_listener_itself_is_seen() {
    for (url, listen, expected) in [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
        ("http://localhost:8080", "127.0.0.1:8080", true),
        ("http://localhost:8080", "0.0.0.0:8080", true),
        ("https://127.0.0.1", "127.0.0.1:443", true),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", false),
        ("https://a.example:8080", "0.0.0.0:8080", false),
    ] {
        let (origin, _) = origin(url).unwrap();
        assert_eq!(origin.is_served_by(&ListenAddress::parse(listen).unwrap()), expected, "{url} {listen}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = (ListenAddress::parse(&text), secure_url(&text), origin(&text), outbound_proxy(&text), host(&text));
        let _ = RedirectUri::parse(&text);
    }

    #[test]
    fn a_secure_url_names_https_or_this_machine(text in "(http|https|HTTP)://[a-z0-9.:@\\[\\]/%-]{1,30}") {
        if let Ok(url) = secure_url(&text) {
            prop_assert!(url.scheme() == "https" || is_loopback(&url));
            prop_assert!(url.username().is_empty() && url.password().is_none());
        }
    }
}
