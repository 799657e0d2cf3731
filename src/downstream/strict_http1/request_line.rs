//! A request line whose target hyper would refuse with a bare 400, before anybody could count it.
//!
//! The bytes that it would not take are replaced, so that the request reaches the service, which refuses it.

use memchr::memchr;

use crate::downstream::signals::Ambiguity;

/// What the present request line has shown so far.
#[derive(Debug, Default)]
pub(super) struct RequestLine {
    at: At,
    fragment: bool,
    bad_target: bool,
    /// How many bytes a character of UTF-8 lacks, in which the piece of the target that was read last ends.
    torn: usize,
}

/// Where in the request line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Method,
    Path,
    Query,
    Version,
}

// === impl RequestLine ===

impl RequestLine {
    /// Takes a piece of the request line. A `#` in the method is one of its characters.
    pub(super) fn read(&mut self, piece: &mut [u8]) {
        let whole = self.at == At::Method && piece.ends_with(b"\n");
        // Without branches, for many bytes at a time: nearly every line is whole and plain.
        let is_odd =
            |byte: &u8| (*byte == b'#') | is_bad_in(At::Path, *byte) | is_bad_in(At::Query, *byte) | (*byte > 0x7f);
        if whole && !piece.iter().fold(false, |odd, byte| odd | is_odd(byte)) {
            return;
        }
        let rest = match self.at {
            At::Version => return,
            At::Path | At::Query => piece,
            At::Method => match memchr(b' ', piece) {
                None => return,
                Some(blank) => {
                    self.at = At::Path;
                    piece.get_mut(blank + 1..).unwrap_or_default()
                }
            },
        };
        let end = memchr(b' ', rest);
        let length = end.unwrap_or(rest.len());
        let target = rest.get_mut(..length).unwrap_or_default();
        self.bad_target |= replace_what_is_no_text(target, &mut self.torn, end.is_some());
        for byte in target {
            match (self.at, *byte) {
                (At::Path, b'?') => self.at = At::Query,
                (_, b'#') => self.fragment = true,
                (at, bad) if is_bad_in(at, bad) => {
                    self.bad_target = true;
                    *byte = REPLACEMENT;
                    self.at = At::Query;
                }
                _ => {}
            }
        }
        if end.is_some() {
            self.at = At::Version;
        }
    }

    pub(super) fn fault(&self) -> Option<Ambiguity> {
        match self {
            Self { fragment: true, .. } => Some(Ambiguity::Fragment),
            Self { bad_target: true, .. } => Some(Ambiguity::Target),
            _ => None,
        }
    }
}

/// Begins the query, which is not logged: of the path, no character is logged that was not sent.
const REPLACEMENT: u8 = b'?';

/// What the `http` crate does not take, of the bytes that reach it.
fn is_bad_in(at: At, byte: u8) -> bool {
    let only_there = if at == At::Query { b'"' } else { b'`' };
    (byte == b'<') | (byte == b'>') | (byte == only_there)
}

/// Replaces what is no UTF-8. Returns whether there was any. `torn`: how many bytes lack from the last character; `ends`: no more
/// will come.
fn replace_what_is_no_text(mut bytes: &mut [u8], torn: &mut usize, ends: bool) -> bool {
    let more = bytes.iter().take(*torn).take_while(|byte| matches!(byte, 0x80..0xc0)).count();
    bytes = bytes.get_mut(more..).unwrap_or_default();
    *torn -= more;
    // What was torn has been passed on already.
    let mut found = *torn > 0 && (ends || !bytes.is_empty());
    while let Err(error) = std::str::from_utf8(bytes) {
        let (valid, length) = (error.valid_up_to(), error.error_len());
        let rest = bytes.get_mut(valid..).unwrap_or_default();
        if length.is_none() && !ends {
            *torn = width(rest.first()).saturating_sub(rest.len());
            return found;
        }
        found = true;
        let length = length.unwrap_or(rest.len()).min(rest.len());
        let (bad, rest) = rest.split_at_mut(length);
        bad.fill(REPLACEMENT);
        bytes = rest;
    }
    found
}

/// Of the character of UTF-8 that begins so.
fn width(first: Option<&u8>) -> usize {
    match first {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        _ => 2,
    }
}
