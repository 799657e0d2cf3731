//! Checks the `Authorization` of a request to the API.

use http::{HeaderMap, header};
use serde_json::json;

use super::answer::Answer;
use super::clock::UnixMs;
use super::laravel;
use super::ledger::Credential;
use super::options::{Flavour, Options};
use super::tokens::Tokens;

/// Reads the credential. More than one `Authorization` field counts as none, because servers differ in which one they use.
pub(super) fn credential(tokens: &Tokens, headers: &HeaderMap, now: UnixMs) -> Credential {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Credential::None };
    if fields.next().is_some() {
        return Credential::Several;
    }
    let Some(text) = field.to_str().ok().and_then(bearer_token) else { return Credential::Malformed };
    match tokens.find_access(text) {
        None => Credential::Unknown,
        Some((token, access)) if access.expires_at <= now => {
            Credential::Expired { token, for_ms: now - access.expires_at }
        }
        Some((token, access)) if access.revoked => Credential::Revoked { token },
        Some((token, _)) => Credential::Live { token },
    }
}

pub(super) fn is_let_in(credential: Credential, options: &Options) -> bool {
    match credential {
        Credential::Live { .. } => true,
        Credential::Revoked { .. } => !options.api_checks_revocation,
        _ => false,
    }
}

/// The refusal in the flavour's words.
pub(super) fn refusal(options: &Options, expects_json: bool) -> Answer {
    let body = json!({"error": "invalid_token", "error_description": "The access token is invalid or has expired."});
    match options.flavour {
        Flavour::League8 | Flavour::League9 => laravel::unauthenticated(expects_json, &options.guest),
        // Priava's own is not documented.
        Flavour::Priava => Answer::json(401, &body),
        // RFC 6750 §3.
        Flavour::Rfc6749 => Answer::json(401, &body).header("WWW-Authenticate", "Bearer error=\"invalid_token\""),
    }
}

/// Laravel's `bearerToken()`: what follows the last `Bearer `, up to a comma.
fn bearer_token(field: &str) -> Option<&str> {
    let (_, after) = field.rsplit_once("Bearer ")?;
    after.split(',').next().map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Draft;

    fn judge(fields: &[&str], now: UnixMs, revoke: bool) -> Credential {
        let mut tokens = Tokens::default();
        let draft = Draft {
            client: "c".to_owned(),
            scopes: Vec::new(),
            after: None,
            access_expires_at: 1_000,
            refresh_expires_at: None,
        };
        let fresh = tokens.issue(draft, 0);
        if revoke {
            tokens.revoke_access(fresh.access);
        }
        let mut headers = HeaderMap::new();
        for field in fields {
            let value = field.replace("TOKEN", &fresh.access_text);
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        credential(&tokens, &headers, now)
    }

    #[test]
    fn a_credential_is_judged_as_it_came() {
        let cases: &[(&[&str], i64, bool, Credential)] = &[
            (&[], 0, false, Credential::None),
            (&["Bearer TOKEN"], 0, false, Credential::Live { token: 1 }),
            (&["Bearer TOKEN"], 999, false, Credential::Live { token: 1 }),
            (&["Bearer TOKEN"], 1_000, false, Credential::Expired { token: 1, for_ms: 0 }),
            (&["Bearer TOKEN"], 1_500, true, Credential::Expired { token: 1, for_ms: 500 }),
            (&["Bearer TOKEN"], 0, true, Credential::Revoked { token: 1 }),
            (&["Bearer other"], 0, false, Credential::Unknown),
            (&["bearer TOKEN"], 0, false, Credential::Malformed),
            (&["TOKEN"], 0, false, Credential::Malformed),
            (&["Bearer "], 0, false, Credential::Malformed),
            (&["Basic YTpi"], 0, false, Credential::Malformed),
            (&["Bearer TOKEN, x"], 0, false, Credential::Live { token: 1 }),
            (&["Basic YTpi", "Bearer TOKEN"], 0, false, Credential::Several),
            (&["Bearer TOKEN", "Bearer TOKEN"], 0, false, Credential::Several),
        ];
        for (fields, now, revoke, expected) in cases {
            assert_eq!(judge(fields, *now, *revoke), *expected, "{fields:?} at {now}");
        }
    }

    #[test]
    fn an_api_that_trusts_the_signature_alone_lets_a_revoked_token_in() {
        let trusting = Options { api_checks_revocation: false, ..Options::league9() };
        let revoked = Credential::Revoked { token: 1 };
        assert!(!is_let_in(revoked, &Options::league9()));
        assert!(is_let_in(revoked, &trusting));
        assert!(!is_let_in(Credential::Expired { token: 1, for_ms: 0 }, &trusting));
        assert!(!is_let_in(Credential::Unknown, &trusting));
    }

    #[test]
    fn only_the_rfc_names_the_scheme() {
        assert_eq!(refusal(&Options::league8(), true).header_value("WWW-Authenticate"), None);
        assert_eq!(refusal(&Options::priava(), false).status, 401);
        let named = refusal(&Options::rfc6749(), false);
        assert_eq!(named.header_value("WWW-Authenticate"), Some("Bearer error=\"invalid_token\""));
    }
}
