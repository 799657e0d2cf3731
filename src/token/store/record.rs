//! What is known of a grant, and what a write compares.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Candidate, CandidateVersion};
use crate::token::{Access, Fingerprint, Generation, Lineage, RefreshOutcome, RefreshToken, Trigger};

/// The grant with all that is known of it, written as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub binding: Binding,
    /// Which grant this is: a rotation keeps it, a grant that a person supplies has a new one.
    pub lineage: Lineage,
    /// The lineages that this one took the place of, the newest last. A stored record of one of them is an old backup.
    pub replaced: Vec<Lineage>,
    pub generation: Generation,
    pub access: Option<Access>,
    pub refresh: Option<RefreshToken>,
    /// What replaces the grant once a refresh with it has succeeded.
    pub candidate: Option<Candidate>,
    /// A token call that was announced and whose outcome is not known.
    pub intent: Option<Intent>,
    /// Why a person has to log in; such a grant is never presented again.
    pub needs_login: Option<String>,
    /// All first refresh tokens that were ever taken from the configuration, so that a known one is passed over.
    pub tried_initial: Vec<Fingerprint>,
    pub last_refresh: Option<LastRefresh>,
}

/// The server that a grant belongs to; it is never sent to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub token_url: String,
    pub client_id: String,
    pub upstream_origin: String,
}

/// What a commit compares: the grant as it was when its refresh token was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub lineage: Lineage,
    pub generation: Generation,
    pub fingerprint: Option<Fingerprint>,
    /// So that a late write undoes nothing that was noted of a candidate.
    pub candidate: Option<CandidateVersion>,
}

/// Written before each token call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub owner: String,
    pub at: Timestamp,
    /// Of the refresh token that was going to be presented: the grant's, or a first one from the configuration.
    pub fingerprint: Fingerprint,
    /// How often this refresh token was presented without a clear answer, this time included.
    pub presented: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefresh {
    pub at: Timestamp,
    pub trigger: Trigger,
    pub outcome: RefreshOutcome,
    pub duration_ms: u64,
    /// What went wrong, in words that hold no secret.
    pub error: Option<String>,
}

/// What a write expects.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// The version that the store must hold; `None`: no record at all.
    pub version: Option<Version>,
    /// The fencing number of the lease that must be the present one; `None`: whoever holds it.
    pub fence: Option<u64>,
}

/// What a write meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// The expected version: write.
    Expected,
    /// The very record that is to be written: an earlier attempt got through although its answer was lost.
    Wanted,
    /// Anything else: leave it alone.
    Other,
}

/// How many replaced lineages a record remembers: grants that persons have supplied one after the other, 35 bytes each.
const REPLACED: usize = 256;

// === impl Record ===

impl Record {
    /// A record without a grant.
    pub fn empty(binding: Binding) -> Self {
        Self {
            lineage: Lineage::derived(&binding),
            replaced: Vec::new(),
            binding,
            generation: Generation::default(),
            access: None,
            refresh: None,
            candidate: None,
            intent: None,
            needs_login: None,
            tried_initial: Vec::new(),
            last_refresh: None,
        }
    }

    pub fn version(&self) -> Version {
        Version {
            lineage: self.lineage,
            generation: self.generation,
            fingerprint: self.refresh.as_ref().map(RefreshToken::fingerprint),
            candidate: self.candidate.as_ref().map(Candidate::version),
        }
    }

    /// The value of [`Record::replaced`] for a record of `lineage` that takes the place of this one.
    pub fn replaced_by(&self, lineage: Lineage) -> Vec<Lineage> {
        distinct(self.replaced.iter().chain([&self.lineage]), lineage)
    }

    /// Notes that this record takes the place of `other` too.
    pub fn replace_also(&mut self, other: &Self) {
        let all = other.replaced.iter().chain([&other.lineage]).chain(&self.replaced);
        self.replaced = distinct(all, self.lineage);
    }

    /// Whether it was stored without an access token of its own: it has none, or still the one that `known` has.
    pub fn is_bare_beside(&self, known: &Self) -> bool {
        self.access.is_none() || self.access == known.access
    }

    /// Whether this record is older than `newer`: an earlier generation of the same grant, or of a grant that `newer` has
    /// replaced. Where each has replaced the other, a person has put the old grant back, and neither is older.
    pub fn is_behind(&self, newer: &Self) -> bool {
        if self.lineage == newer.lineage {
            return self.generation < newer.generation;
        }
        newer.replaced.contains(&self.lineage) && !self.replaced.contains(&newer.lineage)
    }
}

/// Each of them once, without `own`; the newest ones, if there are too many.
fn distinct<'a>(all: impl Iterator<Item = &'a Lineage>, own: Lineage) -> Vec<Lineage> {
    let mut kept = Vec::new();
    for lineage in all.filter(|lineage| **lineage != own) {
        if !kept.contains(lineage) {
            kept.push(*lineage);
        }
    }
    let surplus = kept.len().saturating_sub(REPLACED);
    kept.drain(..surplus);
    kept
}

// === impl Version ===

impl Version {
    /// Whether both are the same grant, whatever candidates are next to it.
    pub fn is_same_grant(self, other: Self) -> bool {
        Self { candidate: None, ..self } == Self { candidate: None, ..other }
    }
}

// === impl Expect ===

impl Expect {
    /// The compare of the compare-and-set. The fence is each store's own to check.
    pub fn meets(&self, present: Option<&Record>, wanted: &Record) -> Meets {
        if present.map(Record::version) == self.version {
            Meets::Expected
        } else if present == Some(wanted) {
            Meets::Wanted
        } else {
            Meets::Other
        }
    }
}
