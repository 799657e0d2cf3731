//! Any response has a class. Its error shows no secret, and only a clear refusal ends the grant.
//!
//! An input is a message whose first line is a status, a grant type and, where the body was cut, a third word:
//!
//! ```text
//! 400 refresh_token
//! Content-Type: application/json
//!
//! {"error":"invalid_grant"}
//! ```

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use super::classify::{Received, classify};
use super::mask::Mask;
use super::request::basic;
use super::{CallResult, GrantType, Issued, Presented, SuccessorOnly};
use crate::config::{AmbiguousRetry, ClientAuth, TokenEndpoint, TokenFormat};
use crate::fuzzing::Message;
use crate::secret::Secret;
use crate::token::{RefreshOutcome, RefreshToken};

/// What is presented. No error may contain either, in any form that was on the wire.
const TOKEN: &str = "canary+token/==";
const SECRET: &str = "canary & secret";

pub fn answer(data: &[u8]) {
    let Message { line, headers, body } = Message::read(data);
    let mut words = line.split(' ');
    let Some(status) = words.next().and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok()) else { return };
    let grant_type = match words.next() {
        Some("client_credentials") => GrantType::ClientCredentials,
        Some("code") => GrantType::Code,
        _ => GrantType::RefreshToken,
    };
    let cut = words.next().map(|_| "reset");
    let whole = judged(status, &headers, body, cut, grant_type);
    if cut.is_some() {
        return;
    }
    for at in [body.len() / 3, body.len() / 2, body.len().saturating_sub(1)] {
        let part = judged(status, &headers, &body[..at], Some("reset"), grant_type);
        match (&whole, &part) {
            (_, CallResult::Failed(part)) if part.outcome == RefreshOutcome::Ambiguous => {}
            // The successor comes after a complete object and after the cut, so it was not received.
            (whole, part) if brought(whole).is_some() && brought(part).is_none() => {}
            (CallResult::Failed(whole), CallResult::Failed(part)) => {
                assert_eq!(part.outcome, whole.outcome, "cut at {at}")
            }
            (CallResult::Issued(whole), CallResult::Issued(part)) => {
                assert_eq!((&part.access, &part.refresh), (&whole.access, &whole.refresh), "cut at {at}");
            }
            // A successor is kept, whatever follows it.
            (_, CallResult::SuccessorOnly(_)) => {}
            _ => unreachable!("cut at {at}, {whole:?} is {part:?}"),
        }
    }
}

/// The successor in an answer.
fn brought(answer: &CallResult) -> Option<&RefreshToken> {
    match answer {
        CallResult::Issued(issued) => issued.refresh.as_ref(),
        CallResult::SuccessorOnly(succeeded) => Some(&succeeded.refresh),
        CallResult::Failed(_) => None,
    }
}

/// Classifies a response, and checks the promises of its class.
fn judged(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    cut: Option<&str>,
    grant_type: GrantType,
) -> CallResult {
    let (Some(mask), Ok(now)) = (mask(), "2026-11-22T02:00:00Z".parse::<Timestamp>()) else { unreachable!() };
    let (Ok(token), code) = (RefreshToken::parse(TOKEN), Secret::new("code")) else { unreachable!() };
    let presented = match grant_type {
        GrantType::RefreshToken => Presented::RefreshToken(&token),
        GrantType::ClientCredentials => Presented::ClientCredentials,
        GrantType::Code => Presented::Code { code: &code, verifier: None, redirect_uri: "" },
    };
    let answer = classify(Received { status, headers, body, cut }, presented, now, &mask);
    if status.is_success()
        && let Some(successor) = successor(body)
    {
        let kept = match &answer {
            CallResult::Issued(issued) => issued.refresh.as_ref(),
            CallResult::SuccessorOnly(succeeded) => Some(&succeeded.refresh),
            CallResult::Failed(_) => None,
        };
        // A refresh presents a refresh token, which is not its own successor. The other grants present none.
        let presented = grant_type == GrantType::RefreshToken && successor == TOKEN;
        assert!(presented || kept.is_some_and(|kept| kept.secret().expose() == successor), "a successor is lost");
    }
    if let CallResult::SuccessorOnly(SuccessorOnly { failure, .. }) = &answer {
        assert!(status.is_success(), "{status}");
        assert!(matches!(failure.outcome, RefreshOutcome::Ambiguous | RefreshOutcome::Misconfigured), "{failure:?}");
        shows_nothing(&failure.error, headers, body);
    }
    match &answer {
        CallResult::SuccessorOnly(_) => {}
        CallResult::Issued(issued) => {
            assert!(status.is_success(), "{status}");
            is_usable(issued);
        }
        CallResult::Failed(failure) => {
            assert!(failure.outcome != RefreshOutcome::Ok);
            assert!(failure.error.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{}", failure.error);
            assert!(failure.error.len() < 2000, "{}", failure.error);
            shows_nothing(&failure.error, headers, body);
            if failure.outcome == RefreshOutcome::Rejected {
                assert!(grant_type != GrantType::ClientCredentials, "no login could mend it");
                assert!(status.is_client_error() || status.is_success(), "{status}");
                assert!(!matches!(status.as_u16(), 408 | 419 | 425 | 429), "{status}");
                assert!(is_clear_no(body), "{}", failure.error);
            }
            let bounds = Duration::from_secs(1)..=Duration::from_secs(300);
            assert!(failure.retry_after.is_none_or(|wait| bounds.contains(&wait)), "{:?}", failure.retry_after);
        }
    }
    answer
}

fn mask() -> Option<Mask> {
    let config = TokenEndpoint {
        url: "https://as.test/token".parse().ok()?,
        client_id: "7".to_owned(),
        client_secret: Some(Secret::new(SECRET)),
        format: TokenFormat::Form,
        client_auth: ClientAuth::Basic,
        headers: HeaderMap::new(),
        redirect_uri_on_refresh: None,
        scope: None,
        scope_on_refresh: false,
        parameters: Vec::new(),
        request_timeout: Duration::from_secs(30),
        ambiguous_retry: AmbiguousRetry::Once,
    };
    Some(Mask::new(Presented::RefreshToken(&RefreshToken::parse(TOKEN).ok()?), &config))
}

fn is_usable(Issued { access, refresh, lifetime }: &Issued) {
    let text = access.secret().expose();
    assert!(!text.is_empty() && text.bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{text:?}");
    if let Some(text) = refresh.as_ref().map(|refresh| refresh.secret().expose()) {
        assert!(text == text.trim() && !text.is_empty(), "{text:?}");
        assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text:?}");
    }
    assert!(access.header().is_ok());
    let ten_years = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    assert!(lifetime.is_none_or(|lifetime| !lifetime.is_zero() && lifetime <= ten_years), "{lifetime:?}");
}

/// The refresh token of a JSON object, found independently of the program.
fn successor(body: &[u8]) -> Option<String> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return None };
    let token = members.get("refresh_token")?.as_str()?;
    let token = token.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    (!token.is_empty() && token.bytes().all(|byte| (0x20..0x7f).contains(&byte))).then(|| token.to_owned())
}

/// The error contains neither what was presented nor a token of the body.
fn shows_nothing(error: &str, headers: &HeaderMap, body: &[u8]) {
    let encoded = |secret: &str| byte_serialize(secret.as_bytes()).collect::<String>();
    let presented =
        [TOKEN.into(), encoded(TOKEN), SECRET.into(), encoded(SECRET), basic("7", &Secret::new(SECRET)).to_string()];
    for secret in presented {
        assert!(!error.contains(&secret), "{error}");
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return };
    for name in ["access_token", "refresh_token"] {
        let Some(token) = members.get(name).and_then(Value::as_str) else { continue };
        // A text of the program can also look like a token, but has no digits.
        if token.len() < 8
            || !token.bytes().all(|byte| byte.is_ascii_graphic())
            || !token.contains(|c: char| c.is_ascii_digit())
        {
            continue;
        }
        // If another member quotes a short token, it counts as a word. A long one never does.
        let quotes = |value: &Value| value.as_str().is_some_and(|text| text.contains(token));
        let said = members.iter().any(|(other, value)| other != name && quotes(value));
        let in_head =
            headers.values().any(|value| value.as_bytes().windows(token.len()).any(|part| part == token.as_bytes()));
        if !in_head && (token.len() > 40 || !said) {
            assert!(!error.contains(token), "{name} in {error}");
        }
    }
}

/// Whether the server clearly refuses the grant, found independently of the program.
fn is_clear_no(body: &[u8]) -> bool {
    const LEAGUE: &str = "The refresh token is invalid.";
    const CODES: [&str; 9] = [
        "invalid_grant",
        "bad_refresh_token",
        "invalid_refresh_token",
        "expired_refresh_token",
        "invalid_token",
        "interaction_required",
        "login_required",
        "consent_required",
        "unauthorized_client",
    ];
    let mut values =
        serde_json::Deserializer::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).into_iter::<Value>();
    if let Some(Ok(Value::Object(members))) = values.next()
        && let Some(says) = members.get("error").and_then(Value::as_str)
    {
        let is = |name, text| members.get(name).and_then(Value::as_str).is_some_and(|found| found.trim() == text);
        return !is("hint", "Token is not linked to client")
            && (CODES.contains(&says) || (says == "invalid_request" && is("error_description", LEAGUE)));
    }
    // If a strict parser rejects the text, the code must still occur in it, possibly in escapes.
    let text = unescaped(&String::from_utf8_lossy(body));
    let text = &*super::decode::text(&HeaderMap::new(), text.as_bytes());
    CODES.iter().any(|code| text.contains(code)) || (text.contains("invalid_request") && text.contains(LEAGUE))
}

/// Decodes escapes such as `\u0061`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match code.and_then(char::from_u32) {
            Some(c) => plain.extend([c.to_string().as_str(), &part[4..]]),
            None => plain.push_str(part),
        }
    }
    plain
}
