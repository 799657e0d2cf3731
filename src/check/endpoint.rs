//! Checks of the token endpoint, by one call with a refresh token that never existed.

use super::finding::Finding;
use super::ids::{Area, Id};
use crate::token::endpoint::MadeUp;

/// The answer to the call, or why there is none.
pub type Facts = Result<MadeUp, String>;

pub fn judge(facts: &Facts) -> Vec<Finding> {
    let finding = match facts {
        Err(error) => Id::EndpointFails.fail(
            format!("the token endpoint did not answer: {error}"),
            "ask the operator of the server, or correct oauth.token_url",
        ),
        Ok(answer) => answered(answer),
    };
    let rest = match finding.id {
        Id::ClientRejected => Vec::new(),
        _ => Area::TokenEndpoint.skip_others(std::slice::from_ref(&finding), &finding.because()),
    };
    std::iter::once(finding).chain(rest).collect()
}

fn answered(answer: &MadeUp) -> Finding {
    let MadeUp { status, said, .. } = answer;
    let code = answer.code.as_deref().unwrap_or_default();
    match status.as_u16() {
        300..=399 => Id::EndpointRedirects.fail(
            format!("the token endpoint redirects: {said}"),
            "set oauth.token_url to the URL that answers without a redirect",
        ),
        429 => Id::EndpointThrottles.warn(
            format!("the token endpoint limits this client: {said}"),
            "wait, and find out who else uses the client id or the address of this machine",
        ),
        503 => Id::EndpointFails.warn(format!("the token endpoint is not available: {said}"), "try again later"),
        // The server itself, or a load balancer in front of it, fails. Both often answer with a page.
        500..=u16::MAX => {
            Id::EndpointFails.warn(format!("the token endpoint failed: {said}"), "ask the operator of the server")
        }
        _ if !answer.is_document => Id::EndpointNotJson.fail(
            format!("the token endpoint did not answer in JSON: {said}"),
            "correct oauth.token_url; a login page or a firewall answers at this URL",
        ),
        _ if answer.proves_client => Id::ClientRejected.ok("the server has accepted the client id and the secret"),
        401 => rejected(said),
        _ if matches!(code, "invalid_client" | "unauthorized_client") => rejected(said),
        _ if matches!(code, "unsupported_grant_type" | "invalid_scope") => Id::EndpointFails.fail(
            format!("the token endpoint does not accept the form of the request: {said}"),
            "correct oauth.token_format and oauth.scope",
        ),
        _ => Id::ClientRejected.ok(format!(
            "not contradicted: HTTP {} to a made-up refresh token says nothing against the client",
            status.as_u16()
        )),
    }
}

fn rejected(said: &str) -> Finding {
    Id::ClientRejected.fail(
        format!("the token endpoint rejects the client: {said}"),
        "correct oauth.client_id, oauth.client_secret or oauth.client_auth",
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::check::tests::names;

    #[test]
    fn each_answer_has_its_id() {
        let answer = |status: u16, is_document, code: Option<&str>, proves_client| {
            Ok(MadeUp {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                is_document,
                code: code.map(str::to_owned),
                proves_client,
                said: format!("HTTP {status}"),
            })
        };
        let rows: Vec<(Facts, &[&str])> = vec![
            (answer(401, true, Some("invalid_request"), true), &[]),
            (answer(400, true, Some("invalid_grant"), false), &[]),
            (answer(400, true, Some("invalid_request"), false), &[]),
            (answer(401, true, Some("invalid_client"), false), &["client-rejected"]),
            (answer(400, true, Some("unauthorized_client"), false), &["client-rejected"]),
            (answer(401, true, None, false), &["client-rejected"]),
            (answer(302, false, None, false), &["endpoint-redirects"]),
            (answer(429, true, None, false), &["endpoint-throttles"]),
            (answer(200, false, None, false), &["endpoint-not-json"]),
            (answer(404, false, None, false), &["endpoint-not-json"]),
            (answer(503, false, None, false), &["endpoint-fails"]),
            (answer(500, true, None, false), &["endpoint-fails"]),
            (answer(500, false, None, false), &["endpoint-fails"]),
            (answer(502, false, None, false), &["endpoint-fails"]),
            (answer(504, false, None, false), &["endpoint-fails"]),
            (answer(400, true, Some("unsupported_grant_type"), false), &["endpoint-fails"]),
            (Err("no answer".into()), &["endpoint-fails"]),
        ];
        for (facts, expected) in rows {
            let problems: Vec<_> = judge(&facts).into_iter().filter(Finding::is_problem).collect();
            assert_eq!(names(&problems), expected, "{facts:?}");
        }
    }
}
