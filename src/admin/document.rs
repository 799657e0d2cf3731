//! The document that the page shows.

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::Admin;
use super::history::{INTERVAL, Sample};
use super::login::Offer;
use super::problems::Shown;
use super::visit::Visit;
use crate::config::{Config, ListenAddress, StoreKindConfig};
use crate::token::journal::PreparedStore;
use crate::token::status::{Status, whole_seconds};
use crate::token::store::LastRefresh;
use crate::token::{Trigger, owner};

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
    /// Where internal clients connect: a base URL, or the path of a socket.
    listen: Option<String>,
    refreshes: Vec<LastRefresh>,
    /// The newest first.
    problems: Vec<Shown>,
    store: StoreFacts,
    login: Offer,
}

/// The store, and who uses it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct StoreFacts {
    kind: String,
    /// Other processes may use the grant too.
    shared: bool,
    /// Who has the lease, as far as the store tells.
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
        let status = admin.tokens.status();
        Self {
            store: StoreFacts::new(admin, &settings.config, &status),
            status,
            upstream: settings.config.upstream.origin.to_string(),
            listen: base_url(&settings.config),
            refreshes: admin.history.refreshes(),
            problems: admin.problems.list().into_iter().map(Shown::from).collect(),
            login: admin.logins.offer(&settings.config, visit),
        }
    }
}

// === impl StoreFacts ===

impl StoreFacts {
    fn new(admin: &Admin, config: &Config, status: &Status) -> Self {
        let shared = !matches!(config.store.kind, StoreKindConfig::File { .. } | StoreKindConfig::Memory);
        let (now, clock) = (Instant::now(), admin.tokens.live().clock().now());
        let this = admin.this.clone();
        let last_seen = admin.store.as_ref().and_then(PreparedStore::lease_holder);
        let holds = last_seen.as_ref().filter(|holder| now < holder.until);
        let held_until = holds.and_then(|holder| clock.checked_add(holder.until - now).ok());
        let last_seen = last_seen.as_ref().map(|holder| owner::shown(&holder.owner));
        let refreshed_by = match &status.last_refresh {
            // The peer was seen with the lease, unless the connection to the store was lost.
            Some(last) if last.trigger == Trigger::Peer => last_seen.clone().filter(|name| *name != this),
            Some(last) if last.at >= whole_seconds(admin.started) => Some(this.clone()),
            // An earlier process made it.
            Some(_) | None => None,
        };
        Self {
            kind: status.store.clone(),
            shared,
            holder: last_seen.filter(|_| holds.is_some()),
            held_until: held_until.map(whole_seconds),
            this,
            refreshed_by,
        }
    }
}

/// `None`: the system chose the port.
fn base_url(config: &Config) -> Option<String> {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    match config.listen.first()? {
        ListenAddress::Tcp(address) if address.port() == 0 => None,
        ListenAddress::Tcp(address) => Some(format!("{scheme}://{address}")),
        ListenAddress::Unix(path) => Some(path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing;

    #[test]
    fn a_program_is_pointed_at_the_first_address() {
        for (listen, expected) in [
            (ListenAddress::Tcp("127.0.0.1:8080".parse().unwrap()), Some("http://127.0.0.1:8080")),
            (ListenAddress::Tcp("[::1]:8080".parse().unwrap()), Some("http://[::1]:8080")),
            (ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), None),
            (ListenAddress::Unix("/run/proxy.sock".into()), Some("/run/proxy.sock")),
        ] {
            let config = Config { listen: vec![listen], ..testing::defaults() };
            assert_eq!(base_url(&config).as_deref(), expected);
        }
    }
}
