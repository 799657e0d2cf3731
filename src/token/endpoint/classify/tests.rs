mod cause;
mod properties;

use std::time::Duration;

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::super::Presented;
use super::super::tests::config;
use super::*;
use crate::config::TokenEndpoint;
use crate::secret::Secret;
use crate::token::RefreshToken;

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=UTF-8";

/// What these tests present. No output may contain it.
const TOKEN: &str = "canary-refresh";
const SECRET: &str = "canary-secret";

const LEAGUE_8_MISSING: &str = r#"{"error":"invalid_request","error_description":"The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed.","hint":"Check the `refresh_token` parameter","message":"The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed."}"#;
const LEAGUE_9_MISSING: &str = r#"{"error":"invalid_request","error_description":"The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed.","hint":"Check the `client_secret` parameter"}"#;
const UNSUPPORTED: &str = r#"{"error":"unsupported_grant_type","error_description":"The authorization grant type is not supported by the authorization server.","hint":"Check that all required parameters have been provided"}"#;
const SERVER_ERROR: &str = r#"{"error":"server_error","error_description":"The authorization server encountered an unexpected condition which prevented it from fulfilling the request: x"}"#;
const PRIAVA_LIMIT: &str = r#"{"error":"Your API rate limit is exhausted","limits":"450 requests / 5 minutes (300 seconds)","retry-after":"Thu, 18 Nov 2014 14:03:00"}"#;

fn mask() -> Mask {
    let token = RefreshToken::parse(TOKEN).unwrap();
    let config = TokenEndpoint { client_secret: Some(Secret::new(SECRET)), ..config("https://as.test/oauth/token") };
    Mask::new(Presented::RefreshToken(&token), &config)
}

fn headers(fields: &[(http::HeaderName, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
}

fn answer(
    status: u16,
    fields: &[(http::HeaderName, &str)],
    body: &str,
    cut: Option<&str>,
    grant_type: GrantType,
) -> CallResult {
    let status = StatusCode::from_u16(status).unwrap();
    let headers = headers(fields);
    let received = Received { status, headers: &headers, body: body.as_bytes(), cut };
    let (token, code) = (RefreshToken::parse(TOKEN).unwrap(), Secret::new("code"));
    let now = "2014-11-18T14:00:00Z".parse().unwrap();
    classify(received, presented(grant_type, &token, &code), now, &mask())
}

fn presented<'a>(grant_type: GrantType, token: &'a RefreshToken, code: &'a Secret) -> Presented<'a> {
    match grant_type {
        GrantType::RefreshToken => Presented::RefreshToken(token),
        GrantType::ClientCredentials => Presented::ClientCredentials,
        GrantType::Code => Presented::Code { code, verifier: None, redirect_uri: "" },
    }
}

fn refresh(status: u16, content_type: &str, body: &str) -> CallResult {
    answer(status, &[(CONTENT_TYPE, content_type)], body, None, GrantType::RefreshToken)
}

fn failure(answer: CallResult) -> RefreshFailure {
    match answer {
        CallResult::Failed(failure) => failure,
        answer => panic!("{answer:?}"),
    }
}

fn issued(answer: CallResult) -> Issued {
    match answer {
        CallResult::Issued(issued) => issued,
        answer => panic!("{answer:?}"),
    }
}

/// League's refusal of a refresh token, as its major version 8 or 9 words it.
fn league(version: u8, hint: &str) -> (u16, String) {
    let description = "The refresh token is invalid.";
    match version {
        8 => (
            401,
            format!(
                r#"{{"error":"invalid_request","error_description":"{description}","hint":"{hint}","message":"{description}"}}"#
            ),
        ),
        _ => (400, format!(r#"{{"error":"invalid_grant","error_description":"{description}","hint":"{hint}"}}"#)),
    }
}

#[test]
fn a_token_that_can_be_used_is_issued() {
    // body, access token, refresh token, lifetime
    let rows = [
        (
            r#"{"token_type":"Bearer","expires_in":31536000,"access_token":"eyJ.a","refresh_token":"def502"}"#,
            ("eyJ.a", Some("def502"), Some(31_536_000)),
        ),
        (
            r#"{"expires_in":31536000,"access_token":"eyJ","refresh_token":"def"}"#,
            ("eyJ", Some("def"), Some(31_536_000)),
        ),
        (
            r#"{ "access_token": "x", "refresh_token": "y", "token_type" : "BEARER", "expires_in": 21600 }"#,
            ("x", Some("y"), Some(21_600)),
        ),
        (r#"{"access_token":"x","token_type":"bearer","expires_in":"60"}"#, ("x", None, Some(60))),
        (r#"{"access_token":"x","token_type":null,"refresh_token":null,"expires_in":null}"#, ("x", None, None)),
        (r#"{"access_token":"x","token_type":"","refresh_token":"","expires_in":0}"#, ("x", None, None)),
        (r#"{"access_token":"x","expires_in":1e400}"#, ("x", None, Some(315_360_000))),
        (r#"{"access_token":"x","scope":["*"],"user":{"id":1e999,"access_token":"z"}}"#, ("x", None, None)),
        (r#"{"access_token":"old","access_token":"x"}"#, ("x", None, None)),
        ("\u{feff}{\"access_token\":\"x\"}", ("x", None, None)),
        // The successor can't be used, the access token can.
        (r#"{"access_token":"x","refresh_token":"a\u0000b"}"#, ("x", None, None)),
        (r#"{"access_token":"x","refresh_token":7.5}"#, ("x", None, None)),
        // A number is a text without quotes.
        (r#"{"access_token":"x","refresh_token":7}"#, ("x", Some("7"), None)),
        // RFC 6749 §A.17 allows a space within.
        (r#"{"access_token":"x","refresh_token":"a b"}"#, ("x", Some("a b"), None)),
        // Whitespace around a token is not part of it.
        (r#"{"access_token":"x\n","refresh_token":" y\r\n"}"#, ("x", Some("y"), None)),
        (r#"{"access_token":"x","token_type":"BearerToken"}"#, ("x", None, None)),
        (r#"{"access_token":"x","token_type":"Bearer "}"#, ("x", None, None)),
        (r#"{"access_token":"Bearer x","token_type":" bearer"}"#, ("x", None, None)),
        ("access_token=x&refresh_token=y&expires_in=60&token_type=bearer", ("x", Some("y"), Some(60))),
        ("<b>Deprecated</b>: {\"x\":1}\n{\"access_token\":\"x\",\"refresh_token\":\"y\"}", ("x", Some("y"), None)),
        (r#"{"data":{"access_token":"x","refresh_token":"y"}}"#, ("x", Some("y"), None)),
    ];
    for (body, (access, refresh_token, lifetime)) in rows {
        for (status, content_type) in [(200, JSON), (201, "application/json; charset=UTF-8"), (200, HTML)] {
            let issued = issued(refresh(status, content_type, body));
            assert_eq!(issued.access.secret().expose(), access, "{body}");
            assert_eq!(issued.refresh.as_ref().map(|token| token.secret().expose()), refresh_token, "{body}");
            assert_eq!(issued.lifetime, lifetime.map(Duration::from_secs), "{body}");
        }
    }
}

#[test]
fn a_success_that_cannot_be_understood_is_ambiguous() {
    let rows = [
        ("", "not a JSON object"),
        ("<html>Login</html>", "not a JSON object"),
        (r#"{"access_token":"eyJ"#, "not a JSON object"),
        (r#"{"access_token":"eyJ","refresh_token":"#, "not a JSON object"),
        (r#"["access_token"]"#, "not a JSON object"),
        ("access=x&token_type=bearer", "not a JSON object"),
        ("{}", "no access_token"),
        (r#"{"access_token":null}"#, "no access_token"),
        (r#"{"access_token":""}"#, "no access_token"),
        (r#"{"data":{"access_token":"x"}}"#, "no access_token"),
        (r#"{"error":"unknown","error_description":"no"}"#, "no access_token in it: unknown: no"),
        (r#"{"access_token":12}"#, "not a string"),
        (r#"{"access_token":"a\r\nb"}"#, "no header field can carry"),
        (r#"{"access_token":"a b"}"#, "no header field can carry"),
        (r#"{"access_token":"é"}"#, "no header field can carry"),
    ];
    for (body, says) in rows {
        for status in [200, 204, 299] {
            let failure = failure(refresh(status, JSON, body));
            assert_eq!(failure.outcome, RefreshOutcome::Ambiguous, "{body}");
            assert!(failure.error.contains(says), "{body}: {}", failure.error);
        }
    }
}

#[test]
fn a_token_of_another_type_is_misconfigured() {
    let rows = [
        (r#"{"access_token":"x","token_type":"mac"}"#, "`mac`, not `Bearer`"),
        (r#"{"access_token":"x","token_type":"DPoP"}"#, "`DPoP`, not `Bearer`"),
        (r#"{"access_token":"x","token_type":1}"#, "not a string"),
    ];
    for (body, says) in rows {
        let failure = failure(refresh(200, JSON, body));
        assert_eq!(failure.outcome, RefreshOutcome::Misconfigured, "{body}");
        assert!(failure.error.contains(says), "{body}: {}", failure.error);
    }
}

#[test]
fn every_other_answer_has_its_class() {
    use RefreshOutcome::{Ambiguous, Misconfigured, Rejected, Transient};
    let league_8 = |hint| league(8, hint).1;
    let league_9 = |hint| league(9, hint).1;
    let plain = |code: &str| format!(r#"{{"error":"{code}"}}"#);
    let described = |code: &str, text: &str| format!(r#"{{"error":"{code}","error_description":"{text}"}}"#);
    let league_client = described("invalid_client", "Client authentication failed");
    let rows = [
        // League 8 (Passport up to 12).
        (401, league_8("Cannot decrypt the refresh token"), Rejected),
        (401, league_8("Token has expired"), Rejected),
        (401, league_8("Token has been revoked"), Rejected),
        (401, league_8("Token is not linked to client"), Misconfigured),
        (401, described("invalid_request", "The refresh token is invalid."), Rejected),
        (401, league_client.clone(), Misconfigured),
        (400, LEAGUE_8_MISSING.to_owned(), Misconfigured),
        (401, LEAGUE_8_MISSING.to_owned(), Misconfigured),
        (400, UNSUPPORTED.to_owned(), Misconfigured),
        // League 9 (Passport 13).
        (400, league_9("Cannot decrypt the refresh token"), Rejected),
        (400, league_9("Token has expired"), Rejected),
        (400, league_9("Token has been revoked"), Rejected),
        (400, league_9("Token is not linked to client"), Misconfigured),
        (401, league_client, Misconfigured),
        (400, LEAGUE_9_MISSING.to_owned(), Misconfigured),
        (400, described("unauthorized_client", "The authenticated client is not authorized"), Misconfigured),
        (400, described("invalid_scope", "The requested scope is invalid, unknown, or malformed"), Misconfigured),
        (500, SERVER_ERROR.to_owned(), Ambiguous),
        // Laravel around it.
        (429, "{\n    \"message\": \"Too Many Attempts.\"\n}".to_owned(), Transient),
        (429, "<html>Too Many Requests</html>".to_owned(), Transient),
        (500, r#"{"message":"Server Error"}"#.to_owned(), Ambiguous),
        (503, "<html>Service Unavailable</html>".to_owned(), Transient),
        (419, "<html>Page Expired</html>".to_owned(), Misconfigured),
        (419, r#"{"message":"CSRF token mismatch."}"#.to_owned(), Misconfigured),
        (401, r#"{"message":"Unauthenticated."}"#.to_owned(), Misconfigured),
        (405, r#"{"message":"The POST method is not supported for this route."}"#.to_owned(), Misconfigured),
        // Priava.
        (400, described("error_code", "A human readable error message"), Misconfigured),
        (400, plain("invalid_grant"), Rejected),
        (429, PRIAVA_LIMIT.to_owned(), Transient),
        // Refusals with other codes.
        (403, described("unauthorized_client", "refresh_token is invalid"), Rejected),
        (400, described("unauthorized_client", "Unknown or invalid refresh token."), Rejected),
        (
            403,
            described("unauthorized_client", "Grant type 'refresh_token' not allowed for the client."),
            Misconfigured,
        ),
        (403, plain("unauthorized_client"), Misconfigured),
        (400, described("interaction_required", "AADSTS50076"), Rejected),
        (401, plain("invalid_token"), Rejected),
        (400, plain("invalid_token"), Rejected),
        (200, described("bad_refresh_token", "The refresh token passed is incorrect or expired."), Rejected),
        (200, "error=bad_refresh_token&error_description=The+refresh+token+is+incorrect".to_owned(), Rejected),
        (200, plain("invalid_grant"), Rejected),
        (200, plain("invalid_client"), Misconfigured),
        (400, format!("<br />Deprecated: x<br />\n{}", plain("invalid_grant")), Rejected),
        // RFC 6749 §5.2.
        (400, plain("invalid_request"), Misconfigured),
        (400, plain("invalid_client"), Misconfigured),
        (401, plain("invalid_client"), Misconfigured),
        (401, plain("invalid_grant"), Rejected),
        (403, plain("invalid_grant"), Rejected),
        (400, plain("unsupported_grant_type"), Misconfigured),
        // The status alone decides.
        (408, String::new(), Transient),
        (425, String::new(), Transient),
        (429, plain("invalid_grant"), Transient),
        (503, plain("invalid_grant"), Transient),
        (301, String::new(), Misconfigured),
        (302, "<html>".to_owned(), Misconfigured),
        (304, String::new(), Misconfigured),
        (307, plain("invalid_grant"), Misconfigured),
        (500, plain("invalid_grant"), Ambiguous),
        (500, String::new(), Ambiguous),
        (501, String::new(), Ambiguous),
        (502, "<html>Error: Server Error</html>".to_owned(), Ambiguous),
        (504, String::new(), Ambiguous),
        (599, String::new(), Ambiguous),
        (999, String::new(), Ambiguous),
        (101, String::new(), Ambiguous),
        // A 4xx that does not clearly refuse the grant.
        (400, String::new(), Misconfigured),
        (400, "<html>invalid_grant</html>".to_owned(), Misconfigured),
        (401, String::new(), Misconfigured),
        (403, "<html>Forbidden</html>".to_owned(), Misconfigured),
        (404, "<html>Not Found</html>".to_owned(), Misconfigured),
        (400, plain("INVALID_GRANT"), Misconfigured),
        (400, plain("access_denied"), Misconfigured),
        (400, r#"{"error":{"code":"invalid_grant"}}"#.to_owned(), Misconfigured),
        (400, r#"{"error":["invalid_grant"]}"#.to_owned(), Misconfigured),
        (400, r#"[{"error":"invalid_grant"}]"#.to_owned(), Misconfigured),
        (400, r#"{"message":"The refresh token is invalid."}"#.to_owned(), Misconfigured),
        (418, plain("x"), Misconfigured),
    ];
    for (status, body, expected) in rows {
        let failure = failure(refresh(status, JSON, &body));
        assert_eq!(failure.outcome, expected, "{status} {body}: {}", failure.error);
    }
}

#[test]
fn an_incomplete_answer_is_ambiguous_unless_what_came_is_clear() {
    use RefreshOutcome::{Ambiguous, Misconfigured, Rejected, Transient};
    let rows = [
        (200, r#"{"access_token":"#, Ambiguous),
        (200, "", Ambiguous),
        (400, r#"{"error":"invalid_gr"#, Ambiguous),
        (401, "", Ambiguous),
        (500, "", Ambiguous),
        (400, r#"{"error":"invalid_grant"}"#, Rejected),
        (429, "", Transient),
        (503, "<html", Transient),
        (302, "", Misconfigured),
        (419, "", Misconfigured),
    ];
    for (status, body, expected) in rows {
        let failure = failure(answer(status, &[], body, Some("reset"), GrantType::RefreshToken));
        assert_eq!(failure.outcome, expected, "{status} {body}");
    }
    // Only what follows the object was lost.
    issued(answer(200, &[], r#"{"access_token":"x"}"#, Some("reset"), GrantType::RefreshToken));
}

#[test]
fn client_credentials_are_never_rejected() {
    let bodies = [league(8, "Token has been revoked"), league(9, "Token has been revoked")];
    for (status, body) in bodies {
        let outcome = |grant_type| failure(answer(status, &[], &body, None, grant_type)).outcome;
        assert_eq!(outcome(GrantType::ClientCredentials), RefreshOutcome::Misconfigured);
        assert_eq!(outcome(GrantType::Code), RefreshOutcome::Rejected);
    }
}

#[test]
fn the_error_says_what_came_and_what_mends_it() {
    let rows = [
        (
            refresh(400, JSON, &league(9, "Token has been revoked").1),
            "HTTP 400: invalid_grant: The refresh token is invalid. (Token has been revoked); a new login is needed",
        ),
        (
            answer(302, &[(LOCATION, "https://web.test/de?code=x")], "", None, GrantType::RefreshToken),
            "HTTP 302 to https://web.test/de; a token call is never redirected; check oauth.token_url",
        ),
        (refresh(404, HTML, "<html>"), "HTTP 404 (text/html; charset=UTF-8); check oauth.token_url"),
        (refresh(429, JSON, r#"{"message":"Too Many Attempts."}"#), "HTTP 429: Too Many Attempts."),
        (refresh(502, HTML, "<html>"), "HTTP 502 (text/html; charset=UTF-8)"),
        (
            answer(200, &[], "{", Some("reset"), GrantType::RefreshToken),
            "HTTP 200, but the answer is incomplete: reset",
        ),
        (
            answer(400, &[], "{", Some("reset"), GrantType::RefreshToken),
            "HTTP 400, and the answer is incomplete: reset",
        ),
    ];
    for (answer, expected) in rows {
        assert_eq!(failure(answer).error, expected);
    }
}

#[test]
fn the_wait_that_a_server_asks_for_comes_along() {
    let wait = |fields: &[_], body| failure(answer(429, fields, body, None, GrantType::RefreshToken)).retry_after;
    assert_eq!(wait(&[(RETRY_AFTER, "60")], ""), Some(Duration::from_secs(60)));
    assert_eq!(wait(&[], PRIAVA_LIMIT), Some(Duration::from_secs(180)));
    assert_eq!(wait(&[], r#"{"message":"Too Many Attempts."}"#), None);
}

#[test]
fn no_error_quotes_what_was_presented_or_issued() {
    let jwt = "e".repeat(41);
    let quoting = format!(
        r#"{{"error":"invalid_grant","error_description":"{TOKEN} {SECRET}\r\n{jwt}","hint":"got {TOKEN}","message":"{jwt}"}}"#
    );
    let spoilt = format!(r#"{{"access_token":"{jwt} ","refresh_token":"{jwt}","token_type":"{TOKEN}"}}"#);
    let location = format!("https://as.test/{TOKEN}?token={SECRET}");
    for status in [200, 302, 400, 401, 429, 500] {
        for body in [&quoting, &spoilt, TOKEN] {
            let fields = [(CONTENT_TYPE, SECRET), (LOCATION, location.as_str())];
            let failure = match answer(status, &fields, body, None, GrantType::RefreshToken) {
                CallResult::SuccessorOnly(SuccessorOnly { failure, .. }) => failure,
                answer => failure(answer),
            };
            let text = format!("{failure:?} {}", failure.error);
            assert!(!text.contains("canary") && !text.contains(&jwt), "{text}");
            assert!(failure.error.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{text}");
        }
    }
}
