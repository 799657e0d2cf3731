//! Too much of what is right (RFC 9113 §10.5).

use super::Verdict::{Answer, GoAway, Reset};
use super::{ENHANCE_YOUR_CALM, GET, POST, REFUSED_STREAM, Row, get, head, raw, row};
use testkit::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS, WINDOW_UPDATE, block, reset,
};

pub const ROWS: &[Row] = &[
    row(
        "head-over-the-limit",
        "RFC 9113 §10.5.1",
        || {
            let long = "y".repeat(16_000);
            let more: Vec<(&str, &str)> = vec![("x-long", &long); 5];
            let block = block(&[GET, &more].concat());
            let mut frames = Vec::new();
            for (number, piece) in block.chunks(16_000).enumerate() {
                let last = (number + 1) * 16_000 >= block.len();
                let kind = if number == 0 { HEADERS } else { CONTINUATION };
                let flags = if number == 0 { END_STREAM } else { 0 } | if last { END_HEADERS } else { 0 };
                frames.extend(raw(kind, flags, 1, piece));
            }
            frames
        },
        Answer(431),
        &[],
    ),
    row(
        "continuation-flood",
        "RFC 9113 §10.5",
        || {
            let mut frames = raw(HEADERS, END_STREAM, 1, &block(GET));
            for _ in 0..5000 {
                frames.extend(raw(CONTINUATION, 0, 1, &block(&[("x-flood", "y")])));
            }
            frames
        },
        GoAway(ENHANCE_YOUR_CALM),
        &[],
    ),
    row(
        "empty-continuation-flood",
        "RFC 9113 §10.5",
        || {
            let mut frames = raw(HEADERS, END_STREAM, 1, &block(GET));
            for _ in 0..5000 {
                frames.extend(raw(CONTINUATION, 0, 1, &[]));
            }
            frames
        },
        GoAway(ENHANCE_YOUR_CALM),
        &[],
    ),
    row(
        "rapid-reset",
        "RFC 9113 §10.5",
        || {
            let mut frames = Vec::new();
            for number in 0..2000 {
                frames.extend(raw(HEADERS, END_HEADERS, number * 2 + 1, &block(POST)));
                frames.extend(reset(number * 2 + 1, 8));
            }
            frames
        },
        GoAway(ENHANCE_YOUR_CALM),
        &[],
    ),
    row(
        "malformed-flood",
        "RFC 9113 §10.5",
        || {
            let mut frames = Vec::new();
            for number in 0..2000 {
                frames.extend(raw(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    number * 2 + 1,
                    &block(&[GET, &[("te", "gzip")]].concat()),
                ));
            }
            frames
        },
        GoAway(ENHANCE_YOUR_CALM),
        &[],
    ),
    row(
        "empty-data-flood",
        "RFC 9113 §10.5",
        || {
            let mut frames = head(0, POST);
            for _ in 0..20_000 {
                frames.extend(raw(DATA, 0, 1, &[]));
            }
            frames
        },
        GoAway(ENHANCE_YOUR_CALM),
        &[],
    ),
    row(
        "ping-flood",
        "RFC 9113 §10.5",
        || {
            let mut frames = raw(PING, 0, 0, &[0; 8]).repeat(10_000);
            frames.extend(get(&[]));
            frames
        },
        Answer(200),
        &["GET /"],
    ),
    row(
        "settings-flood",
        "RFC 9113 §10.5",
        || {
            let mut frames = raw(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(10_000);
            frames.extend(get(&[]));
            frames
        },
        Answer(200),
        &["GET /"],
    ),
    row(
        "window-flood",
        "RFC 9113 §10.5",
        || {
            let mut frames = raw(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(10_000);
            frames.extend(get(&[]));
            frames
        },
        Answer(200),
        &["GET /"],
    ),
    row(
        "streams-over-the-limit",
        "RFC 9113 §5.1.2",
        || {
            let mut frames = Vec::new();
            // None of them ends.
            for number in 0..257 {
                frames.extend(raw(HEADERS, END_HEADERS, number * 2 + 1, &block(POST)));
            }
            frames
        },
        Reset(REFUSED_STREAM),
        &[],
    ),
];
