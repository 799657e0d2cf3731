//! What must hold in every state, and what must be reachable.

use bearer_proxy::internals::config::AmbiguousRetry;
use stateright::{Model, Property};

use crate::actions::{Action, Store};
use crate::decisions::GENERATIONS;
use crate::protocol::{Backups, Protocol, Reuse};
use crate::state::{Answer, Lineage, Memory, Phase, State, only};

type Condition<const N: usize> = fn(&Protocol<N>, &State<N>) -> bool;

/// Possible with a server that revokes families, unless the policy is `never`.
pub const KILLED: &str = "a peer's presentation kills a successor that a living process has";
pub const NOT_KILLED: &str = "no successor is killed";

/// A property that always holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// A refresh token that was replaced in the store, or that the process itself has replaced, is never presented again. One race
    /// remains, which [`possible`] names.
    SpentIsSpent,
    /// Before a presentation, the store has acknowledged an intent. The intent counts this presentation and each earlier ambiguous
    /// one.
    Announced,
    /// During a call, no other process presents its token, unless the caller was suspended beyond its lease.
    OneAtATime,
    /// A write replaces only what its writer has seen, and generations never decrease. No commit and no note replaces a successor or an
    /// imported grant, and no import replaces a successor.
    NeverBack,
    /// Until the grant is over, the stored intent counts at least the ambiguous presentations.
    Counted,
    /// A successor that reached a live process is stored, or that process keeps it and retries, or a person's grant replaced it. A store
    /// that is set back loses no live token that a live process knows.
    NothingIsLost,
    /// A process uses only tokens that were stored, or whose write the store did not acknowledge.
    StoredBeforeUsed,
    /// The store and the processes call a grant over only if the server would refuse it.
    OverIsOver,
    /// From every state, once nothing fails, the world reaches a new generation, the grant is over, or the policy forbids another
    /// attempt.
    ProgressIsMade,
}

use Invariant::*;

pub const ALL: [Invariant; 9] = [
    SpentIsSpent,
    Announced,
    OneAtATime,
    NeverBack,
    Counted,
    NothingIsLost,
    StoredBeforeUsed,
    OverIsOver,
    ProgressIsMade,
];

// === impl Invariant ===

impl Invariant {
    pub fn bit(self) -> u8 {
        1 << self as u8
    }

    pub fn name(self) -> &'static str {
        match self {
            SpentIsSpent => "a spent token is not presented",
            Announced => "a presentation is announced, and counted",
            OneAtATime => "one call at a time",
            NeverBack => "the store never goes back",
            Counted => "the store knows of each unclear call",
            NothingIsLost => "an issued successor is not lost",
            StoredBeforeUsed => "a token is stored before use",
            OverIsOver => "a grant that is called over is over",
            ProgressIsMade => "progress is made",
        }
    }

    fn property<const N: usize>(self) -> Property<Protocol<N>> {
        let intact: Condition<N> = match self {
            SpentIsSpent => |_, s| s.books.broken & SpentIsSpent.bit() == 0,
            Announced => |_, s| s.books.broken & Announced.bit() == 0,
            OneAtATime => |_, s| s.books.broken & OneAtATime.bit() == 0,
            NeverBack => |_, s| s.books.broken & NeverBack.bit() == 0,
            Counted => |_, s| s.books.broken & Counted.bit() == 0,
            NothingIsLost => |_, s| s.books.broken & NothingIsLost.bit() == 0,
            StoredBeforeUsed => |_, s| s.books.broken & StoredBeforeUsed.bit() == 0,
            OverIsOver => |_, s| s.books.broken & OverIsOver.bit() == 0,
            ProgressIsMade => |protocol, s| s.books.broken != 0 || protocol.makes_progress(s),
        };
        Property::always(self.name(), intact)
    }
}

/// The invariants that a state breaks. A step notes what only a step can break.
pub fn broken<const N: usize>(s: &State<N>) -> u8 {
    let owed = |token| s.books.owed & only(token) != 0;
    let memories = || s.replicas.iter().map(|replica| replica.memory);
    let known = || memories().filter_map(|memory| memory.known);
    let unstored = |memory: Memory| memory.unpersisted.is_none() && memory.known.is_some_and(|known| owed(known.token));
    let rows = [
        (Counted, !s.stored.needs_login && s.stored.presented < s.books.ambiguous),
        (NothingIsLost, s.books.owed & !s.recoverable() != 0 || s.books.set_back & !s.known() != 0),
        (StoredBeforeUsed, s.books.owed != 0 && memories().any(unstored)),
        (OverIsOver, known().chain([s.stored]).any(|grant| grant.needs_login && s.is_live(grant.token))),
    ];
    rows.into_iter().filter(|(_, broken)| *broken).fold(0, |bits, (invariant, _)| bits | invariant.bit())
}

/// The states that must be reachable. They rule out vacuous success.
pub fn possible<const N: usize>(protocol: &Protocol<N>) -> Vec<(&'static str, Condition<N>)> {
    let mut possible: Vec<(_, Condition<N>)> = vec![
        ("a token is rotated", |_, s| s.stored.generation > 0 && !s.is_imported(s.stored.token)),
        ("a late answer is stored", |protocol, s| protocol.commits(s, |replica, _, _| !replica.holds && s.leased)),
        ("a pair that a killed process wrote is stored by another", |protocol, s| {
            s.temporary
                .is_some_and(|written| (0..N).any(|r| protocol.after(s, Action::Look(r)).stored.token == written.token))
        }),
        ("what could not be stored is stored later", |protocol, s| {
            (0..N).any(|r| {
                let next = protocol.after(s, Action::Persist(r, Store::Answers));
                s.replicas[r].phase == Phase::Idle && next.stored.generation > s.stored.generation
            })
        }),
    ];
    if protocol.tokens > 1 {
        possible.push(("an imported grant is rotated", |_, s| {
            s.is_imported(s.stored.token) && s.books.imported.count_ones() > 1
        }));
        possible.push(("an import takes the place of an answer on its way", |_, s| {
            let replaced = |token| !s.is_imported(token) && s.is_imported(s.stored.token);
            let answered = |phase| matches!(phase, Phase::Answered { answer: Answer::Issued(t), .. } if replaced(t));
            s.replicas.iter().any(|replica| answered(replica.phase))
        }));
    }
    if protocol.backups != Backups::None {
        possible.extend(after_a_store_was_set_back());
    }
    if protocol.ambiguous_retry != AmbiguousRetry::UntilClear {
        possible.push(("the policy forbids another try", |protocol, s| {
            !s.stored.needs_login && protocol.decisions.plan(s.stored).is_none()
        }));
    }
    if protocol.ambiguous_retry != AmbiguousRetry::Never {
        possible.extend(after_an_unclear_call());
        // A loss outside of the window, by the server's choice.
        possible.extend((protocol.reuse == Reuse::Revokes).then_some((KILLED, kills as Condition<N>)));
    }
    possible
}

/// The reachable states if a token may be presented again.
fn after_an_unclear_call<const N: usize>() -> [(&'static str, Condition<N>); 4] {
    [
        ("the grant is over", |_, s| s.stored.needs_login),
        ("who finds the intent of one that died before its call succeeds", |protocol, s| {
            protocol.commits(s, |_, announced, ambiguous| announced >= 2 && ambiguous == 1)
        }),
        ("who finds the intent of a lost request succeeds", |protocol, s| {
            protocol.commits(s, |_, announced, ambiguous| announced == 2 && ambiguous == 2)
        }),
        // The remaining race. Between the intent and the call of the present holder, the result of an earlier holder is stored. That
        // result arrived after the end of its lease, or the store had failed to store it.
        ("a holder is overtaken by an earlier one's answer", |_, s| {
            let overtaken = |phase| matches!(phase, Phase::Intended { overtaken: true, .. });
            s.replicas.iter().any(|replica| replica.holds && overtaken(replica.phase))
        }),
    ]
}

/// The reachable states if the store can be set back.
fn after_a_store_was_set_back<const N: usize>() -> [(&'static str, Condition<N>); 3] {
    [
        ("a live token that the store has lost is stored again", |protocol, s| {
            (0..N).any(|r| {
                let known = s.replicas[r].memory.known.filter(|known| s.books.set_back & only(known.token) != 0);
                let next = protocol.after(s, Action::Persist(r, Store::Answers));
                s.replicas[r].phase == Phase::Idle && known.is_some_and(|known| next.stored.token == known.token)
            })
        }),
        ("an answer is stored over an older state than it was asked with", |protocol, s| {
            protocol.commits_over_another(s, |before| s.stored.generation < before.generation)
        }),
        ("an older grant is in the place of one that was refused", |_, s| s.stored.lineage == Lineage::Restored),
    ]
}

/// Whether a presentation has killed a successor that a live process has.
fn kills<const N: usize>(_: &Protocol<N>, s: &State<N>) -> bool {
    s.books.owed & !s.server.live != 0
}

// === impl Protocol ===

impl<const N: usize> Model for Protocol<N> {
    type State = State<N>;
    type Action = Action;

    fn init_states(&self) -> Vec<Self::State> {
        let initial = State::initial();
        let backup = (self.backups == Backups::First).then_some(initial.stored);
        vec![State { backup, ..initial }]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        if state.books.broken == 0 {
            self.possible(state, actions);
        }
    }

    fn next_state(&self, state: &Self::State, action: Self::Action) -> Option<Self::State> {
        Some(self.after(state, action)).filter(|next| next != state)
    }

    fn within_boundary(&self, state: &Self::State) -> bool {
        // After a mutation has broken an invariant, generations may grow without end, and later states show nothing. One step adds
        // one generation.
        let is_finite = self.mutation.is_none() || state.last_generation() + 1 < GENERATIONS;
        state.server.issued <= self.tokens + 1 && is_finite
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<_> = ALL.into_iter().map(Invariant::property).collect();
        properties.push(Property::always(NOT_KILLED, |protocol, s| !kills(protocol, s)));
        if self.mutation.is_none() {
            properties.extend(possible(self).into_iter().map(|(name, condition)| Property::sometimes(name, condition)));
        }
        properties
    }
}
