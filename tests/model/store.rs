//! The store: compare-and-set, and the fence; what `src/token/store.rs` promises.

use crate::judge::Change;
use crate::protocol::Protocol;
use crate::state::{Record, State, Step, Token, Version};

#[derive(Clone, Copy, Debug)]
pub struct Expect {
    pub version: Match,
    /// Only with the present fencing number.
    pub fenced: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Match {
    Exact(Version),
    Generation(u8),
    Token(Token),
    Anything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    Superseded(Record),
    Fenced,
    /// No answer: it is not known whether it was done.
    Failed,
}

// === impl Protocol ===

impl Protocol {
    pub fn write(
        &self,
        state: &mut State,
        holds: bool,
        expect: Expect,
        new: Record,
        change: Change,
        store: Result<(), bool>,
    ) -> Written {
        if store == Err(false) {
            return Written::Failed;
        }
        let written = self.compare_and_set(state, holds, expect, new, change);
        if store.is_ok() { written } else { Written::Failed }
    }

    fn compare_and_set(&self, state: &mut State, holds: bool, expect: Expect, new: Record, change: Change) -> Written {
        let old = state.store.record;
        if expect.fenced && !holds {
            return Written::Fenced;
        }
        let meets = match expect.version {
            Match::Exact(version) => version == old.version(),
            Match::Generation(generation) => generation == old.generation,
            Match::Token(token) => token == old.refresh,
            Match::Anything => true,
        };
        if !meets {
            // An earlier attempt got through although its answer was lost.
            return if old == new { Written::Done } else { Written::Superseded(old) };
        }
        state.judge_write(change, &new, self.policy);
        state.store.record = new;
        for replica in &mut state.replicas {
            replica.news = replica.step != Step::Down;
        }
        Written::Done
    }
}

// === impl State ===

impl State {
    /// A process whose lease has run out has stored an outcome: who has just announced a call could not know.
    pub fn overtake(&mut self, by: usize) {
        for (who, replica) in self.replicas.iter_mut().enumerate() {
            replica.overtaken |= who != by && matches!(replica.step, Step::Intended(_));
        }
    }
}
