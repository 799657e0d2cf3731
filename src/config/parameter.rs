//! Additional parameters of token requests and of the authorization request.

use super::malformed::Malformed;

/// The parameters that the proxy sets itself, or that only a response has. Servers would disagree about a request with a second parameter of
/// such a name (RFC 6749 §3.2: a parameter must not be included more than once).
const RESERVED: [&str; 20] = [
    "access_token",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "error",
    "error_description",
    "error_uri",
    "expires_in",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "response_type",
    "scope",
    "state",
    "token_type",
    "username",
];

pub(super) fn check(name: &str, value: &str) -> Result<(), Malformed> {
    // RFC 6749 §A: `name-char`.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err("not a parameter name (RFC 6749 §8.2)".into());
    }
    if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err("the protocol reserves this name: the proxy sets it itself, or it belongs to a response".into());
    }
    if value.chars().any(char::is_control) {
        return Err("the value has a control character".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_protocol_reserves_is_refused() {
        for name in RESERVED.into_iter().chain(["Scope", "", "a b", "ä", "a&b=c"]) {
            assert!(check(name, "x").is_err(), "{name}");
        }
        for name in ["audience", "resource", "access_type", "prompt", "X-1.y"] {
            assert!(check(name, "https://api.example/ä").is_ok(), "{name}");
        }
        assert!(check("audience", "a\r\nb").is_err());
    }
}
