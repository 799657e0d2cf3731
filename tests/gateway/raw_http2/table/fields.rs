//! Fields and lengths (RFC 9113 §8.1.1, §8.2).

use super::Verdict::{Answer, GoAway, Reset};
use super::{POST, PROTOCOL_ERROR, Row, get, head, post, raw, row, whole};
use testkit::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

pub const ROWS: &[Row] = &[
    row("name-in-upper-case", "RFC 9113 §8.2.1", || get(&[("X-Upper", "b")]), GoAway(PROTOCOL_ERROR), &[]),
    row("name-empty", "RFC 9113 §8.2.1", || get(&[("", "b")]), GoAway(PROTOCOL_ERROR), &[]),
    row("name-with-a-blank", "RFC 9113 §8.2.1", || get(&[("x a", "b")]), GoAway(PROTOCOL_ERROR), &[]),
    row("name-with-a-colon", "RFC 9113 §8.2.1", || get(&[("x:a", "b")]), GoAway(PROTOCOL_ERROR), &[]),
    row(
        "name-with-a-line-break",
        "RFC 9113 §10.3",
        || get(&[("x\r\ntransfer-encoding", "chunked")]),
        GoAway(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "value-with-a-line-break",
        "RFC 9113 §10.3",
        || get(&[("x-a", "b\r\ntransfer-encoding: chunked")]),
        GoAway(PROTOCOL_ERROR),
        &[],
    ),
    row("value-with-a-line-feed", "RFC 9113 §8.2.1", || get(&[("x-a", "b\nc: d")]), GoAway(PROTOCOL_ERROR), &[]),
    row("value-with-a-carriage-return", "RFC 9113 §8.2.1", || get(&[("x-a", "b\rc")]), GoAway(PROTOCOL_ERROR), &[]),
    row("value-with-nul", "RFC 9113 §8.2.1", || get(&[("x-a", "b\0c")]), GoAway(PROTOCOL_ERROR), &[]),
    row("value-that-begins-with-a-blank", "RFC 9113 §8.2.1", || get(&[("x-a", " b")]), Answer(400), &[]),
    row("value-that-ends-with-a-blank", "RFC 9113 §8.2.1", || get(&[("x-a", "b ")]), Answer(400), &[]),
    row("value-that-begins-with-a-tab", "RFC 9113 §8.2.1", || get(&[("x-a", "\tb")]), Answer(400), &[]),
    row("value-that-ends-with-a-tab", "RFC 9113 §8.2.1", || get(&[("x-a", "b\t")]), Answer(400), &[]),
    row("value-with-blanks-within", "RFC 9113 §8.2.1", || get(&[("x-a", "b \tc")]), Answer(200), &["GET /"]),
    row(
        "trailer-that-ends-with-a-blank",
        "RFC 9113 §8.2.1",
        || {
            let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("x-sum", "1 ")]));
            [head(0, POST), raw(DATA, 0, 1, b"abc"), trailers.to_vec()].concat()
        },
        Answer(400),
        &[],
    ),
    row("connection", "RFC 9113 §8.2.2", || get(&[("connection", "close")]), Reset(PROTOCOL_ERROR), &[]),
    row("keep-alive", "RFC 9113 §8.2.2", || get(&[("keep-alive", "timeout=5")]), Reset(PROTOCOL_ERROR), &[]),
    row(
        "proxy-connection",
        "RFC 9113 §8.2.2",
        || get(&[("proxy-connection", "keep-alive")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row("upgrade", "RFC 9113 §8.2.2", || get(&[("upgrade", "websocket")]), Reset(PROTOCOL_ERROR), &[]),
    row(
        "transfer-encoding",
        "RFC 9113 §8.2.2",
        || post(&[("transfer-encoding", "chunked")], "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row("te-of-another-kind", "RFC 9113 §8.2.2", || get(&[("te", "gzip")]), Reset(PROTOCOL_ERROR), &[]),
    // Lengths.
    row(
        "content-length-over-the-body",
        "RFC 9113 §8.1.1",
        || post(&[("content-length", "5")], "abc"),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "content-length-under-the-body",
        "RFC 9113 §8.1.1",
        || post(&[("content-length", "0")], "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "content-length-without-a-body",
        "RFC 9113 §8.1.1",
        || whole(&[POST, &[("content-length", "5")]].concat()),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "content-length-twice",
        "RFC 9110 §8.6",
        || post(&[("content-length", "3"), ("content-length", "3")], "abc"),
        Answer(400),
        &[],
    ),
    row(
        "content-length-that-differs",
        "RFC 9110 §8.6",
        || post(&[("content-length", "3"), ("content-length", "30")], "abc"),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "content-length-as-a-list",
        "RFC 9110 §8.6",
        || post(&[("content-length", "3, 3")], "abc"),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "content-length-signed",
        "RFC 9110 §8.6",
        || post(&[("content-length", "+3")], "abc"),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row("content-length-empty", "RFC 9110 §8.6", || post(&[("content-length", "")], "abc"), Reset(PROTOCOL_ERROR), &[]),
];
