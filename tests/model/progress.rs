//! What comes of a state once nothing fails any more and everybody runs.

use crate::actions::{Action, Serving, Store};
use crate::protocol::Protocol;
use crate::state::{Answer, Grant, Phase, Replica, State};

/// Enough for every replica's rotation, and for the end of a dead holder's lease.
const STEPS: usize = 40;

impl<const N: usize> Protocol<N> {
    /// Whether good weather leads to a new generation, or to the end of what can be done without a person.
    pub fn good_weather(&self, from: &State<N>) -> bool {
        let mut good = self.good.lock().unwrap();
        let mut passed = vec![*from];
        while let Some(state) = passed.last().filter(|_| passed.len() < STEPS) {
            let hopeless = self.decisions.plan(state.stored).is_none() && !state.replicas.iter().any(Replica::has_news);
            let renewed = state.stored.generation > from.stored.generation;
            if renewed || hopeless || good.contains(state) {
                // What is true of this one is true of all before it; of itself, if it is not the first of a new generation.
                passed.truncate(passed.len() - usize::from(renewed));
                good.extend(passed);
                return true;
            }
            let mut possible = Vec::new();
            self.possible(state, &mut possible);
            let Some(action) = self.next_in_good_weather(state, &possible) else { return false };
            passed.push(self.after(state, action));
        }
        false
    }

    fn next_in_good_weather(&self, state: &State<N>, possible: &[Action]) -> Option<Action> {
        // Who is on the way comes before who would begin, and what is in memory before what is asked for.
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

    /// Whether a commit is at hand that succeeds, and of which `what` holds: of the replica, of how often its intent says that
    /// the token was presented, and of how often it was.
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
    /// Whether an answer is at hand that replaces another token than the presented one, which `what` holds of.
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
    /// It has something for the store, or may come to have.
    fn has_news(&self) -> bool {
        self.memory.unpersisted.is_some() || matches!(self.phase, Phase::Called { .. } | Phase::Answered { .. })
    }
}
