//! The cause of a failure, and its text with and without the advice.

use super::super::super::FailureCause;
use super::*;

#[test]
fn a_failure_names_what_the_server_refused() {
    use FailureCause::{Client, RedirectUri, Response};
    let league = |hint: &str| format!(r#"{{"error":"invalid_request","error_description":"x","hint":"{hint}"}}"#);
    let rows = [
        (401, r#"{"error":"invalid_client"}"#.to_owned(), Client),
        (200, r#"{"error":"invalid_client"}"#.to_owned(), Client),
        (400, league("Invalid redirect URI"), RedirectUri),
        (400, league("Check the `redirect_uri` parameter"), RedirectUri),
        (400, r#"{"error":"redirect_uri_mismatch"}"#.to_owned(), RedirectUri),
        (400, league("Check the `scope` parameter"), Response),
        (400, r#"{"error":"invalid_scope","error_description":"invalid_client"}"#.to_owned(), Response),
        (429, "<html>".to_owned(), Response),
        (503, String::new(), Response),
    ];
    for (status, body, cause) in rows {
        let failure = failure(answer(status, &[], &body, None, GrantType::Code));
        assert_eq!(failure.cause, cause, "{status} {body}");
    }
}

#[test]
fn the_text_without_the_advice_keeps_what_the_server_said() {
    let bare = |body: &str| {
        let failure = failure(answer(400, &[], body, None, GrantType::Code));
        (failure.bare().to_owned(), failure.advice)
    };
    assert_eq!(
        bare(r#"{"error":"invalid_scope","error_description":"a; b"}"#),
        ("HTTP 400: invalid_scope: a; b".to_owned(), "check oauth.scope")
    );
    let failure = failure(answer(503, &[], r#"{"message":"a; b"}"#, None, GrantType::Code));
    assert_eq!(failure.bare(), "HTTP 503: a; b");
}
