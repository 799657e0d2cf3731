//! The placeholders of a value, how h2 writes them, and what is sent in their place.

use aws_lc_rs::rand;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use memchr::memmem;

/// One value and its two placeholders.
///
/// The name of the indexed one has 48 random bits, and the values have 96, so no client can guess and send one.
pub(super) struct Placeholder {
    value: HeaderValue,
    /// `None`: the value is too large for the tables.
    pub(super) indexed: Option<Indexed>,
    /// A short value for `authorization`.
    pub(super) literal: HeaderValue,
    /// `authorization` with the short value, as h2 writes it.
    written: Vec<u8>,
    /// The real value as it is sent: a string without Huffman coding.
    text: Vec<u8>,
}

/// A field of the same size as `authorization` with the real value.
pub(super) struct Indexed {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
    /// Name and value as h2 writes them, after the first byte.
    written: Vec<u8>,
}

/// A header block that contains a placeholder.
pub(super) struct Found<'a> {
    pub(super) before: &'a [u8],
    /// The representation of the field, and the index of its name.
    pub(super) coding: &'static [u8],
    pub(super) text: &'a [u8],
    pub(super) after: &'a [u8],
    /// It is the placeholder that h2 indexes.
    pub(super) of_indexed: bool,
}

/// A larger entry would evict too many others from a table of 4,096 bytes, the default size and the most that h2 uses. The size of an
/// entry is the length of name and value plus 32 (RFC 7541 §4.1).
const MAX_ENTRY: usize = 2048;
const OVERHEAD: usize = 32;

/// Characters whose Huffman code has 5 bits, from 00000 to 00111 (RFC 7541 appendix B). Each has 3 random bits.
const ALPHABET: [u8; 8] = *b"012aceio";
/// Characters in the name and in the value. The code of the name fills whole bytes.
const NAME: usize = 16;
const VALUE: usize = 32;

/// A literal with and without indexing, each followed by its name (RFC 7541 §6.2.1, §6.2.2).
const INDEXED_NEW_NAME: u8 = 0x40;
const NEW_NAME: u8 = 0;
/// The same for `authorization`, which has the index 23 in the static table (appendix A), and the form that no hop may index
/// (§6.2.3). A prefix of 4 bits holds 15 of the 23.
const INDEXED: [u8; 1] = [0x40 | 23];
const NOT_INDEXED: [u8; 2] = [0x0f, 23 - 15];
const NEVER_INDEXED: [u8; 2] = [0x1f, 23 - 15];

/// The first bit of the length of a string: whether it is Huffman-coded (RFC 7541 §5.2).
const HUFFMAN: u8 = 0x80;
const PLAIN: u8 = 0;

// === impl Placeholder ===

impl Placeholder {
    /// Returns `None` if the system has no randomness. h2 then writes the value itself.
    pub(super) fn new(value: &HeaderValue) -> Option<Self> {
        let mut random = [0; NAME + VALUE];
        rand::fill(&mut random).ok()?;
        let digits = random.map(|byte| byte & 7);
        let (name, digits) = digits.split_at_checked(NAME)?;
        let size = AUTHORIZATION.as_str().len() + value.len();
        let indexed = match size + OVERHEAD <= MAX_ENTRY {
            true => Some(Indexed::new(name, digits, size)?),
            false => None,
        };
        let literal = HeaderValue::from_bytes(&characters(digits)).ok()?;
        let mut written = NOT_INDEXED.to_vec();
        written.extend(coded(digits));
        let mut text = Vec::new();
        push_length(&mut text, PLAIN, value.len());
        text.extend_from_slice(value.as_bytes());
        Some(Self { value: value.clone(), indexed, literal, written, text })
    }

    pub(super) fn stands_for(&self, value: &HeaderValue) -> bool {
        self.value == *value
    }

    /// Finds a placeholder in a header block. Most blocks have only an index, and are shorter than any placeholder. `indexes`: h2
    /// still gets indexed placeholders, so a value that has one does not use the short one.
    pub(super) fn found_in<'a>(&'a self, block: &'a [u8], indexes: bool) -> Option<Found<'a>> {
        let found = |(before, after), coding, of_indexed| Found { before, coding, text: &self.text, after, of_indexed };
        if let Some(indexed) = &self.indexed
            && let Some((before, after)) = split(block, &indexed.written)
            && let Some((coding, before)) = before.split_last()
        {
            match *coding {
                INDEXED_NEW_NAME => return Some(found((before, after), INDEXED.as_slice(), true)),
                // The table of the upstream is smaller than the field.
                NEW_NAME => return Some(found((before, after), NEVER_INDEXED.as_slice(), true)),
                _ => {}
            }
        }
        if indexes && self.indexed.is_some() {
            return None;
        }
        Some(found(split(block, &self.written)?, NEVER_INDEXED.as_slice(), false))
    }
}

// === impl Indexed ===

impl Indexed {
    /// `size`: of the name plus the value.
    fn new(name: &[u8], digits: &[u8], size: usize) -> Option<Self> {
        let filling = std::iter::repeat(0);
        let value: Vec<u8> = digits.iter().copied().chain(filling).take(size.checked_sub(name.len())?).collect();
        let mut written = coded(name);
        written.extend(coded(&value));
        Some(Self {
            name: HeaderName::from_bytes(&characters(name)).ok()?,
            value: HeaderValue::from_bytes(&characters(&value)).ok()?,
            written,
        })
    }
}

/// Returns what is before and after `written`.
fn split<'a>(block: &'a [u8], written: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    if block.len() < written.len() {
        return None;
    }
    let (before, rest) = block.split_at_checked(memmem::find(block, written)?)?;
    Some((before, rest.get(written.len()..)?))
}

fn characters(digits: &[u8]) -> Vec<u8> {
    digits.iter().filter_map(|digit| ALPHABET.get(usize::from(*digit)).copied()).collect()
}

/// A Huffman-coded string after its length (RFC 7541 §5.2). Ones fill the rest of the last byte.
fn coded(digits: &[u8]) -> Vec<u8> {
    let mut string = Vec::new();
    push_length(&mut string, HUFFMAN, (digits.len() * 5).div_ceil(8));
    for eight in digits.chunks(8) {
        let bits = eight.iter().fold(0_u64, |bits, digit| bits << 5 | u64::from(*digit));
        let missing = 5 * (8 - eight.len());
        let bits = bits << missing | ((1 << missing) - 1);
        let bytes = bits.to_be_bytes();
        string.extend(bytes.iter().skip(3).take((eight.len() * 5).div_ceil(8)));
    }
    string
}

/// The length of a string: an integer with a prefix of 7 bits (RFC 7541 §5.1, §5.2).
fn push_length(out: &mut Vec<u8>, coding: u8, length: usize) {
    const PREFIX: usize = 127;
    let low = |value: usize| u8::try_from(value & 0x7f).unwrap_or_default();
    let Some(mut rest) = length.checked_sub(PREFIX) else { return out.push(coding | low(length)) };
    out.push(coding | low(PREFIX));
    while rest > 0x7f {
        out.push(0x80 | low(rest));
        rest >>= 7;
    }
    out.push(low(rest));
}
