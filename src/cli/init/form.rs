//! What an answer must look like. The configuration is checked only after the last question, so a slip is asked for again at once. Pure.

use url::Url;

use super::ways::is_request_path;

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Any,
    /// Of a server.
    Url,
    /// As it is registered, also `urn:…`.
    RedirectUri,
    RequestPath,
}

// === impl Form ===

impl Form {
    /// What is expected, if the answer is something else.
    pub(super) fn mistake(self, answer: &str) -> Option<&'static str> {
        let url = || Url::parse(answer).ok();
        let (is_right, expected) = match self {
            Self::Any => return None,
            Self::Url => {
                let is_http = |url: Url| url.has_host() && matches!(url.scheme(), "http" | "https");
                (url().is_some_and(is_http), "a whole URL, such as https://api.example/v1")
            }
            Self::RedirectUri => (url().is_some(), "a whole URI, such as http://127.0.0.1/callback"),
            Self::RequestPath => (is_request_path(answer), "a path that begins with `/` and has no quote"),
        };
        (!is_right).then_some(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_what_servers_use_is_accepted() {
        for (form, answer, accepted) in [
            (Form::Any, "7", true),
            (Form::Url, "https://api.example/v1", true),
            (Form::Url, "http://127.0.0.1:8000", true),
            (Form::Url, "api.example/v1", false),
            (Form::Url, "ftp://api.example", false),
            (Form::Url, "https://", false),
            (Form::RedirectUri, "http://127.0.0.1/callback", true),
            (Form::RedirectUri, "urn:ietf:wg:oauth:2.0:oob", true),
            (Form::RedirectUri, "127.0.0.1/callback", false),
            (Form::RequestPath, "/users?limit=1", true),
            (Form::RequestPath, "users", false),
        ] {
            assert_eq!(form.mistake(answer).is_none(), accepted, "{form:?} {answer}");
        }
    }
}
