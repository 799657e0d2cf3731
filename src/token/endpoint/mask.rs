//! Removes secrets from the error texts of a server.
//!
//! An error text is written to logs, to the store and to the status page. A server may quote what it received in that text. So
//! every text is masked before it becomes part of a [`RefreshFailure`](super::RefreshFailure). The mask replaces what was presented,
//! whole or in parts, and everything that looks like a token.
//!
//! A server may split a secret, escape it, or encode it. So the text is compared without escapes and whitespace, and again with
//! letters and digits only. A run of [`PART`] characters is replaced if it occurs in a secret, or in its base64 or hexadecimal
//! form.

mod unescape;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use self::unescape::{Unit, unescape};
use super::Presented;
use super::request::basic;
use crate::config::{ClientAuth, TokenEndpoint};

/// The secrets of one call.
#[derive(Clone)]
pub(super) struct Mask {
    /// As they were on the wire, the longest first, because one may be a part of another.
    secrets: Vec<Zeroizing<String>>,
    /// All parts of the secrets in all forms, sorted.
    parts: Zeroizing<Vec<[char; PART]>>,
    /// The secrets that are shorter than a part.
    short: Zeroizing<Vec<Vec<char>>>,
}

/// What replaces a secret.
const MASKED: &str = "***";

/// The longest text that is shown.
const MAX_CHARS: usize = 300;

/// The longest text that is compared. At its end, less than a part of a secret can remain unrecognized.
const MAX_COMPARED: usize = 8 * 1024;

/// A longer run without a break counts as a token. Words and error codes are shorter.
const MAX_RUN: usize = 40;

/// The length of the shortest part of a secret that is masked.
const PART: usize = 8;

/// A shorter secret is masked only as it was sent. Without whitespace and escapes, it could be any word.
const SHORTEST: usize = 4;

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
        // A shorter value is probably a word that the error text needs.
        let values = config.parameters.iter().map(|(_, value)| value);
        plain.extend(values.filter(|value| value.expose().len() >= PART));
        let mut mask = Self { secrets: Vec::new(), parts: Zeroizing::default(), short: Zeroizing::default() };
        for secret in plain {
            mask.add(secret.expose());
        }
        if let (ClientAuth::Basic, Some(secret)) = (config.client_auth, &config.client_secret) {
            mask.secrets.push(basic(&config.client_id, secret));
        }
        mask.sorted()
    }

    /// This mask, which also hides the issued tokens.
    pub(super) fn hiding<'a>(&self, issued: impl IntoIterator<Item = &'a str>) -> Self {
        let mut mask = self.clone();
        for secret in issued {
            mask.add(secret);
        }
        mask.sorted()
    }

    fn add(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        self.secrets.push(Zeroizing::new(byte_serialize(secret.as_bytes()).collect()));
        self.secrets.push(Zeroizing::new(secret.to_owned()));
        let encoded = |ahead: usize| {
            // The base64 form depends on the number of bytes before the secret, modulo 3.
            let bytes = Zeroizing::new([&b"  "[..ahead], secret.as_bytes()].concat());
            Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(&*bytes))
        };
        let hex = Zeroizing::new(secret.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
        let plain = Zeroizing::new(secret.to_owned());
        for form in [plain, encoded(0), encoded(1), encoded(2), hex] {
            for kept in KEPT {
                let form: Zeroizing<Vec<char>> = Zeroizing::new(folded(form.chars()).filter(|c| kept(*c)).collect());
                self.parts.extend(form.windows(PART).filter_map(|part| <[char; PART]>::try_from(part).ok()));
            }
        }
        let visible: Vec<char> = folded(secret.chars()).filter(|c| KEPT[0](*c)).collect();
        if (SHORTEST..PART).contains(&visible.len()) {
            self.short.push(visible);
        }
    }

    fn sorted(mut self) -> Self {
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.parts.sort_unstable();
        self.parts.dedup();
        self
    }

    /// Masks a text of the server: what was presented, and what looks like a token.
    pub(super) fn remote(&self, text: &str) -> String {
        let text = self.printable(text);
        let words: Vec<&str> = text.split(' ').map(mask_run).collect();
        limited(&words.join(" "))
    }

    /// Masks a `Location` and removes its query, which could hold a code or a token.
    pub(super) fn location(&self, text: &str) -> String {
        let path = self.printable(text.split(['?', '#']).next().unwrap_or_default());
        let segments: Vec<&str> = path.split('/').map(mask_run).collect();
        limited(&segments.join("/"))
    }

    /// Masks a text of a local library. Long names of hosts and files stay readable.
    pub(super) fn local(&self, text: &str) -> String {
        limited(&self.printable(text))
    }

    /// Reduces a text to printable ASCII, and removes the secrets: as sent, with other whitespace, and in parts.
    fn printable(&self, text: &str) -> String {
        let text: String = text.chars().take(MAX_COMPARED).collect();
        let text = self.without_parts(&self.without_secrets(&text));
        // Characters are replaced and not dropped, because dropping could join the parts of a secret.
        let printable: String = text
            .chars()
            .map(|c| match c {
                c if c.is_whitespace() => ' ',
                c if c.is_ascii_graphic() => c,
                _ => '?',
            })
            .collect();
        self.without_secrets(&printable)
    }

    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASKED);
            }
        }
        text
    }

    fn without_parts(&self, text: &str) -> String {
        let unescaped = unescape(text);
        let mut hidden: Vec<(usize, usize)> = Vec::new();
        for (units, kept) in unescaped.iter().flat_map(|units| KEPT.map(|kept| (units, kept))) {
            let units: Vec<&Unit> = units.iter().filter(|unit| kept(unit.folded)).collect();
            let mut hide = |part: &[&Unit]| {
                if let [first, .., last] = part {
                    hidden.push((first.start, last.end));
                }
            };
            for window in units.windows(PART) {
                let part: [char; PART] = std::array::from_fn(|at| window[at].folded);
                if self.parts.binary_search(&part).is_ok() {
                    hide(window);
                }
            }
            for short in self.short.iter() {
                let is_short = |window: &&[&Unit]| window.iter().map(|unit| unit.folded).eq(short.iter().copied());
                units.windows(short.len()).filter(is_short).for_each(&mut hide);
            }
        }
        hidden.sort_unstable();
        let mut shown = String::with_capacity(text.len());
        let mut at = 0;
        for (start, end) in hidden {
            if start > at || shown.is_empty() {
                shown.push_str(text.get(at..start).unwrap_or_default());
                shown.push_str(MASKED);
            }
            at = at.max(end);
        }
        shown.push_str(text.get(at..).unwrap_or_default());
        shown
    }
}

/// How a text is normalized before a comparison.
const KEPT: [fn(char) -> bool; 2] = [|c| !c.is_whitespace() && !c.is_control(), |c| c.is_alphanumeric()];

/// In lower case, because a server may change the case.
fn folded(text: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    text.map(|c| c.to_ascii_lowercase())
}

// Always the last step: a secret that is cut before the masking is not recognized.
fn limited(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}

fn mask_run(word: &str) -> &str {
    if word.len() > MAX_RUN { MASKED } else { word }
}

#[cfg(test)]
mod tests;
