//! What is right passes.

use super::Verdict::Answer;
use super::{GET, POST, Row, get, head, post, raw, row, whole};
use testkit::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PRIORITIZED, SETTINGS, block, frame,
};

pub const ROWS: &[Row] = &[
    row("plain", "RFC 9113 §8.3.1", || get(&[]), Answer(200), &["GET /"]),
    row("body", "RFC 9113 §8.1", || post(&[("content-length", "3")], "abc"), Answer(200), &["POST / abc"]),
    row("body-without-length", "RFC 9113 §8.1", || post(&[], "abc"), Answer(200), &["POST / abc"]),
    row(
        "padding",
        "RFC 9113 §6.1",
        || [head(0, POST), raw(DATA, PADDED | END_STREAM, 1, b"\x04abc\0\0\0\0")].concat(),
        Answer(200),
        &["POST / abc"],
    ),
    row(
        "padded-head",
        "RFC 9113 §6.2",
        || raw(HEADERS, PADDED | END_STREAM | END_HEADERS, 1, &[&[2][..], &block(GET), &[0, 0]].concat()),
        Answer(200),
        &["GET /"],
    ),
    row(
        "priority",
        "RFC 9113 §5.3",
        || raw(HEADERS, PRIORITIZED | END_STREAM | END_HEADERS, 1, &[&[0, 0, 0, 0, 15][..], &block(GET)].concat()),
        Answer(200),
        &["GET /"],
    ),
    row(
        "trailers",
        "RFC 9113 §8.1",
        || {
            let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("x-sum", "1")]));
            [head(0, POST), raw(DATA, 0, 1, b"abc"), trailers.to_vec()].concat()
        },
        Answer(200),
        &["POST / abc"],
    ),
    row(
        "head-in-pieces",
        "RFC 9113 §6.10",
        || {
            let block = block(GET);
            let (first, rest) = block.split_at(7);
            let (second, third) = rest.split_at(1);
            [
                raw(HEADERS, END_STREAM, 1, first),
                raw(CONTINUATION, 0, 1, second),
                raw(CONTINUATION, END_HEADERS, 1, third),
            ]
            .concat()
        },
        Answer(200),
        &["GET /"],
    ),
    row("unknown-frame", "RFC 9113 §4.1", || [raw(0xee, 0xff, 1, b"x"), get(&[])].concat(), Answer(200), &["GET /"]),
    row(
        "unknown-setting",
        "RFC 9113 §6.5.2",
        || [raw(SETTINGS, 0, 0, &[0xff, 0xff, 1, 2, 3, 4]), get(&[])].concat(),
        Answer(200),
        &["GET /"],
    ),
    row("te-trailers", "RFC 9113 §8.2.2", || get(&[("te", "trailers")]), Answer(200), &["GET /"]),
    row(
        "host-for-authority",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "localhost")]),
        Answer(200),
        &["GET /"],
    ),
    row("host-that-agrees", "RFC 9113 §8.3.1", || get(&[("host", "localhost")]), Answer(200), &["GET /"]),
    row(
        "https-behind-a-terminator",
        "RFC 9113 §8.3.1",
        || whole(&[(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "localhost")]),
        Answer(200),
        &["GET /"],
    ),
    row(
        "empty-data",
        "RFC 9113 §6.1",
        || [head(0, POST), raw(DATA, END_STREAM, 1, b"")].concat(),
        Answer(200),
        &["POST /"],
    ),
];
