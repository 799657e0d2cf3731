//! What the upstream did to each request, each time it came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// What the upstream does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    Answer,
    /// The connection ends without a byte of an answer.
    Vanish,
    /// The connection ends within the answer's head.
    CutHead,
    /// It is closed within the answer's body.
    CutBody,
    /// It is reset within the answer's body, which may destroy the head that went before.
    TearBody,
    /// No byte of an answer comes.
    Stall,
    /// The answer stops within its head.
    StallHead,
    /// The answer stops within its body.
    StallBody,
    /// An answer that is no HTTP.
    Nonsense,
    /// HTTP/2: REFUSED_STREAM.
    Refuse,
    /// HTTP/2: above the last stream of a GOAWAY.
    GoAway,
    /// HTTP/2: INTERNAL_ERROR instead of an answer.
    Abort,
    /// HTTP/2: INTERNAL_ERROR within the answer's body, which may overtake the head.
    AbortBody,
    /// It came on a connection that this side had closed.
    Late,
}

#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub deed: Deed,
    /// The request was read whole, and counted.
    pub applied: bool,
    /// HTTP/1: the connection had carried an answer before.
    pub reused: bool,
    /// Its connection ended for another request's sake while this one was on it.
    pub struck: bool,
    done: Option<Instant>,
}

/// One time that a request came.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    id: u64,
    index: usize,
}

#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    attempts: HashMap<u64, Vec<Attempt>>,
    /// When a connection was reset, or said that it goes: what was on its way may never be seen here.
    losses: Vec<Instant>,
}

/// What an answer needs to leave this process, at most.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

impl Ledger {
    pub fn begin(&self, id: u64, deed: Deed, reused: bool) -> Entry {
        let mut book = self.0.lock().unwrap();
        let attempts = book.attempts.entry(id).or_default();
        attempts.push(Attempt { deed, applied: false, reused, struck: false, done: None });
        Entry { id, index: attempts.len() - 1 }
    }

    pub fn apply(&self, entry: Entry) {
        self.change(entry, |attempt| attempt.applied = true);
    }

    /// The answer was handed to the connection.
    pub fn done(&self, entry: Entry) {
        self.change(entry, |attempt| attempt.done = Some(Instant::now()));
    }

    /// The connection that these came on ends.
    pub fn strike(&self, entries: &[Entry]) {
        for entry in entries {
            self.change(*entry, |attempt| {
                attempt.struck |= attempt.done.is_none_or(|done| done.elapsed() < ON_ITS_WAY);
            });
        }
    }

    /// A connection ends, or says that it does.
    pub fn lost(&self) {
        self.0.lock().unwrap().losses.push(Instant::now());
    }

    pub fn attempts(&self, id: u64) -> Vec<Attempt> {
        self.0.lock().unwrap().attempts.get(&id).cloned().unwrap_or_default()
    }

    /// How many connections were lost in this time.
    pub fn losses(&self, start: Instant, end: Instant) -> usize {
        let book = self.0.lock().unwrap();
        // The times are in order.
        let [from, to] = [start, end].map(|time| book.losses.partition_point(|loss| *loss < time));
        to - from
    }

    fn change(&self, entry: Entry, change: impl FnOnce(&mut Attempt)) {
        let mut book = self.0.lock().unwrap();
        change(&mut book.attempts.get_mut(&entry.id).unwrap()[entry.index]);
    }
}
