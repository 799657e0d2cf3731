//! Whether a response refuses the token: a pure decision, by the patterns of the profile.

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};

use super::challenge::{Challenge, challenges};
use crate::config::{RefusalPattern, RefusalSign};

/// The responses that refuse the token (`upstream.refusal`).
#[derive(Clone, Debug)]
pub struct Refusals(Vec<RefusalPattern>);

// === impl Refusals ===

impl Refusals {
    pub fn new(patterns: Vec<RefusalPattern>) -> Self {
        Self(patterns)
    }

    pub fn is_refusal(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        // Most responses are a success, which needs no further check.
        !status.is_success() && self.0.iter().any(|pattern| matches(pattern, status, headers))
    }
}

fn matches(pattern: &RefusalPattern, status: StatusCode, headers: &HeaderMap) -> bool {
    if pattern.status != status {
        return false;
    }
    match &pattern.sign {
        RefusalSign::Status => status != StatusCode::UNAUTHORIZED || may_be_the_token(&challenges(headers)),
        RefusalSign::Location(location) => {
            let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
            target.is_some_and(|target| location.matches(path_of(target)))
        }
        RefusalSign::BearerError(wanted) => {
            challenges(headers).iter().any(|challenge| challenge.is_bearer_error(wanted))
        }
    }
}

/// Whether a 401 may concern the token. It does if it has no challenge, as with most servers.
fn may_be_the_token(challenges: &[Challenge]) -> bool {
    let has = |error| challenges.iter().any(|challenge| challenge.is_bearer_error(error));
    if has("invalid_token") {
        return true;
    }
    let other_credentials = !challenges.is_empty() && challenges.iter().all(Challenge::asks_for_other_credentials);
    // A new token would have the same scope, and the request would still be malformed.
    !(other_credentials || has("insufficient_scope") || has("invalid_request"))
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
        let pattern = |status, sign| RefusalPattern { status, sign };
        Refusals::new(vec![
            pattern(StatusCode::UNAUTHORIZED, RefusalSign::Status),
            pattern(StatusCode::FOUND, RefusalSign::Location(login.clone())),
            pattern(StatusCode::SEE_OTHER, RefusalSign::Location(login)),
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

    #[test]
    fn a_401_is_no_refusal_if_its_challenges_are_about_something_else() {
        let refusals = |text| Refusals::new(vec![RefusalPattern::parse(text).unwrap()]);
        let (plain, azure) = (refusals("401"), refusals("403 invalid_token"));
        // challenges, one field each: is a 401 with them a refusal?, is a 403?
        let rows: [(&[&str], bool, bool); 19] = [
            (&[], true, false),
            (&["Bearer"], true, false),
            (&["Bearer realm=\"x\""], true, false),
            (&["Bearer error=\"invalid_token\""], true, true),
            (&["bearer realm=\"a, b\", error=invalid_token, error_description=\"x\""], true, true),
            (&["Bearer error=\"insufficient_scope\""], false, false),
            (&["Bearer scope=\"a b\",error=\"invalid_request\""], false, false),
            (&["Basic realm=\"x\""], false, false),
            (&["Negotiate", "NTLM"], false, false),
            (&["Digest realm=\"x\", nonce=\"a,b\", Basic realm=\"x\""], false, false),
            (&["Negotiate YII=", "Basic realm=\"error=invalid_token\""], false, false),
            (&["Basic realm=\"x\", Bearer"], true, false),
            (&["Basic realm=\"x\"", "Bearer error=\"insufficient_scope\""], false, false),
            (&["Basic error=\"invalid_token\""], false, false),
            (&["Bearer error=\"insufficient_scope\", Bearer error=\"invalid_token\""], true, true),
            (&["DPoP error=\"invalid_token\""], true, false),
            (&["Custom"], true, false),
            (&["Bearer error=\"invalid\\_token\""], true, true),
            (&["", ",,", "=", "\"", "Bearer error=\"", "Bearer =x"], true, false),
        ];
        for (values, with_401, with_403) in rows {
            let headers: HeaderMap = values
                .iter()
                .map(|value| (http::header::WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap()))
                .collect();
            assert_eq!(plain.is_refusal(StatusCode::UNAUTHORIZED, &headers), with_401, "401 {values:?}");
            assert_eq!(azure.is_refusal(StatusCode::FORBIDDEN, &headers), with_403, "403 {values:?}");
        }
    }
}
