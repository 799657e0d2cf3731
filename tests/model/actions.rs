//! The possible steps, and when each is possible.

use crate::mutations::Mutation;
use crate::protocol::Protocol;
use crate::state::{Answer, Person, Phase, State, Token, only};

/// One step. A replica is named by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Takes the lease.
    Lease(usize),
    /// Reads the store and decides. `expired`: the access token of a grant that is new to it has expired.
    Load { replica: usize, expired: bool },
    /// Writes the intent.
    Intend(usize, Store),
    /// Presents the token, if the lease covers a call.
    Call(usize),
    /// The server and the network act, and the replica learns the result as far as possible.
    Serve(usize, Serving),
    /// Writes the result of the call.
    Record(usize, Store),
    /// Gives the lease back.
    Release(usize),
    /// Ends its rotation, and the store does not notice.
    FailToRelease(usize),
    /// Reads the store between rotations: at its start, or after a change.
    Look(usize),
    /// Retries a failed commit.
    Persist(usize, Store),
    /// Is killed, and started again.
    Crash(usize),
    /// Is killed after it wrote the new pair and before it renamed the file. It is started again.
    CrashBeforeRename(usize),
    /// The bytes of an abandoned call reach the server later.
    DeliverLate(Token),
    /// The task of the refresher dies and is started again in the same process.
    Restart(usize),
    /// The task of a rotation dies after the response and before its write.
    RotationDies(usize),
    /// The lease expires, whoever holds it.
    LeaseEnds,
    /// `import` takes the lease and reads the store.
    ImportReads,
    /// `import` writes. `bare`: a refresh token without an access token.
    ImportWrites { bare: bool },
    /// The store is set back to that copy.
    Restore,
    /// The step of a mutation: the new token is used before it is stored.
    Publish(usize),
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Answers,
    /// The store made the write, and its answer was lost.
    LosesTheAnswer,
    Fails,
}

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    Answered,
    /// A response with a successor and an error in the rest: no usable access token, or another type.
    OddlyAnswered,
    /// The response was lost after the server spent the token, or was a 5xx.
    AnswerLost,
    /// The request was lost before the server spent the token, or the response was a 5xx.
    RequestLost,
    /// No connection, 429, or a wrong client secret. Nothing was spent.
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
            // Two replicas in the same state have the same future.
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
