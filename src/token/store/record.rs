//! A grant with everything that is known about it, and what a write compares.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Candidate, CandidateVersion};
use crate::token::{Access, Fingerprint, Generation, Lineage, RefreshOutcome, RefreshToken, Trigger};

/// A grant with everything that is known about it. It is always written as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub binding: Binding,
    /// The id of the grant. A rotation keeps it. A grant that a person supplies has a new one.
    pub lineage: Lineage,
    /// The lineages that this one has replaced, the newest last. A stored record with one of them is an old backup.
    pub replaced: Vec<Lineage>,
    pub generation: Generation,
    pub access: Option<Access>,
    pub refresh: Option<RefreshToken>,
    /// It replaces the grant after a refresh with it has succeeded.
    pub candidate: Option<Candidate>,
    /// An announced token call whose outcome is unknown.
    pub intent: Option<Intent>,
    /// Why a person must log in. A grant with this reason is never presented again.
    pub needs_login: Option<String>,
    /// The initial tokens that were tried. None of them is tried again.
    pub tried_initial: Vec<Fingerprint>,
    pub last_refresh: Option<LastRefresh>,
}

/// The server that a grant belongs to. The grant is never sent to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub token_url: String,
    pub client_id: String,
    pub upstream_origin: String,
}

/// What a write compares: the identity of the grant when its refresh token was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub lineage: Lineage,
    pub generation: Generation,
    pub fingerprint: Option<Fingerprint>,
    /// Compared so that a late write does not undo a note about a candidate.
    pub candidate: Option<CandidateVersion>,
}

/// The announcement of a token call, written before the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub owner: String,
    pub at: Timestamp,
    /// The refresh token of the call: that of the grant, or the initial token.
    pub fingerprint: Fingerprint,
    /// How often this refresh token was presented without a clear outcome, including this call.
    pub presented: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefresh {
    pub at: Timestamp,
    pub trigger: Trigger,
    pub outcome: RefreshOutcome,
    pub duration_ms: u64,
    /// What went wrong. Holds no secret.
    pub error: Option<String>,
}

/// What a write expects of the store.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// The version that the store must hold. `None`: the store must be empty.
    pub version: Option<Version>,
    /// The fencing number of the present lease. `None`: any lease, or none.
    pub fence: Option<u64>,
}

/// What a write finds in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// The expected version. Write.
    Expected,
    /// The record to be written. An earlier attempt succeeded, and only its answer was lost.
    Wanted,
    /// Anything else. Leave it unchanged.
    Other,
}

/// The number of replaced lineages in a record. Each takes 35 bytes.
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

    /// The value of [`Record::replaced`] for a record of `lineage` that replaces this one.
    pub fn replaced_by(&self, lineage: Lineage) -> Vec<Lineage> {
        distinct(self.replaced.iter().chain([&self.lineage]), lineage)
    }

    /// Notes that this record replaces `other` too.
    pub fn replace_also(&mut self, other: &Self) {
        let all = other.replaced.iter().chain([&other.lineage]).chain(&self.replaced);
        self.replaced = distinct(all, self.lineage);
    }

    /// Whether it was stored without a new access token: it has none, or the one of `known`.
    pub fn is_bare_beside(&self, known: &Self) -> bool {
        self.access.is_none() || self.access == known.access
    }

    /// Whether this record is older than `newer`: an earlier generation of the same grant, or a grant that `newer` has replaced. If each
    /// has replaced the other, a person has restored the old grant, and neither is older.
    pub fn is_behind(&self, newer: &Self) -> bool {
        if self.lineage == newer.lineage {
            return self.generation < newer.generation;
        }
        newer.replaced.contains(&self.lineage) && !self.replaced.contains(&newer.lineage)
    }
}

/// Each lineage once, without `own`. If there are too many, only the newest.
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
    /// Whether both are the same grant, whatever their candidates are.
    pub fn is_same_grant(self, other: Self) -> bool {
        Self { candidate: None, ..self } == Self { candidate: None, ..other }
    }
}

// === impl Expect ===

impl Expect {
    /// Compares, for the compare-and-set. Each store checks the fence itself.
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
