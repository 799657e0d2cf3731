//! Finds a request target that hyper would refuse with a bare 400, which the metrics would not count.
//!
//! The bytes that hyper refuses are replaced, so that the request reaches the service, which refuses it.

use memchr::memchr;

use crate::downstream::signals::Ambiguity;

/// The facts about the current request line so far.
#[derive(Debug, Default)]
pub(super) struct RequestLine {
    at: At,
    fragment: bool,
    bad_target: bool,
    /// Number of bytes that are missing from the last UTF-8 character of the target so far.
    torn: usize,
}

/// The position in the request line.
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
    /// Reads a piece of the request line. A `#` in the method is an ordinary character.
    pub(super) fn read(&mut self, piece: &mut [u8]) {
        let whole = self.at == At::Method && piece.ends_with(b"\n");
        // Without branches, for many bytes at a time: nearly every line is complete and ordinary.
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

/// It begins the query, which is not logged. So the logged path contains only characters that the client sent.
const REPLACEMENT: u8 = b'?';

/// Bytes that the `http` crate refuses.
fn is_bad_in(at: At, byte: u8) -> bool {
    let only_there = if at == At::Query { b'"' } else { b'`' };
    (byte == b'<') | (byte == b'>') | (byte == only_there)
}

/// Replaces invalid UTF-8, and returns whether there was any. `torn`: the number of bytes missing from the last character; `ends`: no more
/// bytes will arrive.
fn replace_what_is_no_text(mut bytes: &mut [u8], torn: &mut usize, ends: bool) -> bool {
    let more = bytes.iter().take(*torn).take_while(|byte| matches!(byte, 0x80..0xc0)).count();
    bytes = bytes.get_mut(more..).unwrap_or_default();
    *torn -= more;
    // The torn bytes have already been passed on.
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

/// The length of the UTF-8 character that begins with this byte.
fn width(first: Option<&u8>) -> usize {
    match first {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        _ => 2,
    }
}
