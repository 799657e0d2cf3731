//! The state that all connections share: tokens, faults and ledger behind one lock, and a signal for changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::clock::ServerClock;
use super::fault::{Act, Faults, Step, Target};
use super::ledger::{Issued, Ledger};
use super::line::{End, Line};
use super::options::Options;
use super::throttle::Throttle;
use super::tokens::{Draft, Fresh, Tokens};

pub(super) struct Shared {
    pub clock: ServerClock,
    state: Mutex<State>,
    /// Counts the changes of the state.
    changed: watch::Sender<u64>,
}

pub(super) struct State {
    pub options: Options,
    pub tokens: Tokens,
    pub ledger: Ledger,
    pub faults: Faults,
    pub throttle: Throttle,
    lines: Vec<Weak<Line>>,
}

// === impl Shared ===

impl Shared {
    pub fn new(options: Options) -> Self {
        Self {
            clock: ServerClock::default(),
            state: Mutex::new(State {
                tokens: Tokens::default(),
                ledger: Ledger::new(options.ledger_capacity),
                faults: Faults::default(),
                throttle: Throttle::default(),
                lines: Vec::new(),
                options,
            }),
            changed: watch::Sender::new(0),
        }
    }

    /// Reads the state. A test's closure may panic; the state stays usable.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state and wakes all waiters.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub fn take_fault(&self, on: Target, at: Step, path: &str) -> Option<Act> {
        self.change(|state| state.faults.take(on, at, path))
    }

    pub fn open_line(&self) -> Arc<Line> {
        self.change(|state| {
            let line = Arc::new(Line::new(state.ledger.open_connection()));
            state.lines.retain(|known| known.strong_count() > 0);
            state.lines.push(Arc::downgrade(&line));
            line
        })
    }

    /// Ends all connections.
    pub fn end_lines(&self, how: &End) {
        // Outside the lock: an ending line takes it to record its undelivered responses.
        let lines = self.read(|state| state.lines.clone());
        lines.iter().filter_map(Weak::upgrade).for_each(|line| line.end(how.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Issues tokens without a token call, as a login elsewhere would.
    pub fn issue_out_of_band(&mut self, draft: Draft, now: i64) -> Fresh {
        let fresh = self.tokens.issue(draft, now);
        self.record_issued(&fresh, None, None, now);
        fresh
    }

    pub fn record_issued(&mut self, fresh: &Fresh, parent: Option<u64>, call: Option<u64>, at: i64) {
        self.ledger.record_issued(Issued {
            grant: fresh.grant,
            generation: fresh.generation,
            access: fresh.access,
            refresh: fresh.refresh.as_ref().map(|(serial, _)| *serial),
            parent,
            call,
            at,
            expires_at: fresh.expires_at,
            used: None,
        });
    }
}
