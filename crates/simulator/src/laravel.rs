//! Laravel's responses: the choice between JSON and a page, and the messages of its exceptions.

use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::answer::Answer;
use super::options::Guest;

/// `Request::expectsJson()`. The content type of the request plays no part.
pub(super) fn expects_json(headers: &HeaderMap) -> bool {
    let accepted = accepted_types(headers);
    let first = accepted.first().map(String::as_str);
    let takes_anything = matches!(first, None | Some("*/*" | "*"));
    let is_ajax = headers.get("x-requested-with").is_some_and(|value| value == "XMLHttpRequest");
    let is_pjax = headers.contains_key("x-pjax");
    let wants_json = first.is_some_and(|kind| kind.contains("/json") || kind.contains("+json"));
    (is_ajax && !is_pjax && takes_anything) || wants_json
}

/// The response of a guarded route to a guest. No controller has run.
pub(super) fn unauthenticated(expects_json: bool, guest: &Guest) -> Answer {
    match guest {
        _ if expects_json => Answer::json(401, &json!({"message": "Unauthenticated."})),
        Guest::Redirect(location) => Answer::redirect(302, location),
        Guest::NoLoginRoute => Answer::html(500, "Route [login] not defined."),
        Guest::Empty => Answer::empty(401),
    }
    .header("Cache-Control", "no-cache, private")
}

/// The page behind a followed redirect: 200 without data.
pub(super) fn login_page() -> Answer {
    Answer::html(200, "Log in").header("Set-Cookie", "laravel_session=sim-session; path=/; httponly; samesite=lax")
}

pub(super) fn missing_scope(expects_json: bool) -> Answer {
    message(403, "Invalid scope(s) provided.", "Forbidden", expects_json)
}

pub(super) fn not_found(expects_json: bool) -> Answer {
    message(404, "The route could not be found.", "Not Found", expects_json)
}

pub(super) fn method_not_allowed(expects_json: bool, allow: &str) -> Answer {
    let text = format!("The method is not supported for this route. Supported methods: {allow}.");
    message(405, &text, "Method Not Allowed", expects_json).header("Allow", allow)
}

pub(super) fn page_expired(expects_json: bool) -> Answer {
    message(419, "CSRF token mismatch.", "Page Expired", expects_json)
}

pub(super) fn too_many_attempts(expects_json: bool) -> Answer {
    message(429, "Too Many Attempts.", "Too Many Requests", expects_json)
}

pub(super) fn server_error(expects_json: bool) -> Answer {
    message(500, "Server Error", "Server Error", expects_json)
}

/// Laravel pretty-prints exceptions, but not the responses of controllers.
fn message(status: u16, message: &str, title: &str, expects_json: bool) -> Answer {
    if expects_json {
        let body = format!("{{\n    \"message\": {}\n}}", Value::from(message));
        Answer::text(status, "application/json", body)
    } else {
        Answer::html(status, title)
    }
}

/// The types of `Accept`, best first: by `q`, then in their order.
fn accepted_types(headers: &HeaderMap) -> Vec<String> {
    let mut types: Vec<(f32, String)> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let kind = parts.next().filter(|kind| !kind.is_empty())?.to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok());
            Some((quality.unwrap_or(1.0), kind))
        })
        .collect();
    types.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    types.into_iter().map(|(_, kind)| kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn json_is_expected_by_the_first_accepted_type_alone() {
        let ajax = ("x-requested-with", "XMLHttpRequest");
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[], false),
            (&[("accept", "*/*")], false),
            (&[("accept", "application/json")], true),
            (&[("accept", "application/json, */*;q=0.8")], true),
            (&[("accept", "APPLICATION/JSON")], true),
            (&[("accept", "application/problem+json")], true),
            (&[("accept", "text/html, application/json")], false),
            (&[("accept", "text/html;q=0.5, application/json")], true),
            (&[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")], false),
            (&[("accept", "")], false),
            (&[("content-type", "application/json")], false),
            (&[ajax], true),
            (&[ajax, ("accept", "*/*")], true),
            (&[ajax, ("accept", "text/html")], false),
            (&[ajax, ("x-pjax", "true")], false),
        ];
        for (pairs, expected) in cases {
            let map = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(expects_json(&map), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_guest_gets_what_laravel_gives() {
        let redirect = Guest::Redirect("/login".to_owned());
        let cases = [
            (true, &redirect, 401, r#"{"message":"Unauthenticated."}"#),
            (true, &Guest::NoLoginRoute, 401, r#"{"message":"Unauthenticated."}"#),
            (true, &Guest::Empty, 401, r#"{"message":"Unauthenticated."}"#),
            (false, &redirect, 302, "Redirecting to /login"),
            (false, &Guest::NoLoginRoute, 500, "Route [login] not defined."),
            (false, &Guest::Empty, 401, ""),
        ];
        for (json, guest, status, body) in cases {
            let answer = unauthenticated(json, guest);
            assert_eq!(answer.status, status, "{json} {guest:?}");
            assert!(answer.body.contains(body), "{json} {guest:?}: {}", answer.body);
            assert_eq!(answer.header_value("WWW-Authenticate"), None);
            let location = (status == 302).then_some("/login");
            assert_eq!(answer.header_value("Location"), location);
        }
        assert_eq!(unauthenticated(false, &Guest::Empty).body, "");
    }

    #[test]
    fn only_exceptions_are_pretty_printed() {
        assert_eq!(too_many_attempts(true).body, "{\n    \"message\": \"Too Many Attempts.\"\n}");
        assert!(too_many_attempts(false).body.contains("Too Many Requests"));
        let accept = headers(&[("accept", "application/json")]);
        assert_eq!(unauthenticated(expects_json(&accept), &Guest::Empty).body, r#"{"message":"Unauthenticated."}"#);
    }
}
