//! The allow-list admits exactly the paths that a rule covers, however an upstream reads them.
//!
//! An input is a method and a path, then one rule per line:
//!
//! ```text
//! GET /api/v2/countries
//! GET /api/v2/*
//! * /health
//! ```

use http::Method;

use super::Rules;
use crate::config::{AllowRule, GuardConfig, PathPattern, PatternSegment, plain_path, testing};

pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let Some((method, path)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let texts: Vec<&str> = lines.take(8).collect();
    let allow: Vec<AllowRule> = texts.iter().filter_map(|text| AllowRule::parse(text).ok()).collect();

    let read = plain_path(path);
    if let Some(read) = &read {
        is_read_alike(path, read);
    }
    for rule in &allow {
        for path in [Some(path), read.as_deref()].into_iter().flatten() {
            assert_eq!(rule.path.matches(path), covers(&rule.path, path), "{:?} on {path:?}", rule.path);
        }
    }
    let covered = |read: &String| {
        let of_method = |rule: &&AllowRule| rule.method.as_ref().is_none_or(|allowed| *allowed == method);
        allow.iter().filter(of_method).any(|rule| covers(&rule.path, read))
    };
    let admitted = rules(&allow).check_allowed(&method, path, None).is_ok();
    assert_eq!(admitted, read.as_ref().is_some_and(covered), "{method} {path:?} by {texts:?}");

    // A rule without wildcards covers the path that it spells, if all servers read that path alike.
    for text in texts {
        let Some((_, written)) = text.split_once(' ').filter(|(_, path)| path.starts_with('/') && !path.contains('*'))
        else {
            continue;
        };
        let Ok(rule) = AllowRule::parse(text) else { continue };
        let asked = rule.method.clone().unwrap_or(Method::GET);
        let covers_itself = rules(&[rule]).check_allowed(&asked, written, None).is_ok();
        assert!(covers_itself, "{text:?} is taken for a rule, and admits nothing");
    }
}

fn rules(allow: &[AllowRule]) -> Rules {
    let guard = GuardConfig { allow: Some(allow.to_vec()), ..testing::defaults().guard };
    Rules { guard, via: "gw".to_owned(), tls: false, has_prefix: false }
}

/// Servers decode once, twice or not at all, read `\` as `/`, and remove parameters. The path must mean the same to all of them.
fn is_read_alike(path: &str, read: &str) {
    let once = decoded(path.as_bytes());
    assert_eq!(once, read.as_bytes(), "{path:?}");
    assert_eq!(decoded(&once), once, "{path:?} is another, decoded twice");
    assert!(!once.iter().any(|byte| *byte == b'\\' || *byte < b' ' || *byte == 0x7f), "{path:?}");
    for reading in [path.as_bytes(), &once] {
        assert_eq!(reading.first(), Some(&b'/'), "{path:?}");
        let segments: Vec<&[u8]> = reading[1..].split(|byte| *byte == b'/').collect();
        assert_eq!(segments.len(), path.matches('/').count(), "{path:?} has an encoded slash");
        for (at, segment) in segments.iter().enumerate() {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            let ends = at + 1 == segments.len() && segment.is_empty();
            assert!(ends || !matches!(name, b"" | b"." | b".."), "{path:?} has the segment {at}");
        }
    }
}

/// Decodes like a lenient server: bytes that are no valid encoding stay unchanged.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if text[at] == b'%' => {
                bytes.push(byte);
                at += 3;
            }
            _ => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    bytes
}

/// The definition, evaluated from the end: whether the last parts of the pattern cover the last segments.
fn covers(pattern: &PathPattern, path: &str) -> bool {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let mut after = vec![false; segments.len()];
    after.push(true);
    for part in pattern.0.iter().rev() {
        let mut here = vec![false; segments.len() + 1];
        for at in (0..=segments.len()).rev() {
            here[at] = match part {
                PatternSegment::Any => after[at] || (at < segments.len() && here[at + 1]),
                PatternSegment::One => at < segments.len() && !segments[at].is_empty() && after[at + 1],
                PatternSegment::Literal(text) => at < segments.len() && segments[at] == text && after[at + 1],
            };
        }
        after = here;
    }
    after[0]
}
