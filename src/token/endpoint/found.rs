//! Finds the object that describes the outcome, and the successor of the refresh token, in the text of a response.
//!
//! The presented token is spent once the server has written its successor, so the search covers every place:
//!
//! * the object at the beginning of the text;
//! * an object within other text (a PHP notice, a page), within another object (`data`) or within an array;
//! * a form;
//! * JSON that is encoded twice;
//! * an object that is cut off after the successor.
//!
//! A debug page may echo the presented token, which is not a successor.

use memchr::memmem;
use url::form_urlencoded;

use super::document::{Document, Member};
use super::lenient::{read_object, read_string};
use crate::token::RefreshToken;

/// The result of a search.
#[derive(Default)]
pub(super) struct Found {
    /// The object that describes the outcome.
    pub(super) document: Option<Document>,
    /// A refresh token other than the presented one.
    pub(super) successor: Option<RefreshToken>,
}

/// The search in one response.
pub(super) struct Search<'a> {
    pub(super) presented: Option<&'a RefreshToken>,
    /// The text is incomplete.
    pub(super) cut: bool,
}

/// The spellings of `refresh_token` as a member name.
const REFRESH_TOKEN: [&str; 2] = ["\"refresh_token\"", "\"refreshToken\""];
const ACCESS_TOKEN: [&str; 2] = ["\"access_token\"", "\"accessToken\""];
const ERROR: [&str; 1] = ["\"error\""];

/// Later objects win: a notice and an echoed request precede the response.
const MAX_OCCURRENCES: usize = 8;
/// The number of braces that are tried before a member name.
const MAX_BRACES: usize = 32;
/// The number of bytes that one search may read within other text. It bounds the work, because each brace may be tried.
const MAX_WORK: usize = 64 << 20;

// === impl Search ===

impl Search<'_> {
    /// Searches the text of a 2xx response.
    pub(super) fn success(&self, text: &str) -> Found {
        let found = self.in_text(text);
        if found.successor.is_some() || found.document.as_ref().is_some_and(has_access_token) {
            return found;
        }
        // JSON within a JSON string (encoded twice), or shown on a page.
        let inner = if text.contains("\\\"") {
            text.replace("\\\"", "\"").replace("\\\\", "\\")
        } else if text.contains("&quot;") {
            unescape_html(text)
        } else {
            return found;
        };
        Some(self.in_text(&inner)).filter(|inner| inner.successor.is_some()).unwrap_or(found)
    }

    fn in_text(&self, text: &str) -> Found {
        let whole = Document::parse(text);
        if let Some(document) = &whole
            && let Some(successor) = self.successor(document)
        {
            return Found { document: whole, successor: Some(successor) };
        }
        // The text is JSON of another shape. An access token in it without a successor may mean anything.
        let other_json = whole.is_some() || text.trim_start().starts_with(['[', '"']);
        let mut objects = Objects { text, work: MAX_WORK };
        let new = |document: &Document| self.successor(document).is_some();
        let pair = objects.last_with(&REFRESH_TOKEN, |document| new(document) && has_access_token(document));
        if let Some(document) = pair.or_else(|| objects.last_with(&REFRESH_TOKEN, new)) {
            let successor = self.successor(&document);
            let whole = whole.filter(|whole| has_access_token(whole) && !has_access_token(&document));
            return Found { document: whole.or_else(|| self.conclusive(document)), successor };
        }
        if !other_json && let Some(document) = self.form(text) {
            return Found { successor: self.successor(&document), document: self.conclusive(document) };
        }
        // Cut off or malformed after the successor.
        if let Some(successor) = self.alone(text) {
            return Found { document: whole, successor: Some(successor) };
        }
        let document = match whole {
            Some(whole) => Some(whole),
            None if other_json || self.cut => None,
            None => objects
                .last_with(&ACCESS_TOKEN, has_access_token)
                .or_else(|| objects.last_with(&ERROR, |document| document.text("error").is_some())),
        };
        Found { document, successor: None }
    }

    /// Searches the text of an error response.
    pub(super) fn error(&self, text: &str) -> Option<Document> {
        if let Some(document) = Document::parse(text) {
            return Some(document);
        }
        if self.cut || text.trim_start().starts_with(['[', '"']) {
            return None;
        }
        let says = |document: &Document| document.text("error").is_some();
        Objects { text, work: MAX_WORK }.last_with(&ERROR, says).or_else(|| self.form(text).filter(says))
    }

    /// An object within other text, if the text is complete. Otherwise, a later object could win.
    fn conclusive(&self, document: Document) -> Option<Document> {
        (!self.cut).then_some(document)
    }

    fn successor(&self, document: &Document) -> Option<RefreshToken> {
        self.new_token(&document.text_or_number("refresh_token")?)
    }

    /// Whether the object has a refresh token with invalid characters.
    pub(super) fn is_unusable(&self, document: &Document) -> bool {
        match document.member("refresh_token") {
            Member::Absent => false,
            Member::Text(text) => RefreshToken::parse(trimmed(&text)).is_err(),
            Member::Other => document.text_or_number("refresh_token").is_none(),
        }
    }

    /// Whitespace and line breaks around a token are not part of the token.
    fn new_token(&self, text: &str) -> Option<RefreshToken> {
        let token = RefreshToken::parse(trimmed(text)).ok()?;
        (Some(&token) != self.presented).then_some(token)
    }

    /// A form (GitHub's default), also after other text.
    fn form(&self, text: &str) -> Option<Document> {
        const NAMES: [&str; 3] = ["access_token", "refresh_token", "error"];
        let is_form = |word: &&str| {
            let names = || word.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
            NAMES.iter().any(|wanted| names().any(|name| name == *wanted))
        };
        let words = || text.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\'' | '{' | '}'));
        let word = words().rfind(is_form)?;
        // If the form is cut off, its last value may be incomplete.
        let word = if self.cut { &word[..word.rfind('&')?] } else { word };
        Some(Document::from_pairs(form_urlencoded::parse(word.as_bytes()).into_owned()))
    }

    /// A complete successor in an object that can't be read.
    fn alone(&self, text: &str) -> Option<RefreshToken> {
        let values = REFRESH_TOKEN.into_iter().flat_map(|name| {
            memmem::rfind_iter(text.as_bytes(), name.as_bytes()).take(MAX_OCCURRENCES).map(move |at| at + name.len())
        });
        let in_json = |at: usize| {
            let value = text.get(at..)?.trim_start().strip_prefix(':')?.trim_start();
            self.new_token(&read_string(value)?)
        };
        let in_xml = || {
            let (_, rest) = text.rsplit_once("<refresh_token>")?;
            self.new_token(&unescape_html(rest.split_once('<')?.0))
        };
        values.into_iter().find_map(in_json).or_else(in_xml)
    }
}

/// The JSON objects within a text.
struct Objects<'a> {
    text: &'a str,
    work: usize,
}

// === impl Objects ===

impl Objects<'_> {
    /// The last object that has one of these members and satisfies the condition.
    fn last_with(&mut self, names: &[&str], wanted: impl Fn(&Document) -> bool) -> Option<Document> {
        for name in names {
            let occurrences = memmem::rfind_iter(self.text.as_bytes(), name.as_bytes()).take(MAX_OCCURRENCES);
            for at in occurrences {
                if let Some(document) = self.around(at).filter(&wanted) {
                    return Some(document);
                }
            }
        }
        None
    }

    /// The innermost complete object around `at`.
    fn around(&mut self, at: usize) -> Option<Document> {
        let before = self.text.get(..at)?;
        for brace in memchr::memrchr_iter(b'{', before.as_bytes()).take(MAX_BRACES) {
            let text = self.text.get(brace..)?;
            let (document, length) = match Document::parse_prefix(text) {
                Some((document, length)) => (Some(document), length),
                None => (None, read_object(text).map_or(0, |object| object.length)),
            };
            self.work = self.work.checked_sub(length)?;
            if brace + length > at && document.is_some() {
                return document;
            }
        }
        None
    }
}

pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}')
}

fn has_access_token(document: &Document) -> bool {
    matches!(document.member("access_token"), Member::Text(_))
}

fn unescape_html(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, c) in
        [("&quot;", "\""), ("&#34;", "\""), ("&#x22;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
    {
        plain = plain.replace(escape, c);
    }
    plain
}
