//! A lenient reader of one JSON object. It keeps each member that it can read, and reports whether the object was complete.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::CharIndices;

/// A value.
pub(super) enum Raw {
    /// A string, decoded.
    Text(String),
    /// A number, `true`, `null` or any other run of characters without quotes.
    Bare(String),
    /// An object or an array.
    Nested,
}

/// The object at the beginning of a text.
pub(super) struct Object {
    pub(super) members: HashMap<String, Raw>,
    /// `false`: the object is cut off or malformed after these members.
    pub(super) complete: bool,
    /// How many bytes of the text were read.
    pub(super) length: usize,
}

/// `None`: the text does not begin with `{`.
pub(super) fn read_object(text: &str) -> Option<Object> {
    let mut reader = Reader { text, chars: text.char_indices().peekable() };
    reader.skip_blanks();
    if !reader.take('{') {
        return None;
    }
    let mut members = HashMap::new();
    let complete = reader.members(&mut members).is_some();
    Some(Object { members, complete, length: reader.at() })
}

/// The string at the beginning of the text, which begins with a quote. `None`: the string has no end.
pub(super) fn read_string(text: &str) -> Option<String> {
    Reader { text, chars: text.char_indices().peekable() }.string()
}

struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

// === impl Reader ===

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn next(&mut self) -> Option<char> {
        self.chars.next().map(|(_, c)| c)
    }

    fn take(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }

    fn skip_blanks(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_whitespace() || *c == '\u{feff}').is_some() {}
    }

    /// Reads up to the end of the object. `None`: it is cut off or malformed.
    fn members(&mut self, members: &mut HashMap<String, Raw>) -> Option<()> {
        loop {
            self.skip_blanks();
            while self.take(',') {
                self.skip_blanks();
            }
            if self.take('}') {
                return Some(());
            }
            let name = self.string()?;
            self.skip_blanks();
            if !self.take(':') {
                return None;
            }
            self.skip_blanks();
            let value = match self.peek()? {
                '"' => Raw::Text(self.string()?),
                '{' | '[' => self.nested()?,
                _ => self.bare()?,
            };
            members.insert(name, value);
            self.skip_blanks();
            if !matches!(self.peek()?, ',' | '}') {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        if !self.take('"') {
            return None;
        }
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                c => text.push(c),
            }
        }
    }

    /// An unknown escape stands for its character.
    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let at = self.at();
                let code = self.text.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let Some(code) = code else { return Some(char::REPLACEMENT_CHARACTER) };
                self.chars.nth(3);
                // A lone surrogate is not a character. No token has one.
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            c => c,
        })
    }

    /// Without recursion, because nesting has no limit.
    fn nested(&mut self) -> Option<Raw> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                '"' => {
                    self.string()?;
                    continue;
                }
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.next();
            if depth == 0 {
                return Some(Raw::Nested);
            }
        }
    }

    /// `None`: empty, or possibly incomplete at the end of the text.
    fn bare(&mut self) -> Option<Raw> {
        let start = self.at();
        while !matches!(self.peek()?, ',' | '}' | ']' | '"' | '{' | '[' | ':') && !self.peek()?.is_whitespace() {
            self.next();
        }
        let end = self.at();
        (end > start).then(|| Raw::Bare(self.text[start..end].to_owned()))
    }
}
