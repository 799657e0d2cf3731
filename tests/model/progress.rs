//! What follows a state once nothing fails and every process runs.

use crate::actions::{Action, Serving, Store};
use crate::protocol::Protocol;
use crate::state::{Answer, Grant, Phase, Replica, State};

/// Enough for a rotation of every replica and for the end of a dead holder's lease.
const STEPS: usize = 40;

impl<const N: usize> Protocol<N> {
    /// Whether the world reaches a new generation, or a state in which only a person can help.
    pub fn makes_progress(&self, from: &State<N>) -> bool {
        let mut progressing = self.progressing.lock().unwrap();
        let mut path = vec![*from];
        while let Some(state) = path.last().filter(|_| path.len() < STEPS) {
            let hopeless = self.decisions.plan(state.stored).is_none() && !state.replicas.iter().any(Replica::has_news);
            let renewed = state.stored.generation > from.stored.generation;
            if renewed || hopeless || progressing.contains(state) {
                // All states before this one make progress too, and so does this one unless it begins a new generation.
                path.truncate(path.len() - usize::from(renewed));
                progressing.extend(path);
                return true;
            }
            let mut possible = Vec::new();
            self.possible(state, &mut possible);
            let Some(action) = self.next_in_makes_progress(state, &possible) else { return false };
            path.push(self.after(state, action));
        }
        false
    }

    fn next_in_makes_progress(&self, state: &State<N>, possible: &[Action]) -> Option<Action> {
        // A rotation in progress continues before another begins, and unpersisted records are stored first.
        let rank = |action: &Action| match *action {
            Action::Persist(_, Store::Answers) => Some(0),
            Action::Record(_, Store::Answers) | Action::Release(_) => Some(1),
            Action::Serve(_, Serving::Answered) | Action::Call(_) | Action::Intend(_, Store::Answers) => Some(2),
            Action::Load { expired: true, .. } => Some(3),
            Action::ImportWrites { bare: false } => Some(3),
            Action::LeaseEnds if !state.is_leased_by_the_living() => Some(4),
            Action::Look(r) if self.after(state, Action::Look(r)) != *state => Some(5),
            Action::Lease(_) => Some(6),
            _ => None,
        };
        possible
            .iter()
            .filter_map(|action| Some((rank(action)?, *action)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, action)| action)
    }

    /// Whether a commit can succeed now that satisfies `what`. The arguments of `what` are the replica, the number of presentations in
    /// its intent, and the actual number.
    pub fn commits(&self, state: &State<N>, what: impl Fn(&Replica, u8, u8) -> bool) -> bool {
        state.replicas.iter().enumerate().any(|(r, replica)| {
            let Phase::Answered { before, answer: Answer::Issued(token) } = replica.phase else { return false };
            what(replica, self.announced(before).presented, state.books.ambiguous)
                && state.stored.token == before.token
                && self.after(state, Action::Record(r, Store::Answers)).stored.token == token
        })
    }
}

impl<const N: usize> Protocol<N> {
    /// Whether a commit can succeed now that replaces another token than the presented one. `what` is asked about the presented grant.
    pub fn commits_over_another(&self, state: &State<N>, what: impl Fn(Grant) -> bool) -> bool {
        state.replicas.iter().enumerate().any(|(r, replica)| {
            let Phase::Answered { before, answer: Answer::Issued(token) } = replica.phase else { return false };
            what(before)
                && state.stored.token != before.token
                && self.after(state, Action::Record(r, Store::Answers)).stored.token == token
        })
    }
}

impl Replica {
    /// Whether it has something to store, or may soon have.
    fn has_news(&self) -> bool {
        self.memory.unpersisted.is_some() || matches!(self.phase, Phase::Called { .. } | Phase::Answered { .. })
    }
}
