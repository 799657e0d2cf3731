//! Detects `_method` in the query, with which Laravel, Symfony and others turn a POST into another method.

/// Whether a server could find a parameter `_method` in the query.
///
/// PHP decodes a name, skips spaces before it, reads `.` and spaces as `_`, and cuts the name at `[` and at NUL. `&` separates
/// parameters, and `;` may be configured as a separator too.
pub(super) fn is_in(query: &str) -> bool {
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        let once = decode(name.as_bytes());
        is_method(&once) || is_method(&decode(&once))
    })
}

fn is_method(name: &[u8]) -> bool {
    let name = name.trim_ascii_start();
    let name = name.split(|byte| matches!(byte, b'[' | 0)).next().unwrap_or_default();
    let known = |byte: u8| if matches!(byte, b'.' | b' ') { b'_' } else { byte.to_ascii_lowercase() };
    name.iter().copied().map(known).eq(*b"_method")
}

/// `+` is a space. Bytes that are no valid encoding stay unchanged.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.split_at_checked(2).filter(|_| *first == b'%').and_then(|(digits, behind)| {
            let [high, low] = [*digits.first()?, *digits.last()?].map(|digit| char::from(digit).to_digit(16));
            Some((u8::try_from(high? * 16 + low?).ok()?, behind))
        });
        let (byte, behind) = escaped.unwrap_or((if *first == b'+' { b' ' } else { *first }, behind));
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::is_in;

    #[test]
    fn every_spelling_that_php_reads_as_the_parameter() {
        for query in [
            "_method=DELETE",
            "_method",
            "a=b&_method=DELETE",
            "a=b;_method=DELETE",
            "a&&_method=PUT&c",
            "%5fmethod=DELETE",
            "%5Fmethod=DELETE",
            "_%6dethod=DELETE",
            "%5f%6d%65%74%68%6f%64=DELETE",
            "_method[]=DELETE",
            "_method[0]=DELETE",
            "_method%5b%5d=DELETE",
            "_method%5B=DELETE",
            "_method[=DELETE",
            "+_method=DELETE",
            "%20_method=DELETE",
            "++%20_method=DELETE",
            "%09_method=DELETE",
            ".method=DELETE",
            "%2emethod=DELETE",
            "+.method=DELETE",
            "_method%00=DELETE",
            "_method%00x=DELETE",
            "_METHOD=DELETE",
            "%255fmethod=DELETE",
        ] {
            assert!(is_in(query), "{query}");
        }
    }

    #[test]
    fn another_parameter_is_another() {
        for query in [
            "",
            "a",
            "method=DELETE",
            "+method=DELETE",
            "__method=DELETE",
            "_methods=x",
            "_metho=x",
            "a_method=DELETE",
            "a=_method",
            "a=b%26_method=DELETE",
            "a[_method]=DELETE",
            "_method_=x",
            "_method.x=y",
            "%5",
            "%zz=_method",
        ] {
            assert!(!is_in(query), "{query}");
        }
    }
}
