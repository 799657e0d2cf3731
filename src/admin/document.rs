//! The document that the page shows.

use jiff::Timestamp;
use serde::Serialize;

use super::Admin;
use super::history::{INTERVAL, Sample};
use super::login::Offer;
use super::problems::Shown;
use super::visit::Visit;
use crate::config::{Config, StoreKindConfig};
use crate::token::status::{Status, whole_seconds};
use crate::token::store::LastRefresh;

/// What `GET /events` sends.
#[derive(Debug, Serialize)]
pub(super) struct Page<'a> {
    now: Timestamp,
    interval_ms: u64,
    #[serde(flatten)]
    content: &'a Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<Vec<Sample>>,
}

/// The part that changes only if something has happened.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Content {
    status: Status,
    upstream: String,
    refreshes: Vec<LastRefresh>,
    /// The newest first.
    problems: Vec<Shown>,
    store: StoreFacts,
    login: Offer,
}

/// The store, and who uses it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct StoreFacts {
    kind: &'static str,
    /// Other processes may use the grant too.
    shared: bool,
    holder: Option<String>,
    held_until: Option<Timestamp>,
    this: String,
    refreshed_by: Option<String>,
}

// === impl Page ===

impl<'a> Page<'a> {
    pub(super) fn new(content: &'a Content, samples: Option<Vec<Sample>>, now: Timestamp) -> Self {
        let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
        Self { now: whole_seconds(now), interval_ms, content, samples }
    }
}

// === impl Content ===

impl Content {
    pub(super) fn new(admin: &Admin, visit: &Visit) -> Self {
        let settings = admin.settings.load();
        Self {
            status: admin.tokens.status(),
            upstream: settings.config.upstream.origin.to_string(),
            refreshes: admin.history.refreshes(),
            problems: admin.problems.list().into_iter().map(Shown::from).collect(),
            store: StoreFacts::new(&settings.config),
            login: admin.logins.offer(&settings.config, visit),
        }
    }
}

// === impl StoreFacts ===

impl StoreFacts {
    fn new(config: &Config) -> Self {
        let (kind, shared) = match config.store.kind {
            StoreKindConfig::File { .. } => ("file", false),
            StoreKindConfig::Postgres { .. } => ("postgres", true),
            StoreKindConfig::Memory => ("memory", false),
        };
        Self { kind, shared, holder: None, held_until: None, this: String::new(), refreshed_by: None }
    }
}
