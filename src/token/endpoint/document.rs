//! The JSON object in a token endpoint's answer (RFC 6749 §5.1, §5.2), read as far as it makes sense.
//!
//! Strictness has a price here: a refresh token is spent when its answer is written, so an answer that is thrown away
//! for a flaw in a member that nobody needs is a lost grant. Hence each member is read by itself. Flaws outside the
//! members that are asked for do no harm: numbers out of range, any depth of nesting, wrong types, bytes that are not
//! UTF-8, text after the object, or a byte order mark before it. Of two members with one name the last counts, as in
//! most parsers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The members of the object, not yet read.
pub(crate) struct Document<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

/// A member that should be a string.
pub(crate) enum Member {
    /// Not there, `null`, or empty.
    Absent,
    Text(String),
    /// Not a string.
    Other,
}

/// No token is believed to live longer.
const LONGEST_LIFE: f64 = 10.0 * 365.0 * 24.0 * 60.0 * 60.0;

/// The text of an answer's body.
pub(super) fn text(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body))
}

// === impl Document ===

impl<'a> Document<'a> {
    /// `None`: the text does not begin with a complete JSON object.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        // The end of the text is not asked for: the object ends itself, and a notice that PHP writes after it takes
        // nothing away.
        HashMap::deserialize(&mut serde_json::Deserializer::from_str(text)).ok().map(Self)
    }

    pub(crate) fn member(&self, name: &str) -> Member {
        let Some(raw) = self.0.get(name) else { return Member::Absent };
        match serde_json::from_str::<Option<String>>(raw.get()) {
            Ok(None) => Member::Absent,
            Ok(Some(text)) if text.is_empty() => Member::Absent,
            Ok(Some(text)) => Member::Text(text),
            Err(_) => Member::Other,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.member(name) {
            Member::Text(text) => Some(text),
            Member::Absent | Member::Other => None,
        }
    }

    /// `expires_in`, a number or a number in a string. `None`: not there, not positive, or not a number.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        let text = match self.text("expires_in") {
            Some(text) => text,
            None => self.0.get("expires_in")?.get().to_owned(),
        };
        let text = text.trim();
        // Rust reads `inf` and `nan` too, which are no numbers of JSON.
        if !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
            return None;
        }
        // As a float: every second of ten years is exact in it, and what is too large for it is infinite, not an error.
        let seconds = text.parse::<f64>().ok()?.floor().min(LONGEST_LIFE);
        Duration::try_from_secs_f64(seconds).ok().filter(|lifetime| !lifetime.is_zero())
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
        let rows: [&[u8]; 9] = [
            br#"{"a":"b"}"#,
            b"\xef\xbb\xbf{\"a\":\"b\"}",
            b" \r\n{\"a\":\"b\"}\n",
            br#"{"x":1e400,"a":"b"}"#,
            br#"{"x":"\ud800","a":"b"}"#,
            b"{\"x\":\"\xff\",\"a\":\"b\"}",
            br#"{"a":"first","a":"b"}"#,
            br#"{"a":"b"} Notice: something is deprecated"#,
            deep.as_bytes(),
        ];
        for body in rows {
            let text = text(body);
            let document = Document::parse(&text).unwrap_or_else(|| panic!("{text}"));
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
