//! The state of the world: the store, the server, a person, the replicas, and the books of the judge.

/// The number of a refresh token. 0 is that of the first grant.
pub type Token = u8;

/// A set of refresh tokens.
pub type Tokens = u8;

/// The lineage of a grant. A model has one import, so there are two lineages, and the second has replaced the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lineage {
    #[default]
    First,
    Imported,
    /// The first lineage, which a person has restored over the imported one.
    Restored,
}

/// The part of the stored record that decides something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    pub lineage: Lineage,
    pub generation: u8,
    pub token: Token,
    /// The number of ambiguous presentations in the intent, up to [`MANY`]. 0: no intent.
    pub presented: u8,
    pub needs_login: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub lineage: Lineage,
    pub generation: u8,
    pub token: Token,
}

/// Counters stop here, so the number of states is finite.
pub const MANY: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State<const N: usize> {
    pub stored: Grant,
    /// A copy of the store. A person or a failover can restore it at any later moment.
    pub backup: Option<Grant>,
    /// The new pair of a process that was killed before the rename.
    pub temporary: Option<Grant>,
    /// A live or dead process holds the lease.
    pub leased: bool,
    pub server: Server,
    /// The tokens of abandoned calls whose bytes the kernel may still deliver. Only a mutation leaves some.
    pub undelivered: Tokens,
    pub person: Person,
    /// Sorted, because the replicas are interchangeable.
    pub replicas: [Replica; N],
    pub books: Books,
}

/// The authorization server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// The refresh tokens that it would accept.
    pub live: Tokens,
    /// The number of issued refresh tokens.
    pub issued: u8,
}

/// A person who has logged in and imports the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Person {
    /// Has a new grant to give, or not yet.
    Ready,
    /// Has read what the store holds, under the lease; `holds`: and still has it.
    Importing {
        seen: Version,
        holds: bool,
    },
    Done,
}

/// A process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    pub phase: Phase,
    /// Its lease is the present one. A store decides this by the fencing number.
    pub holds: bool,
    pub memory: Memory,
}

/// The state that a crash loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory {
    /// The newest grant that it knows, and uses. Intents left out: here a rotation may be due at any time.
    pub known: Option<Grant>,
    /// The tokens that the known one took the place of.
    pub passed: Tokens,
    /// What is known is not stored; what the store is expected to hold.
    pub unpersisted: Option<Version>,
}

/// How far its rotation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    #[default]
    Idle,
    Leased,
    Loaded(Grant),
    /// The intent is stored; `before`: what the store held.
    Intended {
        before: Grant,
        /// Meanwhile, another took the store's token away by a commit without the lease (the judge's mark).
        overtaken: bool,
    },
    /// The request has left.
    Called {
        before: Grant,
        /// The lease ended first, so the process must have been stopped (the judge's mark).
        late: bool,
    },
    /// What came of the call is known to it, and to nobody else.
    Answered {
        before: Grant,
        answer: Answer,
    },
    /// The lease is to be given back.
    Ending,
}

/// What a replica makes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    Issued(Token),
    /// Certainly nothing was spent: transient, misconfigured, or never sent.
    Nothing,
    /// Ambiguous.
    Unclear,
    /// Rejected.
    No,
}

/// What the judge knows, and none of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Books {
    /// How often the stored token was presented without a clear answer, up to [`MANY`].
    pub ambiguous: u8,
    /// Issued and answered to a living replica; neither stored since, nor lost with that process, nor replaced by a person.
    pub owed: Tokens,
    /// Stored until the store was set back, and known to a living replica.
    pub set_back: Tokens,
    /// Of the grant that a person gave, and its successors.
    pub imported: Tokens,
    /// The rules of [`super::invariants`] that a step has broken.
    pub broken: u8,
}

// === impl Lineage ===

impl Lineage {
    /// The lineage itself, without what it has replaced.
    pub fn name(self) -> Self {
        if self == Self::Imported { Self::Imported } else { Self::First }
    }
}

// === impl Grant ===

impl Grant {
    pub fn version(self) -> Version {
        Version { lineage: self.lineage.name(), generation: self.generation, token: self.token }
    }

    pub fn successor(self, token: Token) -> Self {
        Self { generation: self.generation + 1, token, presented: 0, needs_login: false, ..self }
    }
}

// === impl State ===

impl<const N: usize> State<N> {
    /// A grant is stored, and no replica has looked yet.
    pub fn initial() -> Self {
        Self {
            backup: None,
            temporary: None,
            stored: Grant { lineage: Lineage::First, generation: 0, token: 0, presented: 0, needs_login: false },
            leased: false,
            server: Server { live: only(0), issued: 1 },
            undelivered: 0,
            person: Person::Ready,
            replicas: [Replica::default(); N],
            books: Books::default(),
        }
    }

    /// What is not stored, and not lost.
    pub fn recoverable(&self) -> Tokens {
        self.held() | self.temporary.map_or(0, |temporary| only(temporary.token))
    }

    /// What a replica has where nobody else can find it.
    pub fn held(&self) -> Tokens {
        self.replicas.iter().map(Replica::holds_alone).fold(0, |all, held| all | held)
    }

    /// The highest generation that somebody knows.
    pub fn last_generation(&self) -> u8 {
        let known = self.replicas.iter().filter_map(|replica| replica.memory.known);
        known.fold(self.stored.generation, |last, known| last.max(known.generation))
    }

    /// What a living replica uses.
    pub fn known(&self) -> Tokens {
        self.replicas.iter().filter_map(|replica| replica.memory.known).fold(0, |all, known| all | only(known.token))
    }

    /// The store holds the backup again.
    pub fn restore(&mut self) {
        let Some(backup) = self.backup else { return };
        self.books.set_back |= only(self.stored.token) & self.known();
        // It belonged to what was stored until then.
        if let Some(temporary) = self.temporary.take() {
            self.books.owed &= !only(temporary.token);
        }
        self.stored = backup;
        // The judge counts anew: the store has lost what it noted.
        self.books.ambiguous = 0;
        self.overtake();
    }

    /// The store's token is another one by now, or its notes are gone: who has announced a call could not know.
    pub fn overtake(&mut self) {
        for replica in self.replicas.iter_mut().filter(|replica| replica.holds) {
            if let Phase::Intended { overtaken, .. } = &mut replica.phase {
                *overtaken = true;
            }
        }
    }

    pub fn is_imported(&self, token: Token) -> bool {
        self.books.imported & only(token) != 0
    }

    pub fn is_live(&self, token: Token) -> bool {
        self.server.live & only(token) != 0
    }

    /// `theirs` was found where `ours` was to be stored: nothing is lost if a person has wanted it so.
    pub fn gave_way(&mut self, ours: Token, theirs: Token) {
        if self.is_imported(theirs) && !self.is_imported(ours) {
            self.books.owed &= !only(ours);
        }
    }
}

// === impl Replica ===

impl Replica {
    fn holds_alone(&self) -> Tokens {
        let in_memory = self.memory.known.filter(|_| self.memory.unpersisted.is_some());
        let answered = match self.phase {
            Phase::Answered { answer: Answer::Issued(token), .. } => only(token),
            _ => 0,
        };
        in_memory.map_or(answered, |known| answered | only(known.token))
    }
}

// === impl Memory ===

impl Memory {
    /// Makes `grant` the one in use.
    pub fn adopt(&mut self, grant: Grant) {
        let grant = Grant { presented: 0, ..grant };
        if let Some(before) = self.known.replace(grant)
            && before.version() != grant.version()
        {
            self.passed |= only(before.token);
        }
    }

    /// What is not stored is the stored grant under another number, and no successor.
    pub fn renumbers(&self) -> bool {
        matches!((self.unpersisted, self.known), (Some(seen), Some(known)) if seen.token == known.token)
    }

    /// What a failed rotation says of the stored grant.
    pub fn note(&mut self, grant: Grant) {
        if self.known.is_none_or(|known| known.generation <= grant.generation) {
            self.known = Some(Grant { presented: 0, ..grant });
        }
    }
}

pub fn only(token: Token) -> Tokens {
    1 << token
}
