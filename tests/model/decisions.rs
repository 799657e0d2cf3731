//! Calls of the program's own decisions: what is presented, what a write finds, and how a stored grant relates to the known one. The model
//! has no copy of them that could differ.

use std::time::Duration;

use bearer_proxy::internals::config::AmbiguousRetry;
use bearer_proxy::internals::token::journal::{Kind, Plan, Settings, plan_stored, rebased};
use bearer_proxy::internals::token::refresher::{Reconciliation, reconcile};
use bearer_proxy::internals::token::store::{self, Binding, Expect, Intent, Meets, Record};
use bearer_proxy::internals::token::{self, Access, AccessToken, Generation, RefreshToken};

use crate::state::{Grant, Lineage, MANY, Token, Version};

/// Each record that can occur, made once: a digest for each state would take most of the time.
pub struct Decisions {
    records: Vec<Record>,
    versions: Vec<store::Version>,
    /// Of each record, how often its token was presented before without a clear answer; `None`: it is not presented.
    plans: Vec<Option<u8>>,
}

/// More tokens and generations than any model here has.
const TOKENS: u8 = 12;
pub const GENERATIONS: u8 = 10;
const LINEAGES: [Lineage; 3] = [Lineage::First, Lineage::Imported, Lineage::Restored];

impl Decisions {
    pub fn new(ambiguous_retry: AmbiguousRetry) -> Self {
        let settings = Settings {
            kind: Kind::RefreshToken { initial: None },
            binding: binding(),
            request_timeout: Duration::from_secs(30),
            ambiguous_retry,
            default_lifetime: Duration::from_secs(3600),
        };
        let records: Vec<Record> = grants().map(record).collect();
        let plan = |record: &Record| match plan_stored(&settings, Some(record)) {
            Plan::Present { token, ambiguous } => {
                assert_eq!(token, record.refresh, "what is stored is what is presented");
                Some(u8::try_from(ambiguous).unwrap().min(MANY))
            }
            Plan::NeedsLogin(_) => None,
        };
        Self {
            plans: records.iter().map(plan).collect(),
            versions: records.iter().map(Record::version).collect(),
            records,
        }
    }

    /// How often the token was presented before; `None`: only a person can help.
    pub fn plan(&self, stored: Grant) -> Option<u8> {
        self.plans[index(stored)]
    }

    pub fn meets(&self, expected: Version, present: Grant, wanted: Grant) -> Meets {
        self.expect(expected).meets(Some(&self.records[index(present)]), &self.records[index(wanted)])
    }

    /// What is to be stored where `theirs` was found in the place of what `ours` was to follow.
    pub fn rebased(&self, ours: Grant, theirs: Grant, expected: Version) -> Option<Grant> {
        let record = rebased(&self.records[index(ours)], &self.records[index(theirs)], self.expect(expected))?;
        Some(Grant { generation: record.generation.0.try_into().unwrap(), lineage: lineage(&record), ..ours })
    }

    /// Whether `stored` is older than `known`.
    pub fn is_behind(&self, stored: Grant, known: Grant) -> bool {
        self.records[index(stored)].is_behind(&self.records[index(known)])
    }

    fn expect(&self, Version { lineage, generation, token }: Version) -> Expect {
        let grant = Grant { lineage, generation, token, presented: 0, needs_login: false };
        Expect { version: Some(self.versions[index(grant)]), fence: None }
    }

    pub fn reconcile(&self, stored: Grant, known: Option<Grant>) -> Reconciliation {
        let known = known.map(|known| &self.records[index(known)]);
        reconcile(Some(&self.records[index(stored)]), known)
    }
}

fn grants() -> impl Iterator<Item = Grant> {
    let numbers = 0..LINEAGES.len() * usize::from(GENERATIONS) * usize::from(TOKENS) * usize::from(MANY + 1) * 2;
    numbers.map(|number| {
        let part = |below: usize, of: u8| u8::try_from(number / below % usize::from(of)).unwrap();
        let (tokens, counts) = (usize::from(TOKENS), usize::from(MANY + 1));
        Grant {
            needs_login: part(1, 2) == 1,
            presented: part(2, MANY + 1),
            token: part(2 * counts, TOKENS),
            generation: part(2 * counts * tokens, GENERATIONS),
            lineage: LINEAGES[number / (2 * counts * tokens * usize::from(GENERATIONS))],
        }
    })
}

/// The place of [`grants`].
fn index(grant: Grant) -> usize {
    let Grant { lineage, generation, token, presented, needs_login } = grant;
    let [generation, token, presented] = [generation, token, presented].map(usize::from);
    let generation = lineage as usize * usize::from(GENERATIONS) + generation;
    ((generation * usize::from(TOKENS) + token) * usize::from(MANY + 1) + presented) * 2 + usize::from(needs_login)
}

fn record(grant: Grant) -> Record {
    let token = refresh(grant.token);
    let intent = (grant.presented > 0).then(|| Intent {
        owner: "replica".into(),
        at: jiff::Timestamp::UNIX_EPOCH,
        fingerprint: token.fingerprint(),
        presented: grant.presented.into(),
    });
    let access = AccessToken::parse(format!("access-{}", grant.generation)).unwrap();
    let (lineage, replaced) = match grant.lineage {
        Lineage::First => (id(0), Vec::new()),
        Lineage::Imported => (id(1), vec![id(0)]),
        Lineage::Restored => (id(0), vec![id(1)]),
    };
    Record {
        lineage,
        replaced,
        generation: Generation(grant.generation.into()),
        access: Some(Access { token: access, obtained_at: jiff::Timestamp::UNIX_EPOCH, expires_at: None }),
        refresh: Some(token),
        intent,
        needs_login: grant.needs_login.then(|| "refused".into()),
        ..Record::empty(binding())
    }
}

fn id(number: u8) -> token::Lineage {
    token::Lineage::try_from(format!("{number:032x}")).unwrap()
}

fn lineage(record: &Record) -> Lineage {
    match (record.lineage == id(0), record.replaced.contains(&id(1))) {
        (true, false) => Lineage::First,
        (true, true) => Lineage::Restored,
        (false, _) => Lineage::Imported,
    }
}

fn refresh(token: Token) -> RefreshToken {
    RefreshToken::parse(format!("refresh-{token}")).unwrap()
}

fn binding() -> Binding {
    Binding { token_url: "t".into(), client_id: "c".into(), upstream_origin: "u".into() }
}

#[test]
fn each_grant_has_a_record_of_its_own() {
    for (place, grant) in grants().enumerate() {
        assert_eq!(index(grant), place);
    }
}
