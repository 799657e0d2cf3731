//! `authorization` on HTTP/2, sent once a connection instead of once a request.
//!
//! h2 indexes no `authorization` value (RFC 7541 §7.1.3), and so codes the token by Huffman anew for each request, and sends all
//! of it: a thousand bytes that stay the same for hours. So h2 is given a stand-in, a field of another name, which it does index.
//! Below h2, the stand-in gives way to the field itself in the one header block that brings it into the tables. From then on one
//! byte of a request means the stand-in to h2, and the token to the upstream.
//!
//! Both tables stay the same, since the two fields have one size: that is what they count, and what decides when they drop which
//! entry (RFC 7541 §4.1, §4.4).
//!
//! Whether an indexed value can be guessed by watching how long requests are (RFC 7541 §7.1) is a question of who can add such
//! fields, and of how many guesses it takes. Nobody can: a client's own `authorization` is never forwarded. And a guess has to be
//! the whole token.
//!
//! Where the table has no room for it, or others drive it out all the time, the value is written by every request after all: as a
//! plain literal that no hop may index (§6.2.3), in the place of a short stand-in.

mod stand_in;
mod writer;

use std::cell::RefCell;
use std::rc::Rc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

pub(super) use self::writer::{FieldWriter, Flush};

use self::stand_in::{Indexed, StandIn};

/// The values that a connection has sent, and what stands for each. As long as the connection lives: what h2 holds back may
/// be older than the present token.
#[derive(Clone, Default)]
pub(super) struct StandIns(Rc<RefCell<Known>>);

#[derive(Default)]
struct Known {
    values: Vec<StandIn>,
    /// Requests whose stand-in was one that h2 indexes.
    asked: u64,
    /// How often h2 has written such a stand-in, instead of its index.
    written: u64,
}

/// A value this short costs h2 less than it costs here. It may also be a password, which could be guessed.
const WORTHWHILE: usize = 64;

// === impl StandIns ===

impl StandIns {
    /// Puts a stand-in in the place of `authorization`. `None`: there is no value that is worth it, and h2 writes what there is.
    pub(super) fn put(&self, headers: &mut HeaderMap) -> Option<()> {
        let field = headers.get_mut(AUTHORIZATION).filter(|value| value.len() >= WORTHWHILE)?;
        let mut known = self.0.borrow_mut();
        let pays = known.pays();
        match (known.of(field)?, pays) {
            (StandIn { indexed: Some(Indexed { name, value, .. }), .. }, true) => {
                headers.remove(AUTHORIZATION);
                headers.insert(name.clone(), value.clone());
                known.asked += 1;
            }
            (StandIn { literal, .. }, _) => *field = literal.clone(),
        }
        Some(())
    }

    /// Appends the block to `out`, with the value in the stand-in's place.
    fn resolve(&self, block: &[u8], out: &mut Vec<u8>) {
        let mut known = self.0.borrow_mut();
        let pays = known.pays();
        // The newest is mostly the one.
        match known.values.iter().rev().find_map(|known| known.found_in(block, pays)) {
            Some(found) => {
                out.extend_from_slice(found.before);
                out.extend_from_slice(found.coding);
                out.extend_from_slice(found.text);
                out.extend_from_slice(found.after);
                known.written += u64::from(found.of_indexed);
            }
            None => out.extend_from_slice(block),
        }
    }
}

// === impl Known ===

impl Known {
    fn of(&mut self, value: &HeaderValue) -> Option<&StandIn> {
        let index = match self.values.iter().rposition(|known| known.stands_for(value)) {
            Some(index) => index,
            None => {
                self.values.push(StandIn::new(value)?);
                self.values.len() - 1
            }
        };
        self.values.get(index)
    }

    /// Whether to index pays: what is indexed stays in the table. A stand-in of the value's length, each time that h2 codes it,
    /// costs more than what is saved by a few requests. Once it does not, it never does again: nothing is asked any more.
    fn pays(&self) -> bool {
        self.written <= 8 + self.asked / 8
    }
}

#[cfg(test)]
mod tests;
