use http::uri::PathAndQuery;
use proptest::prelude::*;

use super::*;

/// The refusal, which must be the same for every division of the bytes into reads.
fn refused(text: &str) -> Option<(u64, Ambiguity)> {
    let whole = Scanner::default().see(&mut text.as_bytes().to_vec());
    for size in 1..text.len() {
        let mut scanner = Scanner::default();
        let mut found = None;
        for piece in text.as_bytes().chunks(size) {
            found = found.or(scanner.see(&mut piece.to_vec()));
        }
        assert_eq!(found, whole, "by {size} bytes: {text:?}");
    }
    whole
}

#[test]
fn a_head_that_can_be_read_in_two_ways_is_found() {
    use Ambiguity::{Fragment, LengthAndCoding, Lengths};
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", None),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", Some(LengthAndCoding)),
        ("POST / HTTP/1.1\r\nTRANSFER-encoding:chunked\r\ncontent-LENGTH:3\r\n\r\n", Some(LengthAndCoding)),
        ("POST / HTTP/1.1\nTransfer-Encoding: chunked\nX: y\nContent-Length: x\n\n", Some(LengthAndCoding)),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", Some(Lengths)),
        ("GET /a#b HTTP/1.1\r\n\r\n", Some(Fragment)),
        ("#GET# /a HTTP/1.1\r\n\r\n", None),
        ("GET /a HTTP/1.1\r\nX: #\r\n\r\n", None),
        ("GET / HTTP/1.1\r\nX-Content-Length: 3\r\nContent-Lengthy: 3\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    ] {
        assert_eq!(refused(head), expected.map(|ambiguity| (1, ambiguity)), "{head:?}");
    }
}

#[test]
fn what_hyper_would_not_take_in_a_target_is_replaced_and_found() {
    for (line, expected) in [
        (&b"GET /a<b>?c<d> HTTP/1.1"[..], Some(&b"GET /a?b??c?d? HTTP/1.1"[..])),
        (b"GET /a`b?c`d HTTP/1.1", Some(b"GET /a?b?c`d HTTP/1.1")),
        (b"GET /a<b\"c`d HTTP/1.1", Some(b"GET /a?b?c`d HTTP/1.1")),
        (b"GET /\x80\"a HTTP/1.1", Some(b"GET /??a HTTP/1.1")),
        (b"GET /?a=`b` HTTP/1.1", None),
        (b"GET /a\"b?c=\"d\" HTTP/1.1", Some(b"GET /a\"b?c=?d? HTTP/1.1")),
        (b"GET /{\"a\":1} HTTP/1.1", None),
        (b"GET /caf\xc3\xa9?\xe2\x82\xac HTTP/1.1", None),
        (b"GET /caf\xe9/a HTTP/1.1", Some(b"GET /caf?/a HTTP/1.1")),
        (b"GET /caf\xe9 HTTP/1.1", Some(b"GET /caf? HTTP/1.1")),
        (b"GET /\xf0\x9f\x98\x80 HTTP/1.1", None),
        (b"GET /\xe2\x82 HTTP/1.1", Some(b"GET /?? HTTP/1.1")),
        (b"GET /?\xff\xfe HTTP/1.1", Some(b"GET /??? HTTP/1.1")),
        (b"GE`T / HTTP/1.1", None),
        (b"GET / HTTP/1.1<", None),
    ] {
        let shown = line.escape_ascii();
        for size in 1..=line.len() + 4 {
            let mut bytes = [line, b"\r\n\r\n"].concat();
            let (mut scanner, mut found) = (Scanner::default(), None);
            for piece in bytes.chunks_mut(size) {
                found = found.or(scanner.see(piece));
            }
            assert_eq!(found, expected.map(|_| (1, Ambiguity::Target)), "by {size}: {shown}");
            // The first bytes of a torn character were passed on before the scanner knew that it is invalid.
            if size >= line.len() || line.is_ascii() {
                let seen = bytes.strip_suffix(b"\r\n\r\n").unwrap();
                assert_eq!(seen.escape_ascii().to_string(), expected.unwrap_or(line).escape_ascii().to_string());
            }
        }
    }
}

#[test]
fn a_body_is_received_from_its_head_to_its_end() {
    for (text, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", None),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", Some(1)),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", Some(1)),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", None),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST /", None),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", None),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Some(1)),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", Some(1)),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", None),
        ("GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", Some(2)),
    ] {
        let mut scanner = Scanner::default();
        scanner.see(&mut text.as_bytes().to_vec());
        assert_eq!(scanner.receiving(), expected, "{text:?}");
    }
}

#[test]
fn it_is_found_behind_any_message_and_within_none() {
    let bad = "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n";
    for before in [
        "",
        "GET / HTTP/1.1\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nX: {}\r\n\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{}",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size};x=y\r\n{}\r\n1\r\nx\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\nContent-Length: 3\r\n\r\n",
    ] {
        // Within a body, it is only text.
        let before = before
            .replace("{length}", &bad.len().to_string())
            .replace("{size}", &format!("{:x}", bad.len()))
            .replace("{}", if before.contains("X: {}") { "y" } else { bad });
        assert_eq!(refused(&before), None, "{before:?}");
        let number = if before.is_empty() { 1 } else { 2 };
        assert_eq!(refused(&format!("{before}{bad}")), Some((number, Ambiguity::LengthAndCoding)), "{before:?}");
    }
}

#[test]
fn what_hyper_refuses_is_not_followed() {
    let bad = "POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n";
    for before in [
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ] {
        assert_eq!(refused(&format!("{before}{bad}")), None, "{before:?}");
    }
}

proptest! {
    /// For every target that begins with a slash and that httparse accepts.
    #[test]
    fn what_is_left_of_a_target_is_taken_and_what_would_not_have_been_is_refused(
        bytes in prop::collection::vec(
            prop_oneof![
                2 => prop::sample::select(b"<>`\"#?{}|^\\".to_vec()),
                2 => 0x21..0x7fu8,
                1 => 0x80..=0xffu8,
            ],
            0..20,
        ),
        size in 1..40usize,
    ) {
        let target = [b"/", &bytes[..]].concat();
        let mut line = [b"GET ", &target[..], b" HTTP/1.1\r\n\r\n"].concat();
        let (mut scanner, mut found) = (Scanner::default(), None);
        for piece in line.chunks_mut(size) {
            found = found.or(scanner.see(piece));
        }
        let is_taken = PathAndQuery::try_from(&target[..]).is_ok() && !target.contains(&b'#');
        // The first bytes of a torn character may be passed on before the scanner knows that it is invalid.
        if size >= line.len() || target.is_ascii() {
            prop_assert_eq!(found.is_none(), is_taken, "{}", target.escape_ascii());
            let seen = &line[4..4 + target.len()];
            prop_assert!(PathAndQuery::try_from(seen).is_ok(), "{}", seen.escape_ascii());
        } else if is_taken {
            prop_assert_eq!(found, None, "{}", target.escape_ascii());
        }
    }
}
