use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

#[test]
fn a_pattern_covers_a_path_segment_by_segment() {
    for (text, path, expected) in [
        ("/", "/", true),
        ("/", "/a", false),
        ("/a", "/a", true),
        ("/a", "/a/", false),
        ("/a/", "/a/", true),
        ("/a", "/A", false),
        ("/a/*", "/a/b", true),
        ("/a/*", "/a/", false),
        ("/a/*", "/a/b/c", false),
        ("/a/*/c", "/a/b/c", true),
        ("/a/**", "/a", true),
        ("/a/**", "/a/", true),
        ("/a/**", "/a/b/c", true),
        ("/a/**", "/ab", false),
        ("/**", "/", true),
        ("/**/c", "/c", true),
        ("/**/c", "/a/b/c", true),
        ("/**/c", "/a/b/c/d", false),
        ("/**/a/**/b", "/x/a/a/y/b", true),
        ("/**/a/*/b", "/a/a/x/b", true),
        ("/**/a/*/b", "/a/x/y/b", false),
        ("/a%2Fb", "/a/b", false),
        ("**/login", "/login", true),
        ("**/login", "/en/login", true),
        ("**/login", "login", true),
        ("**/login", "/login/now", false),
        ("**", "/any/thing", true),
    ] {
        assert_eq!(pattern(text).matches(path), expected, "{text} on {path}");
    }
}

#[test]
fn a_text_that_can_match_nothing_is_no_pattern() {
    for (text, expected) in [
        ("", PatternError::Start),
        ("api", PatternError::Start),
        ("*/login", PatternError::Start),
        ("**login", PatternError::Start),
        ("/a b", PatternError::Character),
        ("/a?b", PatternError::Character),
        ("/a#b", PatternError::Character),
        ("/ä", PatternError::Character),
        ("//a", PatternError::Segment),
        ("/a//b", PatternError::Segment),
        ("/a/../b", PatternError::Segment),
        ("/.", PatternError::Segment),
        ("/v*", PatternError::Star),
        ("/***", PatternError::Star),
    ] {
        assert_eq!(PathPattern::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn an_allow_rule_is_a_method_and_a_path() {
    assert_eq!(AllowRule::parse("GET /a/*"), Ok(AllowRule { method: Some(Method::GET), path: pattern("/a/*") }),);
    assert_eq!(AllowRule::parse("*   /a"), Ok(AllowRule { method: None, path: pattern("/a") }));
    for (text, expected) in [
        ("GET", PatternError::Rule),
        ("G(T /a", PatternError::Rule),
        ("get /a", PatternError::Method),
        ("GET a", PatternError::Relative),
        ("GET **/a", PatternError::Relative),
        ("GET /a /b", PatternError::Character),
        ("GET /a%2Fb", PatternError::Ambiguous),
        ("GET /a%25", PatternError::Ambiguous),
        ("GET /a%zz", PatternError::Ambiguous),
        ("GET /a\\b", PatternError::Ambiguous),
        ("GET /..;x", PatternError::Ambiguous),
    ] {
        assert_eq!(AllowRule::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn a_refusal_is_a_status_and_for_a_redirect_its_target() {
    assert_eq!(
        RefusalPattern::parse("401"),
        Ok(RefusalPattern { status: StatusCode::UNAUTHORIZED, sign: RefusalSign::Status })
    );
    assert_eq!(
        RefusalPattern::parse("302 **/login"),
        Ok(RefusalPattern { status: StatusCode::FOUND, sign: RefusalSign::Location(pattern("**/login")) }),
    );
    assert_eq!(
        RefusalPattern::parse("403  invalid_token"),
        Ok(RefusalPattern { status: StatusCode::FORBIDDEN, sign: RefusalSign::BearerError("invalid_token".into()) }),
    );
    for (text, expected) in [
        ("200", PatternError::Status),
        ("600", PatternError::Status),
        ("4o1", PatternError::Status),
        ("", PatternError::Status),
        ("401 **/login", PatternError::Location),
        ("302 login", PatternError::Start),
        ("403 invalid token", PatternError::BearerError),
        ("403 \"x\"", PatternError::BearerError),
    ] {
        assert_eq!(RefusalPattern::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn many_wildcards_cost_no_more_than_a_product() {
    let hostile = pattern(&"/**/a".repeat(200));
    let path = "/a".repeat(199) + &"/b".repeat(4000);
    let began = Instant::now();
    assert!(!hostile.matches(&path));
    assert!(began.elapsed() < Duration::from_secs(5), "a match by trial of all splits would not end");
}

/// The definition, by recursion over all splits.
fn naive(pattern: &[PatternSegment], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([PatternSegment::Any, rest @ ..], _) => (0..=path.len()).any(|taken| naive(rest, &path[taken..])),
        ([first, rest @ ..], [segment, others @ ..]) => first.takes(segment) && naive(rest, others),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_match_is_what_the_definition_says(text in "/((a|b|\\*|\\*\\*)/){0,6}(a|b|\\*|\\*\\*|)", path in "/((a|b|)/){0,7}(a|b|)") {
        let parsed = pattern(&text);
        let segments: Vec<&str> = path[1..].split('/').collect();
        prop_assert_eq!(parsed.matches(&path), naive(&parsed.0, &segments));
    }

    #[test]
    fn no_text_panics(text in "\\PC*", path in "\\PC*") {
        if let Ok(pattern) = PathPattern::parse(&text) {
            pattern.matches(&path);
        }
        let _ = (AllowRule::parse(&text), RefusalPattern::parse(&text));
    }
}
