//! The faults, in one table for each class of outcome.

use simulator::{Act, Answer, DeadRefresh, Fault, Flavour, Step, TokenError};

use super::place::Place;
use super::{Row, Then};

fn row(what: &'static str, fault: Fault, class: &'static str, says: &'static [&'static str], then: Then) -> Row {
    Row { what, flavour: Flavour::League8, place: Place::Server, fault: Some(fault), class, says, then }
}

fn unreached(what: &'static str, place: Place, says: &'static [&'static str], then: Then) -> Row {
    Row { what, flavour: Flavour::League8, place, fault: None, class: "transient", says, then }
}

fn league9(row: Row) -> Row {
    Row { flavour: Flavour::League9, ..row }
}

fn before(act: Act) -> Fault {
    Fault::token(Step::BeforeCommit, act)
}

fn answered(answer: Answer) -> Fault {
    before(Act::Answer(answer))
}

fn refused(error: TokenError) -> Fault {
    before(Act::Error(error))
}

pub fn all() -> Vec<Row> {
    const DAY: i64 = 86_400;
    let reset_late = Fault::token(Step::AfterCommit, Act::Reset);
    let revoked = || refused(TokenError::RefreshToken(DeadRefresh::Revoked));
    let expired = || refused(TokenError::RefreshToken(DeadRefresh::Expired));
    let parameter = || refused(TokenError::Parameter("refresh_token".into()));
    vec![
        row("expires_in of 0", Fault::expires_in("0"), "ok", &[], Then::Worked(3600)),
        row("a negative expires_in", Fault::expires_in("-5"), "ok", &[], Then::Worked(3600)),
        row("expires_in in a string", Fault::expires_in("\"21600\""), "ok", &[], Then::Worked(21_600)),
        row("expires_in of 10^18", Fault::expires_in("1000000000000000000"), "ok", &[], Then::Worked(3650 * DAY)),
        row("expires_in that is no number", Fault::expires_in("\"soon\""), "ok", &[], Then::Worked(3600)),
        //
        unreached("a refused connection", Place::ClosedPort, &["refused"], Then::Renewed(0)),
        unreached("a name that does not resolve", Place::UnknownName, &["resolve"], Then::Fails),
        unreached("a certificate that nobody trusts", Place::Distrusted, &["certificate"], Then::Fails),
        unreached("a server that does not speak TLS", Place::NotTls, &["TLS"], Then::Fails),
        unreached("a reset before the request", Place::ResetAtOnce, &["TLS"], Then::Fails),
        row("429", Fault::throttled(None), "transient", &["HTTP 429", "Too Many Attempts."], Then::Renewed(0)),
        row("429 with Retry-After", Fault::throttled(Some("2")), "transient", &["HTTP 429"], Then::Renewed(2)),
        row("429 as a page", Fault::throttled_html(Some("1")), "transient", &["HTTP 429"], Then::Renewed(1)),
        row("408", answered(Answer::empty(408)), "transient", &["HTTP 408"], Then::Renewed(0)),
        row("425", answered(Answer::empty(425)), "transient", &["HTTP 425"], Then::Renewed(0)),
        row("503", answered(Answer::html(503, "Down")), "transient", &["HTTP 503"], Then::Renewed(0)),
        //
        row(
            "a reset after the request",
            before(Act::Reset),
            "ambiguous",
            &["sent, but not answered"],
            Then::Renewed(0),
        ),
        row(
            "a close after the request",
            Fault::call_lost(),
            "ambiguous",
            &["sent, but not answered"],
            Then::Renewed(0),
        ),
        row("a reset after the commit", reset_late, "ambiguous", &["sent, but not answered"], Then::Lost),
        row("a lost answer", Fault::answer_lost(), "ambiguous", &["sent, but not answered"], Then::Lost),
        row("no answer", before(Act::Hang), "ambiguous", &["no answer in time"], Then::Renewed(0)),
        row("half an answer", Fault::half_json(), "ambiguous", &["HTTP 200", "not a JSON object"], Then::Lost),
        row("an answer that is cut", Fault::cut_json(), "ambiguous", &["HTTP 200", "incomplete"], Then::Lost),
        row("200 empty", Fault::empty_200(), "ambiguous", &["HTTP 200", "not a JSON object"], Then::Lost),
        row("200 HTML", Fault::html_200(), "ambiguous", &["HTTP 200", "not a JSON object"], Then::Lost),
        row("a portal's 200", answered(Answer::html(200, "Hi")), "ambiguous", &["HTTP 200"], Then::Renewed(0)),
        row("what is not HTTP", before(Act::Raw(b"SSH-2.0-x\r\n".to_vec())), "ambiguous", &["sent"], Then::Renewed(0)),
        row("500 before the commit", Fault::error_before_commit(), "ambiguous", &["HTTP 500"], Then::Renewed(0)),
        row("500 after the token was consumed", Fault::error_after_commit(), "ambiguous", &["HTTP 500"], Then::Lost),
        row("502 HTML", Fault::html_502(), "ambiguous", &["HTTP 502", "text/html"], Then::Renewed(0)),
        row(
            "an access token with control characters",
            Fault::access_token("eyJ\u{7}\r\nX-Evil: 1"),
            "ambiguous",
            &["HTTP 200", "no header field can carry the access_token"],
            Then::Kept,
        ),
        //
        row("401, league 8: revoked", revoked(), "rejected", &["HTTP 401", "Token has been revoked"], Then::Over),
        row("401, league 8: expired", expired(), "rejected", &["HTTP 401", "Token has expired"], Then::Over),
        league9(row("400, league 9: revoked", revoked(), "rejected", &["HTTP 400", "invalid_grant"], Then::Over)),
        league9(row("400, league 9: expired", expired(), "rejected", &["HTTP 400", "has expired"], Then::Over)),
        //
        row("301", Fault::redirect(301, "/en/oauth/token"), "misconfigured", &["HTTP 301", "token_url"], Then::Asked),
        row("307", Fault::redirect(307, "/en/oauth/token"), "misconfigured", &["HTTP 307", "token_url"], Then::Asked),
        row("419", Fault::page_expired(), "misconfigured", &["HTTP 419", "oauth.token_url"], Then::Asked),
        row("404 HTML", answered(Answer::html(404, "No")), "misconfigured", &["HTTP 404", "token_url"], Then::Asked),
        row("403 of a firewall", answered(Answer::html(403, "No")), "misconfigured", &["HTTP 403"], Then::Asked),
        row("401, league 8: client", refused(TokenError::Client), "misconfigured", &["invalid_client"], Then::Asked),
        league9(row("401, league 9: client", refused(TokenError::Client), "misconfigured", &["HTTP 401"], Then::Asked)),
        row("400, league 8: parameter", parameter(), "misconfigured", &["invalid_request"], Then::Asked),
        league9(row("400, league 9: parameter", parameter(), "misconfigured", &["invalid_request"], Then::Asked)),
        row(
            "401, league 8: another client's token",
            refused(TokenError::RefreshToken(DeadRefresh::NotLinked)),
            "misconfigured",
            &["HTTP 401", "oauth.client_id"],
            Then::Asked,
        ),
        row(
            "400: grant type",
            refused(TokenError::UnsupportedGrantType),
            "misconfigured",
            &["oauth.grant"],
            Then::Asked,
        ),
        row("400: scope", refused(TokenError::Scope("x".into())), "misconfigured", &["oauth.scope"], Then::Asked),
        league9(row(
            "400, league 9: unauthorized client",
            refused(TokenError::UnauthorizedClient),
            "misconfigured",
            &["unauthorized_client"],
            Then::Asked,
        )),
    ]
}
