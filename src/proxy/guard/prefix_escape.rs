//! Detects paths that could leave the path of `upstream.url`, to which they are appended.
//!
//! The proxy forwards the path unchanged. The servers behind it decide whether `/api/v2/../admin` means `/api/admin`, and they differ:
//! some decode first, some decode twice, some read `\` as `/`, some remove parameters. A path is refused if it has a dot segment in
//! any of these readings.

use std::borrow::Cow;

/// Characters that end the name of a segment for some servers: a parameter, an encoded query or fragment, a C string.
const ENDS: &[u8] = b";?#\0";

/// A path that is encoded more often than this is refused.
const MAX_DECODINGS: usize = 8;

/// Characters that servers convert to `.`, `/` or `\`: overlong UTF-8, and characters that are equal under Unicode compatibility
/// (NFKC) or Windows "best fit".
const LOOKALIKES: &[(&[u8], &[u8])] = &[
    (b"\xc0\xae", b"."),
    (b"\xe0\x80\xae", b"."),
    (b"\xf0\x80\x80\xae", b"."),
    (b"\xc0\xaf", b"/"),
    (b"\xe0\x80\xaf", b"/"),
    (b"\xf0\x80\x80\xaf", b"/"),
    (b"\xc1\x9c", b"/"),
    ("\u{2024}".as_bytes(), b"."),
    ("\u{2025}".as_bytes(), b".."),
    ("\u{fe52}".as_bytes(), b"."),
    ("\u{ff0e}".as_bytes(), b"."),
    ("\u{2044}".as_bytes(), b"/"),
    ("\u{2215}".as_bytes(), b"/"),
    ("\u{ff0f}".as_bytes(), b"/"),
    ("\u{fe68}".as_bytes(), b"/"),
    ("\u{ff3c}".as_bytes(), b"/"),
];

/// Whether a server could read a dot segment in the path.
pub(in crate::proxy) fn has_dot_segment(path: &str) -> bool {
    let mut reading = Cow::Borrowed(path.as_bytes());
    for _ in 0..MAX_DECODINGS {
        if reading.split(|byte| matches!(byte, b'/' | b'\\')).any(is_dots) {
            return true;
        }
        match decode(&reading) {
            Some(next) => reading = Cow::Owned(next),
            None => return false,
        }
    }
    true
}

/// Whether it is `.` or `..` for a server that ignores spaces and control characters.
fn is_dots(segment: &[u8]) -> bool {
    let name = segment.split(|byte| ENDS.contains(byte)).next().unwrap_or_default();
    let mut dots = 0;
    for byte in name {
        match byte {
            b'.' => dots += 1,
            byte if *byte <= b' ' || *byte == 0x7f => {}
            _ => return false,
        }
    }
    matches!(dots, 1 | 2)
}

/// Decodes once. Bytes that are no valid encoding stay unchanged. Returns `None` if there is nothing to decode.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.iter().all(|byte| byte.is_ascii() && *byte != b'%') {
        return None;
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some((first, behind)) = rest.split_first() {
        let found = match first {
            b'%' => escaped(behind),
            byte if byte.is_ascii() => None,
            _ => LOOKALIKES
                .iter()
                .find(|(bytes, _)| rest.starts_with(bytes))
                .map(|(bytes, like)| (Cow::Borrowed(*like), rest.get(bytes.len()..).unwrap_or_default())),
        };
        rest = match found {
            Some((bytes, behind)) => {
                changed = true;
                decoded.extend_from_slice(&bytes);
                behind
            }
            None => {
                decoded.push(*first);
                behind
            }
        };
    }
    changed.then_some(decoded)
}

/// Decodes what follows a `%`: two digits, or `u` and four digits (IIS). Returns the bytes and the rest.
fn escaped(text: &[u8]) -> Option<(Cow<'static, [u8]>, &[u8])> {
    let number =
        |digits: &[u8]| digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?));
    let (bytes, behind) = match text.split_first() {
        Some((b'u' | b'U', text)) => {
            let (digits, behind) = text.split_at_checked(4)?;
            let character = char::from_u32(number(digits)?)?;
            (character.to_string().into_bytes(), behind)
        }
        _ => {
            let (digits, behind) = text.split_at_checked(2)?;
            (vec![u8::try_from(number(digits)?).ok()?], behind)
        }
    };
    Some((Cow::Owned(bytes), behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::has_dot_segment;

    #[test]
    fn no_spelling_of_a_dot_segment_passes() {
        for path in [
            "/..",
            "/.",
            "/../",
            "/a/../b",
            "/a/./b",
            "/../../admin/users",
            "/%2e%2e/admin",
            "/%2E%2E/admin",
            "/.%2e/admin",
            "/%2e./admin",
            "/%2e",
            "/..;/admin",
            "/..;a=b/admin",
            "/..%3b/admin",
            "/.;/admin",
            "/%2e%2e;x/admin",
            "/..\\admin",
            "/a\\..\\..\\admin",
            "/\\../admin",
            "/..%5cadmin",
            "/..%5Cadmin",
            "/a%5c..%5cadmin",
            "/..%2fadmin",
            "/a%2f..%2Fadmin",
            "/a%2f..",
            "/%2e%2e%2fadmin",
            "/%252e%252e/admin",
            "/%252e%252e%252fadmin",
            "/..%252fadmin",
            "/..%255cadmin",
            "/..%253b/admin",
            "/%25252e%25252e/admin",
            "/%25%32%65%25%32%65/admin",
            "/%2%65%2%65/admin",
            "/..%00/admin",
            "/..%00x/admin",
            "/..%20/admin",
            "/%20../admin",
            "/..%09/admin",
            "/.%0d%0a./admin",
            "/..%3f/admin",
            "/..%23/admin",
            "/%u002e%u002e/admin",
            "/%u002e%u002e%u2215admin",
            "/%uff0e%uff0e/admin",
            "/%c0%ae%c0%ae/admin",
            "/%c0%ae./admin",
            "/..%c0%afadmin",
            "/%e0%80%ae%e0%80%ae/admin",
            "/..%c1%9cadmin",
            "/%ef%bc%8e%ef%bc%8e/admin",
            "/..%ef%bc%8fadmin",
            "/..%ef%bc%bcadmin",
            "/%e2%80%a5/admin",
            "/\u{ff0e}\u{ff0e}/admin",
            "/\u{2025}/admin",
            "/%25c0%25ae%25c0%25ae/admin",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        assert!(has_dot_segment(&format!("/%{}2e", "25".repeat(20))), "too deep to be told");
    }

    #[test]
    fn what_only_holds_dots_passes() {
        for path in [
            "/",
            "/a",
            "//",
            "//a//b",
            "/...",
            "/.well-known/x",
            "/..a/b",
            "/a..",
            "/a../b",
            "/a.b/c..d",
            "/file.tar.gz",
            "/a;b=../c",
            "/a;v=.",
            "/v1.2/a%20b",
            "/a%2Fb%2fc",
            "/a%5cb",
            "/a\\b",
            "/100%",
            "/%zz",
            "/%2",
            "/a%2eb",
            "/%2ewell-known",
            "/%252e%252ea",
            "/\u{e4}%C3%A4",
            "/%ff%fe",
            "/%u00e4",
            "/a?",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    /// A spelling of the text, with each character encoded up to three times.
    fn spelt(text: &'static str) -> impl Strategy<Value = String> {
        let one = |byte: u8| {
            (0..4usize, any::<bool>()).prop_map(move |(depth, upper)| {
                let mut spelling = char::from(byte).to_string();
                for level in 0..depth {
                    let hex = if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
                    spelling = if level == 0 { format!("%{hex}") } else { spelling.replacen('%', "%25", 1) };
                }
                spelling
            })
        };
        text.bytes().map(one).collect::<Vec<_>>().prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn however_it_is_encoded(
            (before, dots, end) in (
                prop::sample::select(vec!["/", "/a/", "\\", "/b\\", "//"]),
                prop::sample::select(vec![".", ".."]),
                prop::sample::select(vec!["", "/", "\\", ";", ";x=y/", "/x"]),
            ).prop_flat_map(|(before, dots, end)| (spelt(before), spelt(dots), spelt(end)))
        ) {
            let path = format!("/{before}{dots}{end}");
            prop_assert!(has_dot_segment(&path), "{}", path);
        }

        #[test]
        fn a_path_of_plain_names_passes(path in "(/[a-z0-9_-]{1,8}(\\.[a-z]{1,3})?){1,5}") {
            prop_assert!(!has_dot_segment(&path));
        }

        #[test]
        fn any_text_gets_a_verdict(path in any::<String>()) {
            has_dot_segment(&path);
        }
    }
}
