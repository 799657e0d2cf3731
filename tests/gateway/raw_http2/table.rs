//! The rows: frames behind preface and SETTINGS, what becomes of the first stream or of the connection, and what the upstream, which
//! speaks HTTP/1.1, then sees.

mod fields;
mod floods;
mod frames;
mod pseudo_fields;
mod right;

use testkit::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

pub struct Row {
    pub name: &'static str,
    pub rule: &'static str,
    pub frames: fn() -> Vec<u8>,
    pub verdict: Verdict,
    /// [`ANY`]: it depends on what is read at a time.
    pub seen: &'static [&'static str],
    /// Without the SETTINGS before.
    pub bare: bool,
}

pub const ANY: &[&str] = &["any"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The stream's status.
    Answer(u16),
    /// The connection ends without a word.
    Closed,
    /// The connection ends with this error.
    GoAway(u32),
    /// The stream is neither answered nor reset, and the connection goes on.
    Nothing,
    /// The stream ends with this error, and the connection goes on.
    Reset(u32),
}

// RFC 9113 §7. h2 says PROTOCOL_ERROR for most errors of a connection, whatever name the RFC has for them, and ends the connection
// for a malformed field, where a stream would do.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

type Fields = &'static [(&'static str, &'static str)];

const GET: Fields = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")];
const POST: Fields = &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")];

/// A request's head on stream 1.
fn head(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, &block(fields)).to_vec()
}

/// A whole request without a body.
fn whole(fields: &[(&str, &str)]) -> Vec<u8> {
    head(END_STREAM, fields)
}

/// A GET with more fields.
fn get(more: &[(&str, &str)]) -> Vec<u8> {
    whole(&[GET, more].concat())
}

/// A POST with more fields and a body.
fn post(more: &[(&str, &str)], body: &str) -> Vec<u8> {
    [head(0, &[POST, more].concat()), frame(DATA, END_STREAM, 1, body.as_bytes()).to_vec()].concat()
}

fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind, flags, stream, payload).to_vec()
}

const fn row(
    name: &'static str,
    rule: &'static str,
    frames: fn() -> Vec<u8>,
    verdict: Verdict,
    seen: &'static [&'static str],
) -> Row {
    Row { name, rule, frames, verdict, seen, bare: false }
}

pub fn rows() -> impl Iterator<Item = &'static Row> {
    [right::ROWS, pseudo_fields::ROWS, fields::ROWS, frames::ROWS, floods::ROWS].into_iter().flatten()
}

impl Row {
    const fn bare(mut self) -> Self {
        self.bare = true;
        self
    }
}
