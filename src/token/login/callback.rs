//! What comes back from the authorization server: the query of a redirect, or what a person pasted. Pure.

use url::form_urlencoded;

use crate::secret::Secret;

/// The longest text that is read. A code of league/oauth2-server has 876 characters, and some servers put JWTs into it.
pub const MAX_LENGTH: usize = 64 * 1024;

/// A response to an authorization request (RFC 6749 §4.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    Code {
        code: Secret,
        state: Option<Secret>,
    },
    /// Pasted without the URL around it, so that it has no state.
    BareCode(Secret),
    /// RFC 6749 §4.1.2.1, in texts that can be shown.
    Error {
        error: String,
        description: String,
        state: Option<Secret>,
    },
}

/// The text is no such response. The reason never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is empty")]
    Empty,
    #[error("it has neither a code nor an error")]
    NoCode,
    #[error("it has a parameter twice")]
    Twice,
    #[error("it has a space or a character that no code has")]
    Character,
    #[error("it is longer than {} KiB", MAX_LENGTH / 1024)]
    TooLong,
}

/// Longer texts of a server are cut.
const MAX_SHOWN: usize = 200;
/// A longer run of characters without a break may be a token.
const MAX_WORD: usize = 40;

// === impl Callback ===

impl Callback {
    /// From the query of the redirect.
    ///
    /// # Errors
    /// It is no response.
    pub fn from_query(query: &str) -> Result<Self, Malformed> {
        let (mut code, mut error, mut state) = (None, None, None);
        let mut description = String::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "code" => &mut code,
                "error" => &mut error,
                "state" => &mut state,
                "error_description" => {
                    description = shown(&value);
                    continue;
                }
                _ => continue,
            };
            // A server must not send a parameter twice (RFC 6749 §3.1). Which one counts would be a guess.
            if place.replace(value.into_owned()).is_some() {
                return Err(Malformed::Twice);
            }
        }
        let state = state.filter(|state| !state.is_empty()).map(Secret::new);
        match (error.filter(|error| !error.is_empty()), code) {
            (Some(error), _) => Ok(Self::Error { error: shown(&error), description, state }),
            (None, Some(text)) => Ok(Self::Code { code: code_of(text)?, state }),
            (None, None) => Err(Malformed::NoCode),
        }
    }

    /// From what a person pasted: the whole URL, its query, or the code alone.
    ///
    /// # Errors
    /// It is none of these.
    pub fn from_pasted(text: &str) -> Result<Self, Malformed> {
        if text.len() > MAX_LENGTH {
            return Err(Malformed::TooLong);
        }
        let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`'));
        if text.is_empty() {
            return Err(Malformed::Empty);
        }
        if let Some((before, after)) = text.split_once('?')
            && (before.is_empty() || before.contains("://") || before.starts_with('/'))
        {
            return Self::from_query(after.split('#').next().unwrap_or_default());
        }
        if text.contains("://") {
            // `response_mode=fragment`, or a URL that lacks the response.
            return Self::from_query(text.split_once('#').map_or("", |(_, fragment)| fragment));
        }
        let has = |name: &str| text.split('&').any(|pair| pair.split_once('=').is_some_and(|(found, _)| found == name));
        if has("code") || has("error") {
            return Self::from_query(text);
        }
        // Copied from behind `code=`.
        if has("state") {
            return Self::from_query(&format!("code={text}"));
        }
        // Copied from the address bar, where some characters are percent-encoded.
        let pair = format!("code={}", text.replace('+', "%2B").replace('&', "%26"));
        let code = form_urlencoded::parse(pair.as_bytes()).next().map(|(_, code)| code.into_owned());
        code_of(code.unwrap_or_default()).map(Self::BareCode)
    }
}

/// A code is printable ASCII (RFC 6749 §A.11). None has a space, though the grammar allows it.
fn code_of(text: String) -> Result<Secret, Malformed> {
    let code = Secret::new(text);
    match code.expose() {
        "" => Err(Malformed::NoCode),
        text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(code),
        _ => Err(Malformed::Character),
    }
}

/// A text that a server chose, fit for a terminal and a page: short, without control characters and without what may be a token.
pub(super) fn shown(text: &str) -> String {
    let plain: String = text.chars().take(MAX_SHOWN).map(|c| if is_plain(c) { c } else { ' ' }).collect();
    let word = |word: &str| if word.chars().count() > MAX_WORD { "***".to_owned() } else { word.to_owned() };
    plain.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || c.is_ascii_graphic() || c == ' '
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str, state: Option<&str>) -> Result<Callback, Malformed> {
        Ok(Callback::Code { code: Secret::new(code), state: state.map(Secret::new) })
    }

    fn bare(code: &str) -> Result<Callback, Malformed> {
        Ok(Callback::BareCode(Secret::new(code)))
    }

    fn error(error: &str, description: &str) -> Result<Callback, Malformed> {
        Ok(Callback::Error { error: error.into(), description: description.into(), state: None })
    }

    #[test]
    fn a_person_may_paste_the_url_its_query_or_the_code() {
        let long = format!("http://127.0.0.1:1/callback?code={}&state=s", "a".repeat(16 * 1024));
        for (text, expected) in [
            ("http://127.0.0.1:1/callback?code=c%2F1&state=s", code("c/1", Some("s"))),
            (" <http://127.0.0.1:1/callback?code=c&state=s>\r\n", code("c", Some("s"))),
            ("'https://app.example/cb?x=1&code=c&state=s#top'", code("c", Some("s"))),
            ("https://app.example/cb#code=c&state=s", code("c", Some("s"))),
            ("/callback?code=c&state=s", code("c", Some("s"))),
            ("?code=c&state=s", code("c", Some("s"))),
            ("code=c&state=s", code("c", Some("s"))),
            ("c&state=s", code("c", Some("s"))),
            ("http://127.0.0.1/callback?error=access_denied", error("access_denied", "")),
            ("4/0A-b_c", bare("4/0A-b_c")),
            ("4%2F0A", bare("4/0A")),
            ("ab==", bare("ab==")),
            ("what?now", bare("what?now")),
            (&long, code(&"a".repeat(16 * 1024), Some("s"))),
            ("", Err(Malformed::Empty)),
            (" \"\" ", Err(Malformed::Empty)),
            ("two words", Err(Malformed::Character)),
            ("ä", Err(Malformed::Character)),
            ("%ff", Err(Malformed::Character)),
            ("a%00b", Err(Malformed::Character)),
            ("https://web.example/login", Err(Malformed::NoCode)),
            ("http://127.0.0.1/callback?state=s", Err(Malformed::NoCode)),
            ("http://127.0.0.1/callback?code=&state=s", Err(Malformed::NoCode)),
            ("?code=a&code=b&state=s", Err(Malformed::Twice)),
            ("?code=a&state=s&state=t", Err(Malformed::Twice)),
            (&"a".repeat(MAX_LENGTH + 1), Err(Malformed::TooLong)),
        ] {
            assert_eq!(Callback::from_pasted(text), expected, "{:.80}", text);
        }
    }

    #[test]
    fn an_error_of_the_server_can_be_shown_and_holds_no_token() {
        let query = "error=access%1b%5b31mdenied&error_description=no%0d%0a%E2%80%AEway+def502def502def502def502def502def502def502def502";
        assert_eq!(Callback::from_query(query), error("access [31mdenied", "no way ***"));
        let long = shown(&"word ".repeat(1000));
        assert!(long.len() <= MAX_SHOWN, "{}", long.len());
        // An error beside a code is an error.
        assert_eq!(Callback::from_query("code=c&error=server_error"), error("server_error", ""));
    }
}
