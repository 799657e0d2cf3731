//! The protocol: which steps there are, and which are possible.
//!
//! A step is what happens between two points at which anything else may come between: one operation of the store, one arrival at
//! the server. Where two operations of a process follow each other and the second one's place among the others' steps makes no
//! difference, they are one step (lease and load; a write and giving the lease back).

use stateright::{Model, Property};

use crate::mutation::Mutation;
use crate::state::{
    FIRST, Faults, Gift, Issued, Person, Phase, Record, Replica, STORED, Server, State, Status, Step, Store,
};

/// What is checked, and how far.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub replicas: usize,
    pub server: ServerKind,
    /// `oauth.ambiguous_retry`: after how many unclear presentations there is no other (`None`: until it is clear).
    pub policy: Option<u8>,
    /// Whether the configuration has a first refresh token, which the store does not know.
    pub first: bool,
    pub faults: Faults,
    /// No rotation begins once the server has issued so many refresh tokens, those that it began with included.
    pub tokens: usize,
    pub mutation: Option<Mutation>,
}

/// How the authorization server treats a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// Each is good for one presentation; a second one is refused, and its successor stays alive (league/oauth2-server).
    League,
    /// The same, but two presentations that arrive together may both be accepted.
    LeagueRacing,
    /// A second presentation ends the family (RFC 9700 §4.14.2).
    Strict,
    /// It stays good, and no other is issued (RFC 6749 §6).
    Keeping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A rotation begins.
    Begin(usize),
    /// Its next step.
    Step(usize),
    /// Its next step, in which the store fails. `applied`: not before it has done what was asked.
    StepFails {
        who: usize,
        applied: bool,
    },
    /// It is too late to call: nothing is sent.
    TooLate(usize),
    /// The request arrives and is answered.
    Arrive(usize),
    /// The same, and the server had not yet seen another one with the same token.
    ArriveTogether(usize),
    /// The server says clearly: not now.
    Busy(usize),
    /// No answer comes in time; the request is still on its way.
    TimeOut(usize),
    /// Loads what the watch has told of.
    Look(usize),
    LookFails(usize),
    /// Tries the failed commit again.
    Persist(usize),
    PersistFails {
        who: usize,
        applied: bool,
    },
    Crash(usize),
    Restart(usize),
    /// And the store can't be read.
    RestartBlind(usize),
    OrphanArrives(usize),
    OrphanArrivesTogether(usize),
    /// Time passes, and with it some of the lease.
    Tick,
    /// The lease ends while its holder stands still in the midst of a rotation, and comes back later.
    Lapse,
    LogIn(GiftKind),
    Import,
    ImportFails {
        applied: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiftKind {
    Pair,
    Bare,
    Again,
}

// === impl Protocol ===

impl Protocol {
    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn initial(&self) -> State {
        let record =
            Record { generation: 1, refresh: STORED, access: 1, intent: None, needs_login: false, taken: false };
        let token =
            |family| Issued { status: Status::Live, family, from: None, unclear: 0, lost: false, given_again: false };
        State {
            store: Store { record, lease: None },
            server: Server { tokens: vec![token(STORED), token(FIRST)], access: 1, orphans: Vec::new() },
            replicas: vec![Replica::starting(record); self.replicas],
            person: Person::Away,
            faults: self.faults,
            broken: None,
        }
    }

    fn possible(&self, state: &State, who: usize, actions: &mut Vec<Action>) {
        let replica = &state.replicas[who];
        let Faults { any, crashes, timeouts, busy, store, .. } = state.faults;
        let may = |left: u8| any > 0 && left > 0;
        if replica.step == Step::Down {
            actions.push(Action::Restart(who));
            if may(store) {
                actions.push(Action::RestartBlind(who));
            }
            return;
        }
        if may(crashes) {
            actions.push(Action::Crash(who));
        }
        if replica.news {
            actions.push(Action::Look(who));
            if may(store) {
                actions.push(Action::LookFails(who));
            }
        }
        if replica.unpersisted.is_some() && !matches!(replica.step, Step::Ended(_)) {
            actions.push(Action::Persist(who));
            if may(store) {
                actions.extend([true, false].map(|applied| Action::PersistFails { who, applied }));
            }
        }
        let fails = [true, false].map(|applied| Action::StepFails { who, applied });
        match &replica.step {
            Step::Down => {}
            Step::Idle => {
                let unpersisted = replica.unpersisted.is_some() && !self.is(Mutation::PresentsWhileUnpersisted);
                if !unpersisted && state.server.tokens.len() < self.tokens {
                    actions.push(Action::Begin(who));
                }
            }
            Step::Leasing(known) => {
                if self.can_lease(state) || known.is_some_and(|known| state.store.record.generation > known.generation)
                {
                    actions.push(Action::Step(who));
                }
                if self.can_lease(state) && may(store) {
                    actions.extend(fails);
                }
            }
            Step::Loaded(_) | Step::GivingUp(_) | Step::Answered(..) => {
                actions.push(Action::Step(who));
                if may(store) {
                    actions.extend(fails);
                }
            }
            Step::Intended(_) => match self.may_call(state, replica) {
                true => actions.push(Action::Step(who)),
                false => actions.push(Action::TooLate(who)),
            },
            Step::Calling { raced, attempt, .. } => {
                actions.push(Action::Arrive(who));
                if *raced && !state.is_live(attempt.token) {
                    actions.push(Action::ArriveTogether(who));
                }
                if may(busy) {
                    actions.push(Action::Busy(who));
                }
                if may(timeouts) {
                    actions.push(Action::TimeOut(who));
                }
            }
            Step::Ended(_) => actions.push(Action::Step(who)),
        }
    }

    pub fn can_lease(&self, state: &State) -> bool {
        state.store.lease.is_none() || self.is(Mutation::NoLease)
    }

    /// The check that is made before the bytes leave.
    fn may_call(&self, state: &State, replica: &Replica) -> bool {
        let ample = replica.holds && state.store.lease == Some(Phase::Ample);
        let any = replica.holds && self.is(Mutation::LeaseShorterThanCall);
        ample || any || self.is(Mutation::RemainingLeaseNotChecked) || self.is(Mutation::NoLease)
    }

    /// A lease outlasts its holder's rotation, unless the process stands still. Not that of a call that began too late for it.
    fn may_end(&self, state: &State) -> bool {
        let busy = |replica: &Replica| {
            replica.holds && !matches!(replica.step, Step::Idle | Step::Ended(_) | Step::Calling { ample: false, .. })
        };
        !state.replicas.iter().any(busy) && !matches!(state.person, Person::Holding { holds: true, .. })
    }

    fn may_tick(&self, state: &State) -> bool {
        match state.store.lease {
            None => false,
            Some(Phase::Ample) => true,
            Some(Phase::Short) => self.may_end(state),
        }
    }

    /// What comes next where nothing goes wrong.
    pub fn next_without_faults(&self, state: &State) -> Option<Action> {
        let of = |(who, replica): (usize, &Replica)| match &replica.step {
            Step::Down => Some(Action::Restart(who)),
            Step::Calling { .. } => Some(Action::Arrive(who)),
            Step::Intended(_) if !self.may_call(state, replica) => Some(Action::TooLate(who)),
            Step::Loaded(_) | Step::GivingUp(_) | Step::Answered(..) | Step::Intended(_) | Step::Ended(_) => {
                Some(Action::Step(who))
            }
            Step::Leasing(known)
                if self.can_lease(state)
                    || known.is_some_and(|known| state.store.record.generation > known.generation) =>
            {
                Some(Action::Step(who))
            }
            Step::Leasing(_) | Step::Idle if replica.unpersisted.is_some() => Some(Action::Persist(who)),
            Step::Leasing(_) | Step::Idle if replica.news => Some(Action::Look(who)),
            // Without a token a refresh is due at once.
            Step::Idle if replica.record.is_none() && !replica.resting => Some(Action::Begin(who)),
            Step::Leasing(_) | Step::Idle => None,
        };
        let replicas = || state.replicas.iter().enumerate();
        let import = match state.person {
            Person::Away => None,
            Person::Waiting(_) => self.can_import(state).then_some(Action::Import),
            Person::Holding { .. } => Some(Action::Import),
        };
        let waiting =
            state.person != Person::Away || replicas().any(|(_, replica)| matches!(replica.step, Step::Leasing(_)));
        replicas().find_map(of).or(import).or_else(|| (waiting && self.may_tick(state)).then_some(Action::Tick))
    }

    pub fn apply(&self, state: &mut State, action: Action) {
        state.pay(action);
        match action {
            Action::Begin(who) => self.begin(state, who),
            Action::Step(who) => self.step(state, who, Ok(())),
            Action::StepFails { who, applied } => self.step(state, who, Err(applied)),
            Action::TooLate(who) => self.too_late(state, who),
            Action::Arrive(who) => self.arrive(state, who, false),
            Action::ArriveTogether(who) => self.arrive(state, who, true),
            Action::Busy(who) => self.busy(state, who),
            Action::TimeOut(who) => self.time_out(state, who),
            Action::Look(who) => self.look(state, who, true),
            Action::LookFails(who) => self.look(state, who, false),
            Action::Persist(who) => self.persist(state, who, Ok(())),
            Action::PersistFails { who, applied } => self.persist(state, who, Err(applied)),
            Action::Crash(who) => self.crash(state, who),
            Action::Restart(who) => self.restart(state, who, true),
            Action::RestartBlind(who) => self.restart(state, who, false),
            Action::OrphanArrives(which) => self.orphan_arrives(state, which, false),
            Action::OrphanArrivesTogether(which) => self.orphan_arrives(state, which, true),
            Action::Tick => match state.store.lease {
                Some(Phase::Ample) => state.store.lease = Some(Phase::Short),
                _ => state.expire(),
            },
            Action::Lapse => {
                for replica in state.replicas.iter_mut().filter(|replica| replica.holds) {
                    if let Step::Calling { paused, .. } = &mut replica.step {
                        *paused = true;
                    }
                }
                state.expire();
            }
            Action::LogIn(kind) => self.log_in(state, kind),
            Action::Import => self.import(state, Ok(())),
            Action::ImportFails { applied } => self.import(state, Err(applied)),
        }
        state.judge();
        state.replicas.sort_unstable();
    }
}

// === impl State ===

impl State {
    fn pay(&mut self, action: Action) {
        let Faults { any, crashes, timeouts, busy, store, pauses, logins } = &mut self.faults;
        let fault = match action {
            Action::Crash(_) => crashes,
            Action::TimeOut(_) => timeouts,
            Action::Busy(_) => busy,
            Action::StepFails { .. } | Action::LookFails(_) | Action::PersistFails { .. } => store,
            Action::RestartBlind(_) | Action::ImportFails { .. } => store,
            Action::Lapse => pauses,
            Action::LogIn(_) => logins,
            _ => return,
        };
        *fault -= 1;
        *any -= 1;
    }
}

// === impl Model for Protocol ===

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        for who in 0..state.replicas.len() {
            // Two that are alike have alike futures.
            if who == 0 || state.replicas[who] != state.replicas[who - 1] {
                self.possible(state, who, actions);
            }
        }
        for (which, orphan) in state.server.orphans.iter().enumerate() {
            actions.push(Action::OrphanArrives(which));
            if orphan.raced && !state.is_live(orphan.token) {
                actions.push(Action::OrphanArrivesTogether(which));
            }
        }
        if self.may_tick(state) {
            actions.push(Action::Tick);
        }
        let Faults { any, store, pauses, logins, .. } = state.faults;
        if any > 0 && pauses > 0 && state.store.lease == Some(Phase::Short) && !self.may_end(state) {
            actions.push(Action::Lapse);
        }
        match state.person {
            Person::Away if any > 0 && logins > 0 => {
                actions.extend([GiftKind::Pair, GiftKind::Bare, GiftKind::Again].map(Action::LogIn));
            }
            Person::Away => {}
            Person::Waiting(_) if self.can_import(state) => actions.push(Action::Import),
            Person::Waiting(_) => {}
            Person::Holding { .. } => {
                actions.push(Action::Import);
                if any > 0 && store > 0 {
                    actions.extend([true, false].map(|applied| Action::ImportFails { applied }));
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.apply(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("invariants", |_, state: &State| state.broken.is_none()),
            Property::always("settles", |protocol: &Self, state: &State| {
                state.broken.is_some() || protocol.settles(state)
            }),
        ]
    }
}

// === impl Gift ===

impl Gift {
    /// The record that an import puts in the place of `seen`.
    pub fn after(self, seen: &Record) -> Record {
        let before = Record { intent: None, needs_login: false, ..*seen };
        match self {
            Self::Pair { refresh, access } => Record { generation: seen.generation + 1, refresh, access, ..before },
            Self::Bare(refresh) => Record { refresh, ..before },
            Self::Again => before,
        }
    }
}
