//! What is typed, pasted or piped: bytes to lines. Pure.
//!
//! A terminal in raw mode gives bytes as they come, without the line length of 4,095 bytes that the kernel's own editing has.
//! Most terminals bracket a paste (`ESC [200~`, `ESC [201~`), and a line end within the brackets does not end the input.
//! Without brackets, a line ends the input only if a pause follows: a URL that was copied from several lines is one URL.

use zeroize::Zeroizing;

use crate::token::login::MAX_LENGTH;

/// An event in the input.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) enum Key {
    Line(Zeroizing<String>),
    /// A line that was too long. It is dropped.
    TooLong,
    /// A line that is not UTF-8. It is dropped.
    NotText,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D on an empty line, or the end of a pipe.
    End,
}

/// Decodes the input, which may arrive in chunks of any size.
#[derive(Debug)]
pub(super) struct Keys {
    is_terminal: bool,
    /// Enter alone is a line.
    may_be_empty: bool,
    line: Zeroizing<Vec<u8>>,
    too_long: bool,
    escape: Escape,
    pasting: bool,
    /// The paste so far ends with a line end.
    ended_within_paste: bool,
    /// A line has ended outside of a paste. A pause ends the input; more bytes continue it.
    settling: bool,
}

/// Where in a control sequence (ECMA-48 §5.4).
#[derive(Debug)]
enum Escape {
    Outside,
    /// After ESC.
    Begun,
    /// After `ESC [`, with the parameters so far.
    Sequence(Vec<u8>),
    /// After `ESC O`: one more byte.
    Single,
}

const ESC: u8 = 0x1b;
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const QUIT: u8 = 0x1c;
const ERASE: [u8; 2] = [0x08, 0x7f];
const KILL: u8 = 0x15;
const MAX_PARAMETERS: usize = 16;

// === impl Keys ===

impl Keys {
    pub(super) fn new(is_terminal: bool) -> Self {
        Self {
            is_terminal,
            may_be_empty: false,
            // Whole from the start: a buffer that grows leaves copies of a code behind.
            line: Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 1)),
            too_long: false,
            escape: Escape::Outside,
            pasting: false,
            ended_within_paste: false,
            settling: false,
        }
    }

    /// Of a person who answers one question, perhaps with nothing.
    pub(super) fn answer() -> Self {
        Self { may_be_empty: true, ..Self::new(true) }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], mut key: impl FnMut(Key)) {
        for byte in bytes {
            if let Some(found) = if self.is_terminal { self.typed(*byte) } else { self.piped(*byte) } {
                key(found);
            }
        }
    }

    /// Ends the input. The remaining bytes are a line.
    pub(super) fn end(&mut self, mut key: impl FnMut(Key)) {
        if let Some(line) = self.line() {
            key(line);
        }
        key(Key::End);
    }

    /// Whether a pause ends a line.
    pub(super) fn is_settling(&self) -> bool {
        self.settling
    }

    /// No byte came for a while.
    pub(super) fn pause(&mut self, mut key: impl FnMut(Key)) {
        if self.settling
            && let Some(line) = self.line()
        {
            key(line);
        }
    }

    /// Whether a line or a paste has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        self.pasting || !self.line.is_empty() || self.too_long
    }

    fn piped(&mut self, byte: u8) -> Option<Key> {
        if matches!(byte, b'\n' | b'\r') {
            return self.line();
        }
        self.push(byte);
        None
    }

    fn typed(&mut self, byte: u8) -> Option<Key> {
        match std::mem::replace(&mut self.escape, Escape::Outside) {
            Escape::Outside if byte == ESC => self.escape = Escape::Begun,
            Escape::Outside => return self.plain(byte),
            Escape::Begun => match byte {
                b'[' => self.escape = Escape::Sequence(Vec::new()),
                b'O' => self.escape = Escape::Single,
                ESC => self.escape = Escape::Begun,
                _ => {}
            },
            Escape::Single => {}
            Escape::Sequence(parameters) if matches!(byte, 0x40..=0x7e) => return self.sequence(&parameters, byte),
            Escape::Sequence(mut parameters) => {
                if parameters.len() < MAX_PARAMETERS {
                    parameters.push(byte);
                }
                self.escape = Escape::Sequence(parameters);
            }
        }
        None
    }

    fn sequence(&mut self, parameters: &[u8], last: u8) -> Option<Key> {
        match (parameters, last) {
            (b"200", b'~') => {
                self.pasting = true;
                self.ended_within_paste = false;
            }
            (b"201", b'~') => {
                self.pasting = false;
                if std::mem::take(&mut self.ended_within_paste) {
                    return self.line();
                }
            }
            _ => {}
        }
        None
    }

    fn plain(&mut self, byte: u8) -> Option<Key> {
        if self.pasting {
            // A URL that was copied from several lines of a terminal is one URL.
            self.ended_within_paste = matches!(byte, b'\r' | b'\n');
            if !self.ended_within_paste {
                self.push(byte);
            }
            return None;
        }
        match byte {
            b'\r' | b'\n' => self.settling = true,
            INTERRUPT | QUIT => return Some(Key::Interrupt),
            END if self.line.is_empty() => return Some(Key::End),
            KILL => {
                self.line.clear();
                self.too_long = false;
                self.settling = false;
            }
            byte if ERASE.contains(&byte) => {
                self.line.pop();
                self.settling = false;
            }
            0..=0x1f => {}
            byte => self.push(byte),
        }
        None
    }

    fn push(&mut self, byte: u8) {
        self.settling = false;
        if self.line.len() < MAX_LENGTH {
            self.line.push(byte);
        } else {
            self.too_long = true;
        }
    }

    /// The line so far. `None`: it is empty.
    fn line(&mut self) -> Option<Key> {
        let entered = std::mem::take(&mut self.settling) && self.may_be_empty;
        let text = std::str::from_utf8(&self.line).map(|text| Zeroizing::new(text.to_owned()));
        self.line.iter_mut().for_each(|byte| *byte = 0);
        self.line.clear();
        if std::mem::take(&mut self.too_long) {
            return Some(Key::TooLong);
        }
        match text {
            Ok(text) => (entered || !text.trim().is_empty()).then_some(Key::Line(text)),
            Err(_) => Some(Key::NotText),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same in every division of the bytes, if they arrive without a pause.
    fn keys(is_terminal: bool, bytes: &[u8]) -> Vec<String> {
        let name = |key: Key| match key {
            Key::Line(line) => format!("line {}", &*line),
            other => format!("{other:?}"),
        };
        let mut found = Vec::new();
        for size in [1, 2, 3, bytes.len().max(1)] {
            let (mut keys, mut these) = (Keys::new(is_terminal), Vec::new());
            bytes.chunks(size).for_each(|chunk| keys.feed(chunk, |key| these.push(name(key))));
            keys.pause(|key| these.push(name(key)));
            found.push(these);
        }
        assert!(found.iter().all(|these| *these == found[0]), "{found:?}");
        found.swap_remove(0)
    }

    #[test]
    fn a_terminal_gives_lines_pastes_and_control_keys() {
        let none: &[&str] = &[];
        for (bytes, expected) in [
            (&b"abc\r"[..], &["line abc"][..]),
            (b"http://a/?code=b\rc\rd&state=e\r", &["line http://a/?code=bcd&state=e"]),
            (b"abc\n\nd\r\n", &["line abcd"]),
            (b"abc\rd", none),
            (b"abx\x7fc\r", &["line abc"]),
            (b"xyz\x15abc\r", &["line abc"]),
            (b"\x1b[A\x1b[1;5Cab\x1bOPc\x1b\x1b[Bd\r", &["line abcd"]),
            (b"\x1b[200~abc\x1b[201~\r", &["line abc"]),
            (b"\x1b[200~http://a/\r\n?b\x1b[201~\r", &["line http://a/?b"]),
            (b"\x1b[200~abc\r\x1b[201~", &["line abc"]),
            (b"\x1b[200~abc\r\x1b[201~def\r", &["line abc", "line def"]),
            (b"\x1b[200~a\x03\x04b\x1b[201~\r", &["line a\x03\x04b"]),
            (b"\x03", &["Interrupt"]),
            (b"abc\x1c", &["Interrupt"]),
            (b"\x04", &["End"]),
            (b"abc\x04", none),
            (b"abc", none),
            (b" \r", none),
        ] {
            assert_eq!(keys(true, bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_pipe_gives_lines_and_nothing_else() {
        assert_eq!(keys(false, b"a\x03\x1b[200~b\nc"), ["line a\x03\x1b[200~b"]);
        let (mut keys, mut found) = (Keys::new(false), Vec::new());
        keys.feed(b"abc", |key| found.push(key));
        keys.end(|key| found.push(key));
        assert_eq!(found, [Key::Line(Zeroizing::new("abc".into())), Key::End]);
    }

    #[test]
    fn a_line_of_16_kib_is_whole_and_one_that_is_too_long_is_dropped_whole() {
        let long = [&b"a"[..].repeat(16 * 1024), &b"\n"[..]].concat();
        assert_eq!(keys(true, &long)[0].len(), "line ".len() + 16 * 1024);
        let too_long = [&b"a"[..].repeat(MAX_LENGTH + 1), &b"\nb\n"[..]].concat();
        assert_eq!(keys(false, &too_long), ["TooLong", "line b"]);
        assert_eq!(keys(true, &too_long), ["TooLong"]);
    }

    #[test]
    fn a_pause_after_a_line_ends_it() {
        let (mut keys, mut found) = (Keys::new(true), Vec::new());
        for bytes in [&b"abc"[..], b"\r", b"d\r"] {
            keys.feed(bytes, |key| found.push(key));
            keys.pause(|key| found.push(key));
        }
        assert_eq!(found, ["abc", "d"].map(|line| Key::Line(Zeroizing::new(line.into()))));
    }

    #[test]
    fn an_answer_may_be_empty_and_must_be_text() {
        for (bytes, expected) in [
            (&b"\r"[..], Some(Key::Line(Zeroizing::default()))),
            (b"", None),
            (b"\x1b[200~\x1b[201~", None),
            (b"a\xff\r", Some(Key::NotText)),
        ] {
            let (mut keys, mut found) = (Keys::answer(), Vec::new());
            keys.feed(bytes, |key| found.push(key));
            keys.pause(|key| found.push(key));
            assert_eq!(found.pop(), expected, "{bytes:?}");
            assert!(found.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn what_is_left_of_a_paste_is_known() {
        let mut keys = Keys::new(true);
        assert!(!keys.is_within());
        keys.feed(b"\x1b[200~", |_| ());
        assert!(keys.is_within());
        keys.feed(b"abc\x1b[201~\r", |_| ());
        keys.pause(|_| ());
        assert!(!keys.is_within());
    }
}
