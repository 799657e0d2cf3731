//! A 2xx response whose HTTP is malformed: its body may still have the only live successor.
//!
//! hyper is strict, as a parser of HTTP should be. It discards a response with an invalid header field, with more than 100 fields,
//! with wrong chunk sizes, or with `Transfer-Encoding: chunked` and a body that a middlebox has already joined. If `Content-Length`
//! is too small, it cuts the body there. The connection carries only one response, so all bytes belong to it.

use std::borrow::Cow;

use http::StatusCode;
use memchr::memmem;

use super::super::decode::MAX_BODY;

/// The response to the request, with its body read in each way that makes sense. Empty: the status is not 2xx.
pub(super) fn responses(received: &[u8]) -> Vec<(StatusCode, Cow<'_, [u8]>)> {
    let Some((status, head, body)) = final_response(received) else { return Vec::new() };
    let body = &body[..body.len().min(MAX_BODY)];
    let chunked = head.to_ascii_lowercase().windows(7).any(|word| word == b"chunked");
    let joined = if chunked { Some((status, Cow::Owned(without_chunks(body)))) } else { None };
    joined.into_iter().chain([(status, Cow::Borrowed(body))]).collect()
}

/// The response after the interim ones (1xx).
fn final_response(received: &[u8]) -> Option<(StatusCode, &[u8], &[u8])> {
    let mut rest = received;
    loop {
        // Other text, such as a PHP notice, may precede the status line.
        rest = rest.get(memmem::find(rest, b"HTTP/1.")?..)?;
        let status = StatusCode::from_bytes(rest.get(9..12)?).ok()?;
        let ends = [&b"\r\n\r\n"[..], b"\n\n"].map(|end| memmem::find(rest, end).map(|at| (at, at + end.len())));
        // If the head has no end, the body may be in it.
        let (end, begin) = ends.into_iter().flatten().min().unwrap_or((0, 12));
        let (head, body) = (rest.get(..end)?, rest.get(begin..)?);
        if !status.is_informational() {
            return status.is_success().then_some((status, head, body));
        }
        rest = body;
    }
}

/// The data of all chunks. From the first malformed chunk on, the bytes stay unchanged.
fn without_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(body.len());
    while let Some(line) = memmem::find(body, b"\n") {
        let size = body[..line].split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let data = &body[line + 1..];
        match size {
            Some(0) => return joined,
            Some(size) if size < data.len() => {
                joined.extend_from_slice(&data[..size]);
                let rest = &data[size..];
                body = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).unwrap_or(rest);
            }
            // The last chunk is cut off, or its size is too large.
            Some(_) => {
                body = data;
                break;
            }
            None => break,
        }
    }
    joined.extend_from_slice(body);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_malformed_success_is_found() {
        let rows: [(&str, &[&str]); 10] = [
            ("HTTP/1.1 200 OK\r\nBad Field\x01: x\r\n\r\n{}", &["{}"]),
            ("HTTP/1.0 200\n\n{}", &["{}"]),
            ("Notice: x\nHTTP/1.1 200 OK\r\n\r\n{}", &["{}"]),
            ("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 201 Created\r\n\r\n{}", &["{}"]),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
                &["{}", "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"],
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", &["{}", "{}"]),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}", &["{}", "ff\r\n{}"]),
            ("HTTP/1.1 400 Bad Request\r\n\r\n{}", &[]),
            ("HTTP/1.1 2", &[]),
            ("{}", &[]),
        ];
        for (received, expected) in rows {
            let found = responses(received.as_bytes());
            let bodies: Vec<_> = found.iter().map(|(_, body)| str::from_utf8(body).unwrap()).collect();
            assert_eq!(bodies, expected, "{received:?}");
        }
    }
}
