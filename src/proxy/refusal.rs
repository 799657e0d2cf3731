//! Whether an answer says that the token was refused. A pure decision, by the profile's patterns.

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};

use crate::config::RefusalPattern;

/// What counts as a refused token (`upstream.refusal`).
#[derive(Clone, Debug)]
pub struct Refusals(Vec<RefusalPattern>);

// === impl Refusals ===

impl Refusals {
    pub fn new(patterns: Vec<RefusalPattern>) -> Self {
        Self(patterns)
    }

    pub fn is_refusal(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        // Nearly every answer is a success: nothing below is looked at.
        !status.is_success() && self.0.iter().any(|pattern| matches(pattern, status, headers))
    }
}

fn matches(pattern: &RefusalPattern, status: StatusCode, headers: &HeaderMap) -> bool {
    pattern.status == status
        && pattern.location.as_ref().is_none_or(|location| {
            headers
                .get(LOCATION)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|target| location.matches(path_of(target)))
        })
}

/// The path of a `Location`, relative or absolute (RFC 9110 §10.2.2), without query and fragment.
fn path_of(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let after_scheme = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => Some(rest),
        _ => target.strip_prefix("//"),
    };
    match after_scheme {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::{PathPattern, PatternSegment};

    fn passolution() -> Refusals {
        let login = PathPattern(vec![PatternSegment::Any, PatternSegment::Literal("login".into())]);
        let pattern = |status, location| RefusalPattern { status, location };
        Refusals::new(vec![
            pattern(StatusCode::UNAUTHORIZED, None),
            pattern(StatusCode::FOUND, Some(login.clone())),
            pattern(StatusCode::SEE_OTHER, Some(login)),
        ])
    }

    #[test]
    fn a_refusal_is_what_the_profile_says() {
        for (status, location, refused) in [
            (401, None, true),
            (403, None, false),
            (200, Some("/login"), false),
            (302, None, false),
            (302, Some("/login"), true),
            (302, Some("/en/login?next=%2F"), true),
            (302, Some("login"), true),
            (302, Some("https://web.passolution.eu/login#top"), true),
            (302, Some("//web.passolution.eu/de/login"), true),
            (303, Some("http://h/login"), true),
            (302, Some("/logins"), false),
            (302, Some("/login/help"), false),
            (302, Some("https://h"), false),
            (302, Some("https://login"), false),
            // A path, whatever it holds.
            (302, Some("/a://login"), true),
            (302, Some("/x?to=/login"), false),
            (307, Some("/login"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(location) = location {
                headers.insert(LOCATION, HeaderValue::from_static(location));
            }
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(passolution().is_refusal(status, &headers), refused, "{status} {location:?}");
        }
    }
}
