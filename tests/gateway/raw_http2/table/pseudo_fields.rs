//! Pseudo-fields (RFC 9113 §8.3).

use super::Verdict::{Answer, GoAway, Reset};
use super::{POST, PROTOCOL_ERROR, Row, get, head, raw, row, whole};
use testkit::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

pub const ROWS: &[Row] = &[
    row(
        "no-method",
        "RFC 9113 §8.3.1",
        || whole(&[(":scheme", "http"), (":path", "/"), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "no-path",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "no-scheme",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":path", "/"), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "neither-authority-nor-host",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
        Answer(400),
        &[],
    ),
    row("method-twice", "RFC 9113 §8.3.1", || get(&[(":method", "GET")]), Reset(PROTOCOL_ERROR), &[]),
    row(
        "path-twice",
        "RFC 9113 §8.3.1",
        || {
            whole(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":path", "/evil"),
                (":authority", "localhost"),
            ])
        },
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row("authority-twice", "RFC 9113 §8.3.1", || get(&[(":authority", "evil.example")]), Reset(PROTOCOL_ERROR), &[]),
    row("unknown-pseudo-field", "RFC 9113 §8.3", || get(&[(":evil", "x")]), GoAway(PROTOCOL_ERROR), &[]),
    row("status-in-a-request", "RFC 9113 §8.3", || get(&[(":status", "200")]), Reset(PROTOCOL_ERROR), &[]),
    row(
        "pseudo-field-behind-a-field",
        "RFC 9113 §8.3",
        || whole(&[(":method", "GET"), (":scheme", "http"), ("x-a", "b"), (":path", "/"), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    // Malformed by the letter; h2 drops it, and it goes no further.
    row(
        "pseudo-field-in-trailers",
        "RFC 9113 §8.3",
        || {
            let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[(":path", "/evil")]));
            [head(0, POST), raw(DATA, 0, 1, b"abc"), trailers.to_vec()].concat()
        },
        Answer(200),
        &["POST / abc"],
    ),
    row(
        "trailers-without-end",
        "RFC 9113 §8.1",
        || {
            let trailers = frame(HEADERS, END_HEADERS, 1, &block(&[("x-sum", "1")]));
            [head(0, POST), raw(DATA, 0, 1, b"abc"), trailers.to_vec()].concat()
        },
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "path-empty",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "path-without-slash",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "evil"), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "path-that-begins-with-a-query",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "?x"), (":authority", "localhost")]),
        Answer(400),
        &[],
    ),
    // Malformed by the letter; h2 cuts it off, and it goes no further.
    row(
        "path-with-a-fragment",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/a#b"), (":authority", "localhost")]),
        Answer(200),
        &["GET /a"],
    ),
    row(
        "path-asterisk",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "localhost")]),
        Answer(400),
        &[],
    ),
    row(
        "path-with-a-request-within",
        "RFC 9113 §10.3",
        || {
            whole(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/ HTTP/1.1\r\nHost: evil.example\r\n\r\nGET /smuggled"),
                (":authority", "localhost"),
            ])
        },
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "path-with-a-blank",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/a b"), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "path-with-nul",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/a\0b"), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "method-with-a-request-within",
        "RFC 9113 §10.3",
        || {
            whole(&[
                (":method", "GET /smuggled HTTP/1.1\r\nX: y"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "localhost"),
            ])
        },
        GoAway(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "method-empty",
        "RFC 9110 §9.1",
        || whole(&[(":method", ""), (":scheme", "http"), (":path", "/"), (":authority", "localhost")]),
        GoAway(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "scheme-of-another-kind",
        "RFC 9110 §7.4",
        || whole(&[(":method", "GET"), (":scheme", "ftp"), (":path", "/"), (":authority", "localhost")]),
        Answer(400),
        &[],
    ),
    row(
        "scheme-with-a-url-within",
        "RFC 9113 §8.3.1",
        || {
            whole(&[
                (":method", "GET"),
                (":scheme", "http://evil.example/?"),
                (":path", "/"),
                (":authority", "localhost"),
            ])
        },
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "authority-of-another",
        "RFC 9110 §7.4",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "evil.example")]),
        Answer(421),
        &[],
    ),
    row(
        "authority-with-user-information",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "me@localhost")]),
        Answer(400),
        &[],
    ),
    row(
        "authority-with-a-path",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "localhost/evil")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row("host-that-differs", "RFC 9113 §8.3.1", || get(&[("host", "evil.example")]), Answer(400), &[]),
    row("host-twice", "RFC 9112 §3.2", || get(&[("host", "localhost"), ("host", "localhost")]), Answer(400), &[]),
    row(
        "connect",
        "RFC 9113 §8.5",
        || whole(&[(":method", "CONNECT"), (":authority", "evil.example:443")]),
        Answer(501),
        &[],
    ),
    row(
        "connect-with-a-path",
        "RFC 9113 §8.5",
        || whole(&[(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")]),
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "connect-extended-and-not-offered",
        "RFC 8441 §3",
        || {
            whole(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "localhost"),
            ])
        },
        Reset(PROTOCOL_ERROR),
        &[],
    ),
    row(
        "trace",
        "RFC 9110 §9.3.8",
        || whole(&[(":method", "TRACE"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")]),
        Answer(501),
        &[],
    ),
];
