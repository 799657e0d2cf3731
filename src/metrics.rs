//! Every metric of the program, by name, in the Prometheus text format.
//!
//! Each worker counts its own requests ([`WorkerMetrics`]), and a scrape adds them up. The rare events of the token's journey and of
//! connections are counted in shared collectors. A scrape reads the state of the grant from the live [`View`], so it shows what
//! requests see.

mod histogram;
mod totals;
mod worker;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

pub use totals::{Class, Totals};
pub use worker::{InFlight, Source, WorkerMetrics};

use crate::descriptors::{self, Usage};
use crate::downstream::Connections;
use crate::outbound::Protocol;
use crate::supervise::{Restarts, Task};
use crate::token::live::View;
use crate::token::{Collectors, TokenMetrics};
use crate::upstream::pool::OpenConnections;

const REQUESTS: &str = "bearer_proxy_requests_total";
const REQUEST_DURATION: &str = "bearer_proxy_request_duration_seconds";
const UPSTREAM_DURATION: &str = "bearer_proxy_upstream_duration_seconds";
const REQUESTS_IN_FLIGHT: &str = "bearer_proxy_requests_in_flight";
const REPLAYS: &str = "bearer_proxy_replays_total";
const REFRESHES: &str = "bearer_proxy_token_refreshes_total";
const REFRESH_DURATION: &str = "bearer_proxy_token_refresh_duration_seconds";
const TOKEN_WAIT: &str = "bearer_proxy_token_wait_seconds";
const TOKEN_EXPIRY: &str = "bearer_proxy_token_expiry_timestamp_seconds";
const TOKEN_GENERATION: &str = "bearer_proxy_token_generation";
const TOKEN_UNPERSISTED: &str = "bearer_proxy_token_unpersisted";
const NEEDS_LOGIN: &str = "bearer_proxy_needs_login";
const STORE_OPERATIONS: &str = "bearer_proxy_store_operations_total";
const UPSTREAM_CONNECTIONS: &str = "bearer_proxy_upstream_connections";
const DOWNSTREAM_CONNECTIONS: &str = "bearer_proxy_downstream_connections";
const TASK_RESTARTS: &str = "bearer_proxy_task_restarts_total";
const TUNNELS: &str = "bearer_proxy_tunnels";
const FILE_DESCRIPTORS: &str = "bearer_proxy_file_descriptors";
const BUILD_INFO: &str = "bearer_proxy_build_info";

/// All metrics of one process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    workers: worker::Workers,
    replays: IntCounterVec,
    token: TokenMetrics,
    /// A vector without labels, because the series is absent if the expiry is unknown.
    token_expiry: GaugeVec,
    token_generation: IntGauge,
    token_unpersisted: IntGauge,
    needs_login: IntGauge,
    restarts: Restarts,
    upstream_connections: IntGaugeVec,
    downstream_connections: IntGauge,
    tunnels: IntGauge,
    file_descriptors: IntGaugeVec,
    upstream_open: OpenConnections,
    downstream_open: OnceLock<Connections>,
}

/// Why a request was, or should have been, sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayReason {
    /// The upstream refused the token.
    TokenRefused,
    /// The connection ended, and the upstream provably did not process the request.
    Connection,
}

/// The outcome of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayOutcome {
    Ok,
    RefusedAgain,
    /// The body was not kept: it was too large, or the budget was spent.
    NotReplayable,
    /// There was no newer token.
    NoToken,
    Failed,
}

// === impl Metrics ===

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let workers = registered(&registry, worker::Workers::new());
        let replays = counters(&registry, REPLAYS, "Requests sent again, or not.", &["reason", "outcome"]);
        let refreshes = counters(&registry, REFRESHES, "Ended refreshes of the token.", &["trigger", "outcome"]);
        let refresh_duration = HistogramOpts::new(REFRESH_DURATION, "How long a refresh of the token took.")
            .buckets(histogram::BOUNDS.iter().map(Duration::as_secs_f64).collect());
        let refresh_duration = registered(&registry, made(prometheus::Histogram::with_opts(refresh_duration)));
        let token_expiry = "When the live token expires, as Unix time; 0: no token. Absent: no known end.";
        let unpersisted = "1 while the newest refresh token is in memory only, because the store has not accepted it.";
        let store_operations =
            counters(&registry, STORE_OPERATIONS, "Operations on the store.", &["operation", "outcome"]);
        let restarts = counters(&registry, TASK_RESTARTS, "Tasks that died and were started again.", &["task"]);
        let restarts = Restarts::new(restarts);
        let upstream_connections = Opts::new(UPSTREAM_CONNECTIONS, "Open connections to the upstream.");
        let file_descriptors = Opts::new(FILE_DESCRIPTORS, "Open file descriptors, and how many there may be.");
        let build_info = Opts::new(BUILD_INFO, "Always 1; the label is the version that runs.")
            .const_label("version", env!("CARGO_PKG_VERSION"));

        // Series that alerts compare exist from the start: `rate()` of a series that appears with its first failure misses it.
        for reason in ReplayReason::ALL {
            for outcome in ReplayOutcome::ALL {
                replays.with_label_values(&[reason.name(), outcome.name()]);
            }
        }
        let upstream_connections = registered(&registry, made(IntGaugeVec::new(upstream_connections, &["protocol"])));
        for protocol in [Protocol::Http1, Protocol::Http2] {
            upstream_connections.with_label_values(&[protocol_name(protocol)]);
        }
        registered(&registry, made(IntGauge::with_opts(build_info))).set(1);

        let inner = Inner {
            workers,
            replays,
            token: TokenMetrics::new(Collectors { refreshes, refresh_duration, store_operations }, restarts.clone()),
            token_expiry: registered(&registry, made(GaugeVec::new(Opts::new(TOKEN_EXPIRY, token_expiry), &[]))),
            token_generation: gauge(&registry, TOKEN_GENERATION, "The live token's generation; 0: none yet."),
            token_unpersisted: gauge(&registry, TOKEN_UNPERSISTED, unpersisted),
            needs_login: gauge(&registry, NEEDS_LOGIN, "1 while the grant needs a login."),
            restarts,
            upstream_connections,
            upstream_open: OpenConnections::default(),
            downstream_open: OnceLock::new(),
            tunnels: gauge(&registry, TUNNELS, "Upgraded connections; each occupies a slot of upstream.max_in_flight."),
            downstream_connections: gauge(&registry, DOWNSTREAM_CONNECTIONS, "Open connections of internal clients."),
            file_descriptors: registered(&registry, made(IntGaugeVec::new(file_descriptors, &["state"]))),
            registry,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The metrics of a worker. Its thread calls this once.
    pub fn worker(&self) -> WorkerMetrics {
        self.inner.workers.add(&self.inner.replays)
    }

    pub fn token(&self) -> &TokenMetrics {
        &self.inner.token
    }

    /// A task died and is started again.
    pub fn task_restart(&self, task: Task) {
        self.inner.restarts.count(task);
    }

    pub fn restarts(&self) -> &Restarts {
        &self.inner.restarts
    }

    pub fn upstream_connections(&self) -> OpenConnections {
        self.inner.upstream_open.clone()
    }

    pub fn tunnels(&self) -> IntGauge {
        self.inner.tunnels.clone()
    }

    /// What was counted so far.
    pub fn totals(&self) -> Totals {
        let count = |reason: ReplayReason, outcome: ReplayOutcome| {
            self.inner.replays.with_label_values(&[reason.name(), outcome.name()]).get()
        };
        let sent = [ReplayOutcome::Ok, ReplayOutcome::RefusedAgain, ReplayOutcome::Failed];
        let mut totals = Totals {
            refused: ReplayOutcome::ALL.map(|outcome| count(ReplayReason::TokenRefused, outcome)).iter().sum(),
            replays: ReplayReason::ALL.iter().flat_map(|reason| sent.map(|outcome| count(*reason, outcome))).sum(),
            ..Totals::default()
        };
        self.inner.workers.total(&mut totals);
        totals
    }

    /// Sets the source of the number of open client connections.
    pub fn watch_downstream(&self, connections: Connections) {
        // There is one server per process. A second one would have its own metrics.
        let _ = self.inner.downstream_open.set(connections);
    }

    /// All metrics in the Prometheus text format 0.0.4. `view` is the present state of the grant.
    pub fn render(&self, view: &View) -> String {
        let inner = &self.inner;
        match view.token.as_ref().map(|token| token.expires_at) {
            // A time in the past, so an alert on the remaining time fires.
            None => inner.token_expiry.with_label_values::<&str>(&[]).set(0.0),
            Some(Some(end)) => inner.token_expiry.with_label_values::<&str>(&[]).set(end.as_duration().as_secs_f64()),
            Some(None) => inner.token_expiry.reset(),
        }
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let gauge = inner.upstream_connections.with_label_values(&[protocol_name(protocol)]);
            gauge.set(inner.upstream_open.count(protocol));
        }
        let downstream = inner.downstream_open.get().map_or(0, Connections::count);
        inner.downstream_connections.set(i64::try_from(downstream).unwrap_or(i64::MAX));
        if let Ok(Usage { used, limit }) = descriptors::usage() {
            let gauge = |state, count| {
                inner.file_descriptors.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
            };
            gauge("used", used);
            gauge("limit", limit.unwrap_or(u64::MAX));
        }
        inner.token_generation.set(i64::try_from(view.generation().0).unwrap_or(i64::MAX));
        inner.token_unpersisted.set(view.unpersisted.into());
        inner.needs_login.set(view.needs_login.is_some().into());

        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&inner.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be written");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, made(IntCounterVec::new(Opts::new(name, help), labels)))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    registered(registry, made(IntGauge::new(name, help)))
}

/// Names, labels and bounds are constants, so an error shows in every run.
#[expect(clippy::expect_used, reason = "constants")]
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("names, labels and bounds are valid constants")
}

#[expect(clippy::expect_used, reason = "constants")]
fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> C {
    registry.register(Box::new(metric.clone())).expect("each name is registered once");
    metric
}

/// The ALPN name of the protocol.
fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::Http2 => "h2",
    }
}

// === impl ReplayReason ===

impl ReplayReason {
    const ALL: [Self; 2] = [Self::TokenRefused, Self::Connection];

    fn name(self) -> &'static str {
        match self {
            Self::TokenRefused => "token_refused",
            Self::Connection => "connection",
        }
    }
}

// === impl ReplayOutcome ===

impl ReplayOutcome {
    const ALL: [Self; 5] = [Self::Ok, Self::RefusedAgain, Self::NotReplayable, Self::NoToken, Self::Failed];

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::RefusedAgain => "refused_again",
            Self::NotReplayable => "not_replayable",
            Self::NoToken => "no_token",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests;
