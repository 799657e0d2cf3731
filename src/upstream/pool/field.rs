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
//!
//! # If h2 writes a block in another way
//!
//! Then a stand-in would go out, and the token would not. So each block is read, and compared with what was taken out of its
//! request ([`StandIns::expect`]). A block that does not restore it ends the connection before a byte of the block is sent, and
//! switches stand-ins off in the whole process: h2 then writes every `authorization` itself.

mod block;
mod stand_in;
mod writer;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

pub(super) use self::writer::{FieldWriter, Flush};

use self::block::{Entry, Field};
use self::stand_in::{Indexed, StandIn};

/// The values that a connection has sent, and what stands for each. As long as the connection lives: what h2 holds back may
/// be older than the present token.
#[derive(Clone)]
pub(super) struct StandIns {
    known: Rc<RefCell<Known>>,
    /// A block was written in a way that is not understood.
    off: &'static AtomicBool,
}

/// Which value was taken out of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken(usize);

/// A block whose request had `authorization` taken out, and that does not restore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header block of a request would go out without its authorization")]
struct NotRestored;

#[derive(Default)]
struct Known {
    values: Vec<StandIn>,
    /// The dynamic table's entry of each value, as h2 and the upstream have it. As many as there are values.
    entries: Vec<Option<Entry>>,
    /// Entries that were ever made since there is a value.
    inserted: u64,
    /// What was taken out of requests whose block has not been written, in the order of their streams. That is the order of their
    /// blocks, too (RFC 9113 §5.1.1).
    expected: VecDeque<(u32, Taken)>,
    /// Requests whose stand-in was one that h2 indexes.
    asked: u64,
    /// How often h2 has written such a stand-in, instead of its index.
    written: u64,
}

/// How `authorization` is sent: for measurements, chosen when the program is built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// By h2.
    Plain,
    /// By short stand-ins alone.
    Literal,
    Indexed,
}

const CODING: Coding = Coding::named(option_env!("BENCH_AUTHORIZATION"));

static OFF: AtomicBool = AtomicBool::new(false);

/// A value this short costs h2 less than it costs here. It may also be a password, which could be guessed.
const WORTHWHILE: usize = 64;

// === impl Coding ===

impl Coding {
    const fn named(name: Option<&str>) -> Self {
        match name {
            Some(name) => match name.as_bytes() {
                b"plain" => Self::Plain,
                b"literal" => Self::Literal,
                _ => Self::Indexed,
            },
            None => Self::Indexed,
        }
    }
}

// === impl StandIns ===

impl Default for StandIns {
    fn default() -> Self {
        Self::with_switch(&OFF)
    }
}

impl StandIns {
    fn with_switch(off: &'static AtomicBool) -> Self {
        Self { known: Rc::default(), off }
    }

    /// Puts a stand-in in the place of `authorization`. `None`: there is no value that is worth it, and h2 writes what there is.
    pub(super) fn put(&self, headers: &mut HeaderMap) -> Option<Taken> {
        if CODING == Coding::Plain || self.off.load(Ordering::Relaxed) {
            return None;
        }
        let field = headers.get_mut(AUTHORIZATION).filter(|value| value.len() >= WORTHWHILE)?;
        let mut known = self.known.borrow_mut();
        let pays = known.pays();
        let taken = known.of(field)?;
        match (known.values.get(taken.0)?, pays) {
            (StandIn { indexed: Some(Indexed { name, value, .. }), .. }, true) => {
                headers.remove(AUTHORIZATION);
                headers.insert(name.clone(), value.clone());
                known.asked += 1;
            }
            (StandIn { literal, .. }, _) => *field = literal.clone(),
        }
        Some(taken)
    }

    /// The block of this stream has to restore what was taken. To be called before h2 writes the block, with growing streams.
    pub(super) fn expect(&self, stream: u32, taken: Taken) {
        self.known.borrow_mut().expected.push_back((stream, taken));
    }

    /// Appends the block of a stream to `out`, with the value in the stand-in's place. On an error nothing is appended.
    fn resolve(&self, stream: u32, block: &[u8], out: &mut Vec<u8>) -> Result<(), NotRestored> {
        let resolved = self.known.borrow_mut().resolve(stream, block, out);
        if resolved.is_err() && !self.off.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "an HTTP/2 header block did not restore the token: its connection is ended before the block is sent, and tokens are \
                 sent in full from now on; please report this version"
            );
        }
        resolved
    }
}

// === impl Known ===

impl Known {
    fn of(&mut self, value: &HeaderValue) -> Option<Taken> {
        let index = match self.values.iter().rposition(|known| known.stands_for(value)) {
            Some(index) => index,
            None => {
                self.values.push(StandIn::new(value)?);
                self.entries.push(None);
                self.values.len() - 1
            }
        };
        Some(Taken(index))
    }

    /// Whether to index pays: what is indexed stays in the table. A stand-in of the value's length, each time that h2 codes it,
    /// costs more than what is saved by a few requests. Once it does not, it never does again: nothing is asked any more.
    fn pays(&self) -> bool {
        CODING == Coding::Indexed && self.written <= 8 + self.asked / 8
    }

    /// What the block of this stream has to restore. A second block of a stream is its trailers.
    fn expected(&mut self, stream: u32) -> Option<Taken> {
        // A request that was given up before it was written has no block.
        while self.expected.front().is_some_and(|(first, _)| *first < stream) {
            self.expected.pop_front();
        }
        self.expected.pop_front_if(|(first, _)| *first == stream).map(|(_, taken)| taken)
    }

    fn resolve(&mut self, stream: u32, block: &[u8], out: &mut Vec<u8>) -> Result<(), NotRestored> {
        if self.values.is_empty() {
            out.extend_from_slice(block);
            return Ok(());
        }
        let expected = self.expected(stream);
        let pays = self.pays();
        // The newest is the usual one.
        let known = self.values.iter().enumerate().rev();
        let found = known.filter_map(|(index, known)| Some((index, known.found_in(block, pays)?))).next();
        let (index, place) =
            found.as_ref().map_or((None, None), |(index, found)| (Some(*index), Some(found.before.len())));
        let entry = expected.and_then(|Taken(expected)| self.entries.get(expected).copied().flatten());
        let mut restored = expected.is_none_or(|Taken(expected)| index == Some(expected));
        let mut made = None;
        let read = block::read(block, &mut self.inserted, |field| match field {
            Field::Made { at, entry } if Some(at) == place => made = Some(entry),
            Field::Used(used) => restored |= Some(used) == entry,
            Field::Made { .. } => {}
        });
        if read.is_err() || !restored {
            return Err(NotRestored);
        }
        if let Some(place) = index.filter(|_| made.is_some()).and_then(|index| self.entries.get_mut(index)) {
            *place = made;
        }
        match found {
            Some((_, found)) => {
                out.extend_from_slice(found.before);
                out.extend_from_slice(found.coding);
                out.extend_from_slice(found.text);
                out.extend_from_slice(found.after);
                self.written += u64::from(found.of_indexed);
            }
            None => out.extend_from_slice(block),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
