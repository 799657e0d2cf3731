//! Parses the input of `import`: a bare refresh token, or a response of the token endpoint. Pure.
//!
//! A text that is clearly not a refresh token is refused, and the message says what it looks like. A doubtful text passes,
//! because the token endpoint decides.

mod jwt;

use std::collections::BTreeMap;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::token::endpoint::{Document, Member};
use crate::token::{AccessToken, RefreshToken};

#[derive(Debug, PartialEq)]
pub(super) struct Offered {
    pub(super) refresh: RefreshToken,
    pub(super) access: Option<AccessToken>,
    /// Lifetime of the access token, if the response has one.
    pub(super) lifetime: Option<Duration>,
}

/// Why it was refused. Holds nothing of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than 1 MiB")]
    TooLong,
    #[error("it is not text in UTF-8")]
    NotText,
    #[error("it is the word `{0}`, which a script prints if it found no token")]
    NoValue(&'static str),
    #[error("it is a page of HTML or XML, such as a proxy or a login form sends")]
    Html,
    #[error("it is a URL: a code in it must be exchanged for a token first")]
    Url,
    #[error("it is a name and a value, as in an environment file: give only the value")]
    Assignment,
    #[error("it is the name of a variable, not its value")]
    Variable,
    #[error("it has quotes around it: give the token without them")]
    Quoted,
    #[error("it begins with the authentication scheme `{0}`, so it is an access token from an Authorization header")]
    Scheme(&'static str),
    #[error("its claims say that it is {0}")]
    OtherToken(&'static str),
    #[error("it has {0} lines")]
    SeveralLines(usize),
    #[error("it has spaces or characters beyond ASCII, so it is neither a refresh token nor a response")]
    NotAToken,
    #[error("it is not a complete JSON object")]
    NotJson,
    #[error("it is an error response of the token endpoint: {0}")]
    ErrorResponse(String),
    #[error("the response has no refresh_token")]
    NoRefreshToken,
    #[error("its {0} is not a token: a string of visible ASCII characters")]
    NotATokenIn(&'static str),
}

pub(super) const MAX_INPUT: usize = 1024 * 1024;

const NO_VALUES: [&str; 8] = ["null", "nil", "none", "undefined", "NaN", "true", "false", "[object Object]"];
const SCHEMES: [&str; 4] = ["Bearer", "Basic", "Token", "Authorization:"];
/// A server's text is cut after this many characters.
const SAID: usize = 500;
/// A word of a server's text that has this many characters may be a token.
const WORD: usize = 32;

// === impl Offered ===

impl Offered {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_INPUT {
            return Err(Malformed::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotText)?;
        // Windows tools write a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('{') {
            return Self::parse_response(text);
        }
        if let Some(json) = form(text) {
            return Self::parse_response(&json);
        }
        if let Some(what) = resembles(text) {
            return Err(what);
        }
        let refresh = RefreshToken::parse(text).map_err(|_| Malformed::NotAToken)?;
        Ok(Self { refresh, access: None, lifetime: None })
    }

    /// RFC 6749 §5.1, as leniently as the client of the token endpoint reads it.
    fn parse_response(text: &str) -> Result<Self, Malformed> {
        let response = Document::parse(text).ok_or(Malformed::NotJson)?;
        let token = |name| match response.member(name) {
            Member::Absent => Ok(None),
            Member::Text(token) => Ok(Some(token)),
            Member::Other => Err(Malformed::NotATokenIn(name)),
        };
        let Some(refresh) = token("refresh_token")? else {
            return Err(said(&response).map_or(Malformed::NoRefreshToken, Malformed::ErrorResponse));
        };
        let refresh = RefreshToken::parse(refresh).map_err(|_| Malformed::NotATokenIn("refresh_token"))?;
        let access = token("access_token")?.map(AccessToken::parse).transpose();
        let access = access.map_err(|_| Malformed::NotATokenIn("access_token"))?;
        Ok(Self { refresh, access, lifetime: response.lifetime() })
    }
}

/// A form-encoded response (GitHub's default), as a JSON object.
fn form(text: &str) -> Option<Zeroizing<String>> {
    if !text.contains('=') || text.contains(char::is_whitespace) {
        return None;
    }
    let members: BTreeMap<_, _> = url::form_urlencoded::parse(text.as_bytes()).collect();
    let is_response = ["refresh_token", "access_token", "error"].iter().any(|name| members.contains_key(*name));
    is_response.then(|| serde_json::to_string(&members).ok().map(Zeroizing::new))?
}

/// Recognizes a text that is clearly not a refresh token.
fn resembles(text: &str) -> Option<Malformed> {
    let lower = text.get(..16).unwrap_or(text).to_ascii_lowercase();
    let scheme = |name: &&&str| {
        let rest = text.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)).map(|_| &text[name.len()..]);
        rest.is_some_and(|rest| name.ends_with(':') || rest.starts_with(char::is_whitespace))
    };
    Some(match text {
        "" => Malformed::Empty,
        _ if let Some(word) = NO_VALUES.iter().find(|word| word.eq_ignore_ascii_case(text)) => Malformed::NoValue(word),
        _ if text.starts_with('<') => Malformed::Html,
        _ if lower.starts_with("http://") || lower.starts_with("https://") => Malformed::Url,
        _ if let Some(name) = SCHEMES.iter().find(scheme) => Malformed::Scheme(name),
        _ if is_quoted(text) => Malformed::Quoted,
        _ if is_variable(text) => Malformed::Variable,
        _ if text.lines().count() > 1 => Malformed::SeveralLines(text.lines().count()),
        _ if is_assignment(text) => Malformed::Assignment,
        _ if text.contains(['"', '\'', ' ']) => Malformed::NotAToken,
        _ => Malformed::OtherToken(jwt::is_other(text)?),
    })
}

fn is_quoted(text: &str) -> bool {
    let quotes = ['"', '\'', '`'];
    text.starts_with(quotes) && text.ends_with(quotes)
}

/// `$TOKEN`, `${TOKEN}`, `{{ token }}`, `%TOKEN%`
fn is_variable(text: &str) -> bool {
    let name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text.strip_prefix("${").and_then(|text| text.strip_suffix('}')).is_some_and(name)
        || text.strip_prefix('$').is_some_and(name)
        || text.strip_prefix('%').and_then(|text| text.strip_suffix('%')).is_some_and(name)
}

/// `REFRESH_TOKEN=…`, `export TOKEN=…`. A token may contain `=` anywhere (RFC 6749 appendix A.17).
fn is_assignment(text: &str) -> bool {
    let (exported, text) = text.strip_prefix("export ").map_or((false, text), |text| (true, text.trim_start()));
    let Some((name, value)) = text.split_once('=') else { return false };
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    let is_telling = exported
        || name.to_ascii_lowercase().contains("token")
        || (name.contains('_') && !name.bytes().any(|byte| byte.is_ascii_lowercase()));
    is_name && is_telling && !value.trim_matches('=').is_empty()
}

/// The text of an error response in one line. Words that may be a token are masked.
fn said(response: &Document) -> Option<String> {
    let text = |name| match response.member(name) {
        Member::Text(text) => Some(text),
        Member::Absent | Member::Other => None,
    };
    if matches!(response.member("error"), Member::Absent) {
        return None;
    }
    let parts: Vec<_> = ["error", "error_description", "message", "hint"].into_iter().filter_map(text).collect();
    let words = parts.iter().map(|part| {
        let word = |word: &str| if word.chars().count() < WORD { word.to_owned() } else { "[masked]".to_owned() };
        part.split(|c: char| c.is_whitespace() || c.is_control()).map(word).collect::<Vec<_>>().join(" ")
    });
    let text = words.collect::<Vec<_>>().join(": ");
    let text: String = text.chars().take(SAID).collect();
    Some(if text.is_empty() { "nothing".to_owned() } else { text })
}

#[cfg(test)]
mod tests;
