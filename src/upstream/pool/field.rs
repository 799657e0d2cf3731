//! `authorization` on HTTP/2, written once a token instead of once a request.
//!
//! h2 indexes no `authorization` value, and so codes the token by Huffman anew for each request: a fifth of a request's
//! instructions, for a text that stays the same for hours. So h2 is given a short stand-in, and below it, in each header block,
//! the stand-in gives way to the value as a plain literal that no hop may index (RFC 7541 §6.2.3, §7.1.3).
//!
//! A stand-in is 144 random bits, each time a value is first sent on a connection: no client can write one into a field of its
//! own. A literal that is not indexed leaves no trace in the compression's state, so that both sides' tables stay the same.

mod writer;

use std::cell::RefCell;
use std::rc::Rc;

use aws_lc_rs::rand;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

pub(super) use self::writer::{FieldWriter, Flush};

/// The values that a connection has sent, and what stands for each. As long as the connection lives: what h2 holds back may
/// be older than the present token.
#[derive(Clone, Default)]
pub(super) struct StandIns(Rc<RefCell<Vec<StandIn>>>);

struct StandIn {
    value: HeaderValue,
    name: HeaderValue,
    /// The field as h2 writes it.
    written: Vec<u8>,
    /// The field as it is sent.
    sent: Vec<u8>,
}

/// A value this short costs h2 less than it costs here.
const WORTHWHILE: usize = 64;

/// Characters that Huffman codes in 5 bits each, 00000 to 00111 (RFC 7541 appendix B): 3 random bits each.
const ALPHABET: [u8; 8] = *b"012aceio";
/// A multiple of 8, so that the code ends with a byte.
const LENGTH: usize = 48;

/// `authorization` in the static table (RFC 7541 appendix A): 23, as 15 in the prefix and 8 more.
const WITHOUT_INDEXING: [u8; 2] = [0x0f, 23 - 15];
const NEVER_INDEXED: [u8; 2] = [0x1f, 23 - 15];

// === impl StandIns ===

impl StandIns {
    /// Puts a stand-in in the place of the value. `None`: there is no value that is worth it, and h2 writes what there is.
    pub(super) fn put(&self, headers: &mut HeaderMap) -> Option<()> {
        let field = headers.get_mut(AUTHORIZATION).filter(|value| value.len() >= WORTHWHILE)?;
        let mut known = self.0.borrow_mut();
        let index = match known.iter().rposition(|known| known.value == *field) {
            Some(index) => index,
            None => {
                known.push(StandIn::new(field)?);
                known.len() - 1
            }
        };
        *field = known.get(index)?.name.clone();
        Some(())
    }

    /// Appends the block to `out`, with the value in the stand-in's place.
    fn resolve(&self, block: &[u8], out: &mut Vec<u8>) {
        let known = self.0.borrow();
        // The newest is mostly the one.
        let found = known.iter().rev().find_map(|known| Some((memmem::find(block, &known.written)?, known)));
        match found {
            Some((at, known)) => {
                let (before, after) = block.split_at(at);
                out.extend_from_slice(before);
                out.extend_from_slice(&known.sent);
                out.extend_from_slice(after.get(known.written.len()..).unwrap_or_default());
            }
            None => out.extend_from_slice(block),
        }
    }
}

// === impl StandIn ===

impl StandIn {
    /// `None`: the system has no randomness to give, and h2 writes the value itself.
    fn new(value: &HeaderValue) -> Option<Self> {
        let mut random = [0; LENGTH];
        rand::fill(&mut random).ok()?;
        let digits = random.map(|byte| byte & 7);
        let name: Vec<u8> = digits.iter().filter_map(|digit| ALPHABET.get(usize::from(*digit)).copied()).collect();
        let name = HeaderValue::from_bytes(&name).ok()?;

        let mut written = WITHOUT_INDEXING.to_vec();
        // A Huffman-coded string of so many bytes (RFC 7541 §5.2).
        written.push(0x80 | u8::try_from(LENGTH * 5 / 8).ok()?);
        for eight in digits.chunks(8) {
            let bits = eight.iter().fold(0_u64, |bits, digit| bits << 5 | u64::from(*digit));
            written.extend_from_slice(bits.to_be_bytes().get(3..)?);
        }

        let mut sent = NEVER_INDEXED.to_vec();
        push_length(&mut sent, value.len());
        sent.extend_from_slice(value.as_bytes());
        Some(Self { value: value.clone(), name, written, sent })
    }
}

/// The length of a string that is not Huffman-coded: an integer with a prefix of 7 bits (RFC 7541 §5.1, §5.2).
fn push_length(out: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    let low = |value: usize| u8::try_from(value & 0x7f).unwrap_or_default();
    let Some(mut rest) = length.checked_sub(PREFIX) else { return out.push(low(length)) };
    out.push(low(PREFIX));
    while rest > 0x7f {
        out.push(0x80 | low(rest));
        rest >>= 7;
    }
    out.push(low(rest));
}

#[cfg(test)]
mod tests;
