//! Keeps secrets out of the words that a server sends back.
//!
//! An error text is written to logs, to the store and to the status page, and a server may quote in it what it was
//! sent. So a text passes through here before it becomes part of a [`Failure`](super::Failure): what was presented is
//! cut out, in each form in which it was on the wire, and so is anything that only looks like a token.

use std::borrow::Cow;

use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::Presented;
use super::request::basic;
use crate::config::{ClientAuth, TokenEndpoint};

/// What must not come back out of one call.
pub(super) struct Mask {
    /// The longest first: one may be a part of another.
    secrets: Vec<Zeroizing<String>>,
}

/// What stands for a secret.
const MASKED: &str = "***";

/// Of one text.
const MAX_CHARS: usize = 300;

/// A run of more characters than this, without a break, is taken for a token. Words and error codes are shorter.
const MAX_RUN: usize = 40;

// === impl Mask ===

impl Mask {
    pub(super) fn new(presented: Presented<'_>, config: &TokenEndpoint) -> Self {
        let mut plain = Vec::with_capacity(3);
        match presented {
            Presented::RefreshToken(token) => plain.push(token.secret()),
            Presented::ClientCredentials => {}
            Presented::Code { code, verifier, .. } => {
                plain.push(code);
                plain.extend(verifier);
            }
        }
        plain.extend(&config.client_secret);
        let mut secrets: Vec<Zeroizing<String>> = Vec::with_capacity(2 * plain.len() + 1);
        for secret in plain {
            secrets.push(Zeroizing::new(byte_serialize(secret.expose().as_bytes()).collect()));
            secrets.push(Zeroizing::new(secret.expose().to_owned()));
        }
        if let (ClientAuth::Basic, Some(secret)) = (config.client_auth, &config.client_secret) {
            secrets.push(basic(&config.client_id, secret));
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets }
    }

    /// Words of the server: neither what was presented nor what looks like a token.
    pub(super) fn remote(&self, text: &str) -> String {
        let text = self.printable(text);
        let words: Vec<&str> = text.split(' ').map(mask_run).collect();
        limited(&words.join(" "))
    }

    /// Where a redirect leads: `Location` without its query, in which a code or a token could be.
    pub(super) fn location(&self, text: &str) -> String {
        let path = self.printable(text.split(['?', '#']).next().unwrap_or_default());
        let segments: Vec<&str> = path.split('/').map(mask_run).collect();
        limited(&segments.join("/"))
    }

    /// Words of this machine's own libraries: the long names of hosts and files in them stay readable.
    pub(super) fn local(&self, text: &str) -> String {
        limited(&self.printable(text))
    }

    /// Printable ASCII, without the secrets: as they were sent, and as blanks of another kind make them look.
    fn printable(&self, text: &str) -> String {
        let text = self.without_secrets(text);
        // Nothing is dropped, so that no secret grows together.
        let printable: String = text
            .chars()
            .map(|c| match c {
                c if c.is_whitespace() => ' ',
                c if c.is_ascii_graphic() => c,
                _ => '?',
            })
            .collect();
        self.without_secrets(&printable).into_owned()
    }

    fn without_secrets<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), MASKED));
            }
        }
        text
    }
}

// The last step always: what is cut short before it is masked is no longer recognized.
fn limited(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}

fn mask_run(word: &str) -> &str {
    if word.len() > MAX_RUN { MASKED } else { word }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use crate::secret::Secret;
    use crate::token::RefreshToken;

    fn mask() -> Mask {
        let token = RefreshToken::parse("def502/00+short").unwrap();
        let config = TokenEndpoint {
            client_auth: ClientAuth::Basic,
            client_id: "id".into(),
            client_secret: Some(Secret::new("pä ss")),
            ..config("https://as.test/token")
        };
        Mask::new(Presented::RefreshToken(&token), &config)
    }

    #[test]
    fn what_was_presented_is_masked_in_every_form_that_was_sent() {
        let rows = [
            ("token def502/00+short is bad", "token *** is bad"),
            ("refresh_token=def502%2F00%2Bshort&x", "refresh_token=***&x"),
            ("secret pä ss", "secret ***"),
            ("client_secret=p%C3%A4+ss", "client_secret=***"),
            // base64 of `id:p%C3%A4+ss`
            ("got Basic aWQ6cCVDMyVBNCtzcw==", "got Basic ***"),
            ("def502/00+shortdef502/00+short", "******"),
        ];
        for (text, expected) in rows {
            assert_eq!(mask().remote(text), expected);
            assert_eq!(mask().local(text), expected);
        }
    }

    #[test]
    fn other_blanks_make_no_secret_of_what_was_none() {
        let config = TokenEndpoint { client_secret: Some(Secret::new("pass word")), ..config("https://as.test/token") };
        let mask = Mask::new(Presented::ClientCredentials, &config);
        for text in ["got pass word", "got pass\tword", "got pass\u{a0}word"] {
            assert_eq!(mask.remote(text), "got ***", "{text:?}");
        }
    }

    #[test]
    fn a_servers_words_are_printable_limited_and_hold_nothing_like_a_token() {
        let jwt = format!("eyJ{}", "a".repeat(38));
        let rows = [
            ("line\r\nX-Evil: \u{1b}[31mé\0", "line  X-Evil: ?[31m??".to_owned()),
            (&format!("token {jwt}."), "token ***".to_owned()),
            (&"a".repeat(40), "a".repeat(40)),
            (&"a ".repeat(300), "a ".repeat(150)),
            ("", String::new()),
        ];
        for (text, expected) in rows {
            assert_eq!(mask().remote(text), expected);
        }
    }

    #[test]
    fn a_location_is_shown_without_its_query() {
        let rows = [
            (
                "https://web.passolution.test/de/oauth/token?code=abc",
                "https://web.passolution.test/de/oauth/token".to_owned(),
            ),
            ("/login#x", "/login".to_owned()),
            (&format!("/a/{}/b", "x".repeat(41)), "/a/***/b".to_owned()),
        ];
        for (text, expected) in rows {
            assert_eq!(mask().location(text), expected);
        }
    }

    #[test]
    fn an_empty_secret_masks_nothing() {
        let config = TokenEndpoint { client_secret: Some(Secret::new("")), ..config("https://as.test/token") };
        assert_eq!(Mask::new(Presented::ClientCredentials, &config).remote("as it is"), "as it is");
    }
}
