//! The characters that a text stands for, once the escapes of JSON, URLs, HTML and mail are undone.

/// A character, and the bytes of the text that stand for it.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    /// Without capitals.
    pub(super) folded: char,
    c: char,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// An escape may be escaped itself (`%2541`).
const PASSES: usize = 3;

const NAMED: [(&str, char); 5] = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&apos;", '\'')];

/// The characters of the text itself, and after each pass: a secret may look like an escape.
pub(super) fn unescape(text: &str) -> Vec<Vec<Unit>> {
    let unit = |(start, c): (usize, char)| Unit::new(c, start, start + c.len_utf8());
    let mut all: Vec<Vec<Unit>> = vec![text.char_indices().map(unit).collect()];
    while let Some(last) = all.last().filter(|_| all.len() <= PASSES) {
        let next = pass(last);
        if next.len() == last.len() {
            break;
        }
        all.push(next);
    }
    all
}

fn pass(units: &[Unit]) -> Vec<Unit> {
    let mut plain = Vec::with_capacity(units.len());
    let mut rest = units;
    while let [first, ..] = rest {
        let (c, length) = escape(rest).unwrap_or((first.c, 1));
        let (escaped, behind) = rest.split_at(length.clamp(1, rest.len()));
        plain.push(Unit::new(c, first.start, escaped.last().map_or(first.end, |last| last.end)));
        rest = behind;
    }
    plain
}

/// The escape at the beginning, and its length.
fn escape(units: &[Unit]) -> Option<(char, usize)> {
    let head: String = units.iter().take(10).map(|unit| unit.c).collect();
    let hex = |prefix: &str, digits: usize, end: usize| {
        let code = head.get(prefix.len()..prefix.len() + digits)?;
        code.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
        Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, prefix.len() + digits + end))
    };
    match head.as_bytes() {
        [b'%', ..] => hex("%", 2, 0),
        // Quoted-printable. A base64 text has `=` only at its end.
        [b'=', ..] => hex("=", 2, 0),
        [b'\\', b'u', ..] => hex("\\u", 4, 0),
        [b'\\', b'x', ..] => hex("\\x", 2, 0),
        [b'\\', b'n' | b'r' | b't', ..] => Some((' ', 2)),
        [b'\\', ..] => head.chars().nth(1).map(|c| (c, 2)),
        [b'&', b'#', b'x' | b'X', ..] => hex("&#x", head.find(';')?.checked_sub(3)?, 1),
        [b'&', b'#', ..] => {
            let end = head.find(';')?;
            Some((char::from_u32(head.get(2..end)?.parse().ok()?)?, end + 1))
        }
        [b'&', ..] => NAMED.into_iter().find(|(name, _)| head.starts_with(name)).map(|(name, c)| (c, name.len())),
        _ => None,
    }
}

// === impl Unit ===

impl Unit {
    fn new(c: char, start: usize, end: usize) -> Self {
        Self { folded: c.to_ascii_lowercase(), c, start, end }
    }
}
