//! Header hygiene keeps exactly the fields that a rule for each single line keeps.
//!
//! An input is a message. Its first line says whose fields they are, and which rules apply:
//!
//! ```text
//! request 1.1 cookies overrides accept
//! Connection: close, X-Internal
//! X-Internal: 1
//! ```
//!
//! Only lines of the same name have an order (RFC 9110 §5.3), which `HeaderMap` keeps.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::{Hygiene, Locations, trailers};
use crate::fuzzing::Message;

/// The values of each name, in the order of their lines.
type Lines = BTreeMap<String, Vec<Vec<u8>>>;

/// Fields that no request, response or trailer forwards (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];
/// Fields that address the gateway, or name the client.
const CLIENTS: [&str; 7] =
    ["authorization", "forwarded", "host", "proxy-authorization", "te", "x-proxy-key", "x-real-ip"];
const OVERRIDES: [&str; 15] = [
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-http-method",
    "x-http-method-override",
    "x-method",
    "x-method-override",
    "x-original-method",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-override-uri",
    "x-override-url",
    "x-rewrite-path",
    "x-rewrite-uri",
    "x-rewrite-url",
];

pub fn headers(data: &[u8]) {
    let Message { line, headers, .. } = Message::read(data);
    let has = |word: &str| line.split(' ').any(|found| found == word);
    let hygiene = Hygiene {
        via: ["1.0 gw", "1.1 gw", "2 gw"].map(HeaderValue::from_static),
        set: vec![(HeaderName::from_static("tenantregion"), HeaderValue::from_static("EU"))],
        default_accept: has("accept").then_some(HeaderValue::from_static("application/json")),
        pass_cookies: has("cookies"),
        strip_overrides: has("overrides"),
        locations: Locations::from_text("https://api.example", "/v1"),
    };
    let given = lines(&headers);
    let mut kept = headers;
    match line.split(' ').next() {
        Some("response") => {
            hygiene.response(&mut kept);
            let expected = response(&given, &hygiene);
            assert_eq!(lines(&kept), expected);
            hygiene.response(&mut kept);
            assert_eq!(lines(&kept), expected, "twice is not once");
        }
        Some("trailers") => {
            trailers(&mut kept);
            let expected = only(&given, |name| !is_forbidden_in_trailers(name));
            assert_eq!(lines(&kept), expected);
            trailers(&mut kept);
            assert_eq!(lines(&kept), expected, "twice is not once");
        }
        _ => {
            let version = match () {
                () if has("1.0") => Version::HTTP_10,
                () if has("2") => Version::HTTP_2,
                () => Version::HTTP_11,
            };
            let wish = hygiene.request(&mut kept, version);
            if let Some(wish) = wish {
                assert_eq!(version, Version::HTTP_11);
                assert_eq!(given.get("upgrade"), Some(&vec![wish.0.as_bytes().to_vec()]));
                assert!(named(&given, "connection").contains(&"upgrade".to_owned()));
                let protocols = String::from_utf8_lossy(wish.0.as_bytes()).to_ascii_lowercase();
                for protocol in protocols.split(',') {
                    let name = protocol.split('/').next().unwrap_or_default().trim();
                    assert!(!["h2", "h2c", "http", "tls"].contains(&name), "{name} in a tunnel");
                }
            }
            let mut expected = request(&given, &hygiene, version);
            assert_eq!(lines(&kept), expected);
            assert_eq!(hygiene.request(&mut kept, version), None, "nothing is left to wish with");
            // The second gateway writes its name too.
            let via = expected.get("via").and_then(|via| via.last()).cloned();
            expected.entry("via".to_owned()).or_default().extend(via);
            assert_eq!(lines(&kept), expected, "twice is not once");
        }
    }
}

fn lines(headers: &HeaderMap) -> Lines {
    let mut lines = Lines::new();
    for (name, value) in headers {
        lines.entry(name.as_str().to_owned()).or_default().push(value.as_bytes().to_vec());
    }
    lines
}

fn only(given: &Lines, passes: impl Fn(&str) -> bool) -> Lines {
    given.iter().filter(|(name, _)| passes(name)).map(|(name, values)| (name.clone(), values.clone())).collect()
}

fn request(given: &Lines, hygiene: &Hygiene, version: Version) -> Lines {
    let named_by_connection = named_by_connection(given);
    let mut kept = only(given, |name| {
        // CGI reads one name from `x-real-ip` and `x_real_ip`.
        let read = name.replace('_', "-");
        let clients = CLIENTS.contains(&name) || is_clients(&read);
        let framing = name.contains('_')
            && ["content-length", "proxy-authorization", "transfer-encoding"].contains(&read.as_str());
        !(HOP_BY_HOP.contains(&name)
            || named_by_connection.iter().any(|named| named == name)
            || clients
            || framing
            || (name == "cookie" && !hygiene.pass_cookies)
            || (OVERRIDES.contains(&read.as_str()) && hygiene.strip_overrides))
    });
    if let Some(expected) = kept.get("expect")
        && expected.iter().all(|value| value.eq_ignore_ascii_case(b"100-continue"))
    {
        kept.remove("expect");
    }
    if named(given, "te").contains(&"trailers".to_owned()) {
        kept.insert("te".to_owned(), vec![b"trailers".to_vec()]);
    }
    if let Some(crumbs) = kept.get_mut("cookie") {
        *crumbs = vec![crumbs.join(&b"; "[..])];
    }
    let via = match version {
        Version::HTTP_10 => "1.0 gw",
        Version::HTTP_2 => "2 gw",
        _ => "1.1 gw",
    };
    kept.entry("via".to_owned()).or_default().push(via.as_bytes().to_vec());
    if let Some(default) = &hygiene.default_accept {
        let given = kept.entry("accept".to_owned()).or_default();
        if given.is_empty() || (given.len() == 1 && given[0].trim_ascii() == b"*/*") {
            *given = vec![default.as_bytes().to_vec()];
        }
    }
    kept.insert("tenantregion".to_owned(), vec![b"EU".to_vec()]);
    kept
}

fn response(given: &Lines, hygiene: &Hygiene) -> Lines {
    let named_by_connection = named_by_connection(given);
    let mut kept = only(given, |name| {
        !(HOP_BY_HOP.contains(&name)
            || name == "alt-svc"
            || named_by_connection.iter().any(|named| named == name)
            || (name == "set-cookie" && !hygiene.pass_cookies))
    });
    // The tests of `location` check the rewriting itself.
    for name in ["location", "content-location"] {
        for value in kept.get_mut(name).into_iter().flatten() {
            if let Some(reference) = hygiene.locations.reference(value) {
                *value = reference.to_vec();
            }
        }
    }
    kept
}

/// Fields that frame or route a message, or name its sender (RFC 9110 §6.5.1).
fn is_forbidden_in_trailers(name: &str) -> bool {
    let read = name.replace('_', "-");
    let others = ["alt-svc", "content-length", "cookie", "expect", "set-cookie", "trailer", "via"];
    let read_so = |list: &[&str]| list.contains(&name) || (name.contains('_') && list.contains(&read.as_str()));
    HOP_BY_HOP.contains(&name)
        || CLIENTS.contains(&name)
        || others.contains(&name)
        || is_clients(&read)
        || read_so(&["content-length", "proxy-authorization", "transfer-encoding"])
}

fn is_clients(name: &str) -> bool {
    let others = ["cf-connecting-ip", "proxy", "true-client-ip", "x-proxy-key", "x-real-ip"];
    others.contains(&name) || name.starts_with("x-forwarded-")
}

/// The fields that `Connection` names, without its own options and the fields that frame the message.
fn named_by_connection(given: &Lines) -> Vec<String> {
    let mut named = named(given, "connection");
    named.retain(|name| !["close", "keep-alive", "upgrade", "content-length", "trailer"].contains(&name.as_str()));
    named
}

/// The members of a list, in lower case and without parameters. Members that are not field names are omitted.
fn named(given: &Lines, field: &str) -> Vec<String> {
    let mut names = Vec::new();
    for value in given.get(field).into_iter().flatten() {
        for member in value.split(|byte| *byte == b',') {
            let name = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            names.extend(std::str::from_utf8(name).map(str::to_ascii_lowercase));
        }
    }
    names
}
