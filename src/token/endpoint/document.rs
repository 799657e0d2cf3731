//! A lenient view of the JSON object in a token endpoint's response (RFC 6749 §5.1, §5.2).
//!
//! The server spends a refresh token when it writes its response. A reader that discards a response because of a flaw in an
//! unimportant member loses the grant. So this reader accepts numbers out of range, any depth of nesting, wrong types, unknown
//! escapes, line breaks within strings, surplus commas, and text after the object. If two members have the same name, the last
//! one counts, as in most parsers.

use std::collections::HashMap;
use std::time::Duration;

use super::lenient::{Raw, read_object};

/// The members of an object.
pub(crate) struct Document(HashMap<String, Raw>);

/// A member that should be a string.
pub(crate) enum Member {
    /// Missing, `null`, or empty.
    Absent,
    Text(String),
    /// Not a string.
    Other,
}

/// A longer lifetime counts as this one.
const LONGEST_LIFE: f64 = 10.0 * 365.0 * 24.0 * 60.0 * 60.0;

// === impl Document ===

impl Document {
    /// `None`: the text does not begin with a complete JSON object.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::parse_prefix(text).map(|(document, _)| document)
    }

    /// The object at the beginning of the text, and its length.
    pub(super) fn parse_prefix(text: &str) -> Option<(Self, usize)> {
        let object = read_object(text)?;
        object.complete.then_some((Self(object.members), object.length))
    }

    /// The parameters of a form.
    pub(super) fn from_pairs(pairs: impl Iterator<Item = (String, String)>) -> Self {
        Self(pairs.map(|(name, value)| (name, Raw::Text(value))).collect())
    }

    pub(crate) fn member(&self, name: &str) -> Member {
        match self.raw(name) {
            None => Member::Absent,
            Some(Raw::Text(text)) if text.is_empty() => Member::Absent,
            Some(Raw::Text(text)) => Member::Text(text.clone()),
            Some(Raw::Bare(text)) if text == "null" => Member::Absent,
            Some(Raw::Bare(_) | Raw::Nested) => Member::Other,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.member(name) {
            Member::Text(text) => Some(text),
            Member::Absent | Member::Other => None,
        }
    }

    /// The text of a member. A whole number counts as text.
    pub(super) fn text_or_number(&self, name: &str) -> Option<String> {
        match self.raw(name)? {
            Raw::Bare(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.clone()),
            _ => self.text(name),
        }
    }

    /// `expires_in`: a number, or a number in a string. `None`: missing, not positive, or not a number.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        let (Raw::Text(text) | Raw::Bare(text)) = self.raw("expires_in")? else { return None };
        let text = text.trim();
        // Rust also parses `inf` and `nan`, which are not JSON numbers.
        if !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
            return None;
        }
        // A float represents every second of ten years exactly. A larger number becomes infinite and is not an error.
        let seconds = text.parse::<f64>().ok()?.floor().min(LONGEST_LIFE);
        Duration::try_from_secs_f64(seconds).ok().filter(|lifetime| !lifetime.is_zero())
    }

    /// Finds a member by its exact name, else by another spelling (`refreshToken`).
    fn raw(&self, name: &str) -> Option<&Raw> {
        self.0.get(name).or_else(|| {
            let folded = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
            let wanted = folded(name);
            self.0.iter().find(|(other, _)| folded(other) == wanted).map(|(_, raw)| raw)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_positive_number_of_at_most_ten_years() {
        let ten_years = Some(315_360_000);
        let rows = [
            ("31536000", Some(31_536_000)),
            ("31535999", Some(31_535_999)),
            ("31622400", Some(31_622_400)),
            (r#""21600""#, Some(21_600)),
            (r#"" 60 ""#, Some(60)),
            ("3600.9", Some(3600)),
            ("3.6e3", Some(3600)),
            (r#""3600.5""#, Some(3600)),
            ("315360000", ten_years),
            ("315360001", ten_years),
            ("1000000000000000000", ten_years),
            ("99999999999999999999999999999999999999999", ten_years),
            ("1e400", ten_years),
            (r#""1e400""#, ten_years),
            ("0", None),
            ("-0", None),
            ("0.5", None),
            ("-1", None),
            ("-1e400", None),
            ("null", None),
            ("true", None),
            ("[1]", None),
            ("{}", None),
            (r#""""#, None),
            (r#""soon""#, None),
            (r#""inf""#, None),
            (r#""NaN""#, None),
            (r#""1h""#, None),
        ];
        for (value, expected) in rows {
            let text = format!(r#"{{"expires_in":{value}}}"#);
            let lifetime = Document::parse(&text).unwrap().lifetime();
            assert_eq!(lifetime, expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(Document::parse("{}").unwrap().lifetime(), None);
    }

    #[test]
    fn an_object_is_read_whatever_is_wrong_beside_the_member_that_is_asked_for() {
        let deep = format!(r#"{{"x":{}{},"a":"b"}}"#, "[".repeat(5000), "]".repeat(5000));
        let rows = [
            r#"{"a":"b"}"#,
            " \r\n{\"a\":\"b\"}\n",
            r#"{"x":1e400,"a":"b"}"#,
            r#"{"x":"\ud800","a":"b"}"#,
            r#"{"x":"\q\u00","a":"b"}"#,
            "{\"x\":\"two\nlines\",\"a\":\"b\"}",
            r#"{"x":{"a":"}"},"y":[{"a":"]"}],"a":"b"}"#,
            r#"{"a":"first","a":"b"}"#,
            r#"{"a":"b",}"#,
            r#"{"a":"b",,"x":NaN}"#,
            r#"{"A":"b"}"#,
            r#"{"a":"b"} Notice: something is deprecated"#,
            &deep,
        ];
        for text in rows {
            let document = Document::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(document.text("a").as_deref(), Some("b"), "{text}");
        }
    }

    #[test]
    fn what_does_not_begin_with_a_whole_object_is_not_read() {
        for body in ["", "null", "[]", "\"a\"", "<html>", "{", r#"{"a":"b""#, r#"{"a":"b"#, r#"{"a":}"#, "x{}", "a=b"] {
            assert!(Document::parse(body).is_none(), "{body}");
        }
    }

    #[test]
    fn a_member_is_absent_a_text_or_something_else() {
        let document = Document::parse(r#"{"null":null,"empty":"","text":"x\/y","number":1,"list":["x"]}"#).unwrap();
        for name in ["missing", "null", "empty"] {
            assert!(matches!(document.member(name), Member::Absent), "{name}");
        }
        assert!(matches!(document.member("text"), Member::Text(text) if text == "x/y"));
        for name in ["number", "list"] {
            assert!(matches!(document.member(name), Member::Other), "{name}");
        }
    }
}
