//! The document that a store holds.

use jiff::Timestamp;

use crate::token::{Access, Fingerprint, Generation, Outcome, RefreshToken, Trigger};

/// The grant with all that is known of it, written as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub binding: Binding,
    pub generation: Generation,
    pub access: Option<Access>,
    pub refresh: Option<RefreshToken>,
    /// A token call that was announced and whose outcome is not known.
    pub intent: Option<Intent>,
    /// Why a person has to log in; such a grant is never presented again.
    pub needs_login: Option<String>,
    /// All first refresh tokens that were ever taken from the configuration, so that a known one is passed over.
    pub taken: Vec<Fingerprint>,
    pub last_refresh: Option<LastRefresh>,
}

/// The server that a grant belongs to; it is never sent to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub token_url: String,
    pub client_id: String,
    pub upstream_origin: String,
}

/// What a commit compares: the grant as it was when its refresh token was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub generation: Generation,
    pub fingerprint: Option<Fingerprint>,
}

/// Written before each token call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub owner: String,
    pub at: Timestamp,
    /// Of the refresh token that was going to be presented: the grant's, or a first one from the configuration.
    pub fingerprint: Fingerprint,
    /// How often this refresh token was presented without a clear answer, this time included.
    pub presented: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefresh {
    pub at: Timestamp,
    pub trigger: Trigger,
    pub outcome: Outcome,
    pub duration_ms: u64,
    /// What went wrong, in words that hold no secret.
    pub error: Option<String>,
}

// === impl Record ===

impl Record {
    /// A record without a grant.
    pub fn empty(binding: Binding) -> Self {
        Self {
            binding,
            generation: Generation::default(),
            access: None,
            refresh: None,
            intent: None,
            needs_login: None,
            taken: Vec::new(),
            last_refresh: None,
        }
    }

    pub fn version(&self) -> Version {
        Version { generation: self.generation, fingerprint: self.refresh.as_ref().map(RefreshToken::fingerprint) }
    }
}
