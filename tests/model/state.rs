//! What the world is made of: a store, an authorization server, the processes, and a person.
//!
//! Small numbers stand for tokens, and everything is `Copy` or nearly so: a state is cloned millions of times. Fencing numbers are
//! not counted, since a count has no end: that a process has the present one is a mark on the process.

use crate::judge::Invariant;

/// A refresh token: its place in [`Server::tokens`].
pub type Token = u8;

/// The grant that the store begins with.
pub const STORED: Token = 0;

/// The first refresh token of the configuration.
pub const FIRST: Token = 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub store: Store,
    pub server: Server,
    /// In order, not by name: two states that differ in who is who alone are one.
    pub replicas: Vec<Replica>,
    pub person: Person,
    /// What may still go wrong.
    pub faults: Faults,
    /// The first invariant that was broken; nothing follows it.
    pub broken: Option<Invariant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    pub record: Record,
    /// `None`: free.
    pub lease: Option<Phase>,
}

/// How much of a lease is left, by a clock that runs as fast as the holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// More than a call takes.
    Ample,
    /// Less than a call takes.
    Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    pub generation: u8,
    pub refresh: Token,
    pub access: u8,
    pub intent: Option<Intent>,
    pub needs_login: bool,
    /// Whether the configuration's first token was taken.
    pub taken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Intent {
    pub token: Token,
    pub presented: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    pub generation: u8,
    pub refresh: Token,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub tokens: Vec<Issued>,
    /// The number of the last access token.
    pub access: u8,
    /// Requests on their way whose sender no longer waits; they may arrive at any time, or never.
    pub orphans: Vec<Orphan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Issued {
    pub status: Status,
    pub family: u8,
    /// The token that was presented for it.
    pub from: Option<Token>,
    /// How many presentations of it had no clear answer yet. Known to the judge alone, as is what follows.
    pub unclear: u8,
    /// Nobody heard its successor, or who heard it died.
    pub lost: bool,
    /// A person gave it again, and so took it upon himself that it may be spent.
    pub given_again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Live,
    Spent,
    /// With its family, by a server that takes a second presentation for a theft (RFC 9700 §4.14.2).
    Revoked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Orphan {
    pub token: Token,
    pub raced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    pub step: Step,
    /// What the process knows of the grant.
    pub record: Option<Record>,
    /// What requests run on: generation and access token.
    pub live: Option<(u8, u8)>,
    /// The commit that failed, to be tried again: what it expects.
    pub unpersisted: Option<Version>,
    /// Asks nobody until a person or a change of the store ends it.
    pub resting: bool,
    /// The watch has something to tell.
    pub news: bool,
    /// Its fencing number is the present one.
    pub holds: bool,
    /// The store was looked at since the rotation began.
    pub looked: bool,
    /// Since its intent, a process whose lease had run out has stored an outcome. Known to the judge alone.
    pub overtaken: bool,
}

/// Where a rotation is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The process does not run.
    Down,
    Idle,
    Leasing(Option<Version>),
    /// Leased and loaded: about to write the intent.
    Loaded(Attempt),
    /// About to note that only a login helps, without asking anybody.
    GivingUp(Record),
    /// The intent is stored: about to call.
    Intended(Attempt),
    /// The request is on its way.
    Calling {
        attempt: Attempt,
        /// The process stood still, and its lease has ended.
        paused: bool,
        /// The lease was ample when the call began.
        ample: bool,
        /// The server looked at this request while it accepted another one with the same token.
        raced: bool,
    },
    Answered(Attempt, Answer),
    /// The lease is given back; the refresher has not yet been told.
    Ended(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    /// What the store held when it was loaded.
    pub before: Record,
    pub token: Token,
    pub unclear: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    Issued {
        refresh: Token,
        access: u8,
    },
    /// Nothing was sent, or a clear "not now".
    Transient,
    Ambiguous,
    Rejected,
}

/// What a rotation tells the refresher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Renewed { record: Record, unpersisted: Option<Version> },
    Adopted(Record),
    Failed { rejected: bool, record: Option<Record> },
}

/// Who imports a grant while the processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Person {
    Away,
    Waiting(Gift),
    /// Leased and loaded: about to write.
    Holding {
        gift: Gift,
        seen: Record,
        holds: bool,
    },
}

/// What a person has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gift {
    Pair {
        refresh: Token,
        access: u8,
    },
    /// A refresh token alone.
    Bare(Token),
    /// The refresh token that the store has already.
    Again,
}

/// How often what may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// All of the following together.
    pub any: u8,
    pub crashes: u8,
    /// Calls that end without an answer, while the request is still on its way.
    pub timeouts: u8,
    /// Clear answers of "not now".
    pub busy: u8,
    /// Operations of the store that fail, or seem to.
    pub store: u8,
    /// Processes that stand still for longer than their lease.
    pub pauses: u8,
    pub logins: u8,
}

// === impl Record ===

impl Record {
    pub fn version(&self) -> Version {
        Version { generation: self.generation, refresh: self.refresh }
    }

    /// How often `token` was presented without a clear answer, as far as is recorded.
    pub fn unclear(&self, token: Token) -> u8 {
        self.intent.filter(|intent| intent.token == token).map_or(0, |intent| intent.presented)
    }
}

// === impl Attempt ===

impl Attempt {
    /// The record with the intent.
    pub fn announced(&self) -> Record {
        Record { intent: Some(Intent { token: self.token, presented: self.unclear + 1 }), ..self.before }
    }
}

// === impl Replica ===

impl Replica {
    pub fn starting(record: Record) -> Self {
        Self {
            step: Step::Idle,
            record: Some(record),
            live: Some((record.generation, record.access)),
            unpersisted: None,
            resting: false,
            news: false,
            holds: false,
            looked: false,
            overtaken: false,
        }
    }

    /// The refresh token that this process alone knows, since it is not stored.
    pub fn unstored(&self) -> Option<Token> {
        match (&self.step, self.unpersisted, &self.record) {
            (Step::Answered(_, Answer::Issued { refresh, .. }), ..) => Some(*refresh),
            (Step::Ended(Outcome::Renewed { record, unpersisted: Some(_) }), ..) => Some(record.refresh),
            (_, Some(_), Some(record)) => Some(record.refresh),
            _ => None,
        }
    }
}

// === impl State ===

impl State {
    pub fn is_live(&self, token: Token) -> bool {
        self.server.tokens[usize::from(token)].status == Status::Live
    }

    pub fn issued(&mut self, token: Token) -> &mut Issued {
        &mut self.server.tokens[usize::from(token)]
    }

    /// Frees the lease, if this process still has it.
    pub fn release(&mut self, who: usize) {
        if std::mem::take(&mut self.replicas[who].holds) {
            self.store.lease = None;
        }
    }

    /// Everybody's numbers are old from now on.
    pub fn expire(&mut self) {
        self.store.lease = None;
        self.replicas.iter_mut().for_each(|replica| replica.holds = false);
        if let Person::Holding { holds, .. } = &mut self.person {
            *holds = false;
        }
    }
}
