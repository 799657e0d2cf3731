//! A path that every server reads in the same way.

/// Returns the path as the upstream reads it, percent-decoded, for a comparison with `guard.allow`.
///
/// Returns `None` if servers could read the path in different ways. A server behind the gateway could resolve such a path
/// (RFC 3986 §5.2.4, and less strict rules) to another path than the one that was compared. The path is refused if it has:
///
/// - a dot segment or an empty segment; an encoded dot counts as a dot, and a `;` parameter hides neither
/// - an encoded slash, a backslash or a control character
/// - an encoded percent sign: a server that decodes twice reads another path
pub fn plain_path(path: &str) -> Option<String> {
    let decoded = decode(path)?;
    // A server that decodes twice would read another path.
    if decode(&decoded)? != decoded {
        return None;
    }
    let literal_slashes = path.bytes().filter(|byte| *byte == b'/').count();
    if decoded.bytes().filter(|byte| *byte == b'/').count() != literal_slashes {
        return None;
    }
    if decoded.bytes().any(|byte| byte == b'\\' || byte.is_ascii_control()) {
        return None;
    }
    let rest = decoded.strip_prefix('/')?;
    let count = rest.split('/').count();
    let plain = rest.split('/').enumerate().all(|(index, segment)| {
        let name = segment.split(';').next().unwrap_or_default();
        let last = index + 1 == count;
        // An empty last segment is a trailing slash; the path `/` has one too.
        (last && segment.is_empty()) || !(name.is_empty() || name == "." || name == "..")
    });
    plain.then_some(decoded)
}

/// Percent-decodes once. Returns `None` for a stray `%`, or if the result is not UTF-8.
fn decode(path: &str) -> Option<String> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_not_plain() {
        for (path, plain) in [
            ("/", true),
            ("/api/v2/countries", true),
            ("/api/v2/countries/", true),
            ("/a%20b", true),
            ("/%C3%A4", true),
            ("/a;v=1/b", true),
            ("/a/../b", false),
            ("/a/./b", false),
            ("/a/..", false),
            ("/..;/b", false),
            ("/a//b", false),
            ("//b", false),
            ("/a/%2e%2e/b", false),
            ("/a/%2E./b", false),
            ("/a%2fb", false),
            ("/a%2Fb", false),
            ("/a%5cb", false),
            ("/a\\b", false),
            ("/a%252fb", false),
            ("/a%00b", false),
            ("/a%", false),
            ("/a%zz", false),
            ("/%ff", false),
            ("a", false),
        ] {
            assert_eq!(super::plain_path(path).is_some(), plain, "{path}");
        }
    }
}
