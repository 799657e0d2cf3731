//! What can happen, and when.

use crate::mutations::Mutation;
use crate::protocol::{Backups, Protocol};
use crate::state::{Answer, Person, Phase, State, Token, only};

/// One step of one of them. A replica is named by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Takes the lease.
    Lease(usize),
    /// Reads the store and decides; `expired`: the access token of a grant that is new to it is of no use any more.
    Load { replica: usize, expired: bool },
    /// Writes the intent.
    Intend(usize, Store),
    /// Presents the token, if there is time.
    Call(usize),
    /// Server and network do their part, and the replica learns of it what it can.
    Serve(usize, Serving),
    /// Writes what came of the call.
    Record(usize, Store),
    /// Gives the lease back.
    Release(usize),
    /// Ends its rotation without the store's having noticed.
    FailToRelease(usize),
    /// Sees what the store holds, unasked: at its start, or after a change.
    Look(usize),
    /// Tries a commit again that failed.
    Persist(usize, Store),
    /// Is killed, and started again.
    Crash(usize),
    /// Is killed after it wrote the new pair, and before it gave it the document's name. It is started again.
    CrashBeforeRename(usize),
    /// The bytes of an abandoned call reach the server after all.
    DeliverLate(Token),
    /// The task that runs the refresher dies, and is started again in the same process.
    Restart(usize),
    /// The task of a rotation dies after the answer, before anything is written.
    RotationDies(usize),
    /// The lease runs out, whoever has it.
    LeaseEnds,
    /// `import` takes the lease and reads the store.
    ImportReads,
    /// `import` writes; `bare`: a refresh token without an access token.
    ImportWrites { bare: bool },
    /// A copy of what is stored is made.
    BackUp,
    /// The store is set back to that copy.
    Restore,
    /// A mutation's own step: the new token is used before it is stored.
    Publish(usize),
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Answers,
    /// It did what it would have answered.
    LosesTheAnswer,
    Fails,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    Answered,
    /// Answered with a successor, and with something that is wrong with the rest: no usable access token, another type.
    OddlyAnswered,
    /// Also a 5xx after the server has spent the token.
    AnswerLost,
    /// Also a 5xx before that.
    RequestLost,
    /// No connection, 429, a client secret that is wrong: certainly nothing was spent.
    Refused,
}

const STORE: [Store; 3] = [Store::Answers, Store::LosesTheAnswer, Store::Fails];
const SERVING: [Serving; 5] =
    [Serving::Answered, Serving::OddlyAnswered, Serving::AnswerLost, Serving::RequestLost, Serving::Refused];

impl<const N: usize> Protocol<N> {
    pub fn possible(&self, state: &State<N>, actions: &mut Vec<Action>) {
        if state.leased && (state.is_leased_by_the_living() || !self.is(Mutation::ADeadHoldersLeaseNeverEnds)) {
            actions.push(Action::LeaseEnds);
        }
        match state.backup {
            None if self.backups == Backups::Any => actions.push(Action::BackUp),
            Some(backup) if backup != state.stored => actions.push(Action::Restore),
            _ => {}
        }
        // As many as a set of tokens holds.
        let undelivered = (0..8).filter(|token: &Token| state.undelivered & only(*token) != 0);
        actions.extend(undelivered.map(Action::DeliverLate));
        match state.person {
            Person::Ready if !state.leased => actions.push(Action::ImportReads),
            Person::Importing { .. } => actions.extend([true, false].map(|bare| Action::ImportWrites { bare })),
            Person::Ready | Person::Done => {}
        }
        for (place, replica) in state.replicas.iter().enumerate() {
            // Two in the same state have the same future.
            if place == 0 || *replica != state.replicas[place - 1] {
                self.possible_of(state, place, actions);
            }
        }
    }

    fn possible_of(&self, state: &State<N>, place: usize, actions: &mut Vec<Action>) {
        let replica = &state.replicas[place];
        let unpersisted = replica.memory.unpersisted.is_some();
        if replica.phase != Phase::Idle || replica.memory.known.is_some() {
            actions.push(Action::Crash(place));
        }
        if replica.memory.known.is_some() {
            actions.push(Action::Restart(place));
        }
        match replica.phase {
            Phase::Idle => {
                if !state.leased && (!unpersisted || self.is(Mutation::AnUnstoredPairIsForgottenByTheNextRotation)) {
                    actions.push(Action::Lease(place));
                }
                let needs_lease = replica.memory.renumbers() && !self.is(Mutation::ARenumberingNeedsNoLease);
                if unpersisted && !(needs_lease && state.leased) {
                    actions.extend([Store::Answers, Store::LosesTheAnswer].map(|store| Action::Persist(place, store)));
                }
                if !unpersisted {
                    actions.push(Action::Look(place));
                }
            }
            Phase::Leased => actions.extend([false, true].map(|expired| Action::Load { replica: place, expired })),
            Phase::Loaded(_) => actions.extend(STORE.map(|store| Action::Intend(place, store))),
            Phase::Intended { .. } => actions.push(Action::Call(place)),
            Phase::Called { .. } => actions.extend(SERVING.map(|serving| Action::Serve(place, serving))),
            Phase::Answered { before, answer } => {
                let writes = before.version() == state.stored.version() && state.temporary.is_none();
                if matches!(answer, Answer::Issued(_)) && writes {
                    actions.push(Action::CrashBeforeRename(place));
                }
                actions.extend(STORE.map(|store| Action::Record(place, store)));
                actions.push(Action::RotationDies(place));
                if self.is(Mutation::PublishedBeforeTheCommit) {
                    actions.push(Action::Publish(place));
                }
            }
            Phase::Ending => actions.extend([Action::Release(place), Action::FailToRelease(place)]),
        }
    }
}

impl<const N: usize> State<N> {
    pub fn is_leased_by_the_living(&self) -> bool {
        self.replicas.iter().any(|replica| replica.holds)
            || matches!(self.person, Person::Importing { holds: true, .. })
    }
}
