//! The challenges of a response (RFC 9110 §11.6.1). Only the scheme and `error` are read, which is what a refusal depends on.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One challenge.
#[derive(Debug)]
pub(super) struct Challenge {
    scheme: String,
    /// The parameter `error` (RFC 6750 §3).
    error: Option<String>,
}

/// All challenges, from all `WWW-Authenticate` fields.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE).into_iter().filter_map(|value| value.to_str().ok()) {
        // A parameter belongs to the challenge before it in the same field.
        let first = challenges.len();
        for item in items(value) {
            let (scheme, parameter) = match item.split_once([' ', '\t']) {
                Some((scheme, rest)) if !scheme.contains('=') && !rest.trim_start().starts_with('=') => {
                    (Some(scheme), rest.trim())
                }
                _ if item.contains('=') => (None, item),
                _ => (Some(item), ""),
            };
            if let Some(scheme) = scheme {
                challenges.push(Challenge { scheme: scheme.to_owned(), error: None });
            }
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("error")
                && let Some(challenge) = challenges.get_mut(first..).and_then(<[_]>::last_mut)
            {
                challenge.error = Some(unquoted(value.trim()));
            }
        }
    }
    challenges
}

/// Splits at the commas outside quotes.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn unquoted(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else { return value.to_owned() };
    quoted.strip_suffix('"').unwrap_or(quoted).replace('\\', "")
}

// === impl Challenge ===

impl Challenge {
    pub(super) fn is_bearer_error(&self, error: &str) -> bool {
        self.scheme.eq_ignore_ascii_case("bearer") && self.error.as_deref() == Some(error)
    }

    /// Whether it asks for other credentials than a token.
    pub(super) fn asks_for_other_credentials(&self) -> bool {
        ["basic", "digest", "ntlm", "negotiate"].iter().any(|scheme| self.scheme.eq_ignore_ascii_case(scheme))
    }
}
