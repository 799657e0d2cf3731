//! The metrics of one worker. Counting takes no lock, looks up no label by its text, and shares no cache line with another core.
//!
//! Only its worker writes a [`Shard`]. A scrape reads all shards and adds them up. A shard outlives its worker, so no counter
//! decreases.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::core::{Collector, Desc};
use prometheus::{IntCounterVec, proto};

use super::histogram::{Histogram, Sum, Tally};
use super::totals::{Class, Totals};
use super::{
    REQUEST_DURATION, REQUESTS, REQUESTS_IN_FLIGHT, ReplayOutcome, ReplayReason, TOKEN_WAIT, UPSTREAM_DURATION,
};

/// The metrics of one worker. Clones belong to the same worker and stay on its thread.
#[derive(Clone)]
pub struct WorkerMetrics {
    worker: Rc<Worker>,
}

/// A request in flight, counted until this is dropped.
#[must_use = "the request is counted until this is dropped"]
pub struct InFlight {
    worker: Rc<Worker>,
}

/// The source of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Upstream,
    Proxy,
}

struct Worker {
    shard: Arc<Shard>,
    /// The tally of each combination of labels, found without a lock. There are few combinations.
    requests: RefCell<Vec<(RequestLabels, Arc<Tally>)>>,
    replays: IntCounterVec,
}

/// The labels of one series of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RequestLabels {
    method: &'static str,
    status: u16,
    source: Source,
}

/// The counters that one worker writes and scrapes read.
#[derive(Default)]
struct Shard {
    /// Locked by scrapes, and when a combination of labels is new.
    requests: Mutex<Vec<(RequestLabels, Arc<Tally>)>>,
    /// The number of requests in flight is `began` minus `ended`.
    began: Tally,
    ended: Tally,
    request_duration: Histogram,
    upstream_duration: Histogram,
    token_wait: Histogram,
}

/// The metrics of all workers, as a collector.
#[derive(Clone)]
pub(super) struct Workers {
    shards: Arc<Mutex<Vec<Arc<Shard>>>>,
    descriptions: Arc<Descriptions>,
}

struct Descriptions {
    requests: Desc,
    in_flight: Desc,
    request_duration: Desc,
    upstream_duration: Desc,
    token_wait: Desc,
}

// === impl WorkerMetrics ===

impl WorkerMetrics {
    /// A request ended: the last byte of its response was sent, or the response was cut.
    pub fn request(&self, method: &Method, status: StatusCode, source: Source, duration: Duration) {
        self.worker.answered(RequestLabels { method: method_label(method), status: status.as_u16(), source });
        self.worker.shard.request_duration.observe(duration);
    }

    /// The head of the upstream's response arrived.
    pub fn upstream_head(&self, duration: Duration) {
        self.worker.shard.upstream_duration.observe(duration);
    }

    /// A request arrived.
    pub fn in_flight(&self) -> InFlight {
        self.worker.shard.began.add(1);
        InFlight { worker: Rc::clone(&self.worker) }
    }

    /// A request was sent again, or should have been.
    pub fn replay(&self, reason: ReplayReason, outcome: ReplayOutcome) {
        // Rare enough to look the labels up.
        self.worker.replays.with_label_values(&[reason.name(), outcome.name()]).inc();
    }

    /// A request waited for a token.
    pub fn token_wait(&self, duration: Duration) {
        self.worker.shard.token_wait.observe(duration);
    }
}

// === impl InFlight ===

impl Drop for InFlight {
    fn drop(&mut self) {
        self.worker.shard.ended.add(1);
    }
}

// === impl Source ===

impl Source {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        }
    }
}

// === impl Worker ===

impl Worker {
    fn answered(&self, answer: RequestLabels) {
        let mut known = self.requests.borrow_mut();
        if let Some((_, tally)) = known.iter().find(|(kind, _)| *kind == answer) {
            return tally.add(1);
        }
        let tally = Arc::new(Tally::default());
        tally.add(1);
        known.push((answer, Arc::clone(&tally)));
        self.shard.requests.lock().unwrap_or_else(PoisonError::into_inner).push((answer, tally));
    }
}

// === impl Workers ===

impl Workers {
    pub(super) fn new() -> Self {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().copied().map(String::from).collect();
            super::made(Desc::new(name.into(), help.into(), labels, Default::default()))
        };
        let descriptions = Descriptions {
            requests: desc(REQUESTS, "Answered requests, by who made the answer.", &["method", "code", "source"]),
            in_flight: desc(REQUESTS_IN_FLIGHT, "Requests that are being served.", &[]),
            request_duration: desc(REQUEST_DURATION, "From a request's head to its response's last byte.", &[]),
            upstream_duration: desc(UPSTREAM_DURATION, "From a request's dispatch to the response's head.", &[]),
            token_wait: desc(TOKEN_WAIT, "How long requests were held for a token.", &[]),
        };
        Self { shards: Arc::default(), descriptions: Arc::new(descriptions) }
    }

    pub(super) fn add(&self, replays: &IntCounterVec) -> WorkerMetrics {
        let shard = Arc::<Shard>::default();
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shard));
        WorkerMetrics { worker: Rc::new(Worker { shard, requests: RefCell::default(), replays: replays.clone() }) }
    }

    /// Adds what all workers have counted.
    pub(super) fn total(&self, totals: &mut Totals) {
        let (mut durations, mut waits) = (Sum::default(), Sum::default());
        for shard in &*self.shards.lock().unwrap_or_else(PoisonError::into_inner) {
            for (labels, tally) in &*shard.requests.lock().unwrap_or_else(PoisonError::into_inner) {
                if let Some(total) = totals.requests.get_mut(labels.class() as usize) {
                    *total += tally.get();
                }
            }
            durations.add(&shard.request_duration);
            waits.add(&shard.token_wait);
        }
        totals.durations = durations.buckets();
        totals.waits = waits.count();
    }
}

impl Collector for Workers {
    fn desc(&self) -> Vec<&Desc> {
        let Descriptions { requests, in_flight, request_duration, upstream_duration, token_wait } = &*self.descriptions;
        vec![requests, in_flight, request_duration, upstream_duration, token_wait]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut answers = BTreeMap::<RequestLabels, u64>::new();
        let mut in_flight = 0;
        let (mut request, mut upstream, mut wait) = (Sum::default(), Sum::default(), Sum::default());
        for shard in &*self.shards.lock().unwrap_or_else(PoisonError::into_inner) {
            for (answer, tally) in &*shard.requests.lock().unwrap_or_else(PoisonError::into_inner) {
                *answers.entry(*answer).or_default() += tally.get();
            }
            // Reads `ended` before `began`, so that a request that ends in between cannot make the number negative.
            let ended = shard.ended.get();
            in_flight += shard.began.get().saturating_sub(ended);
            request.add(&shard.request_duration);
            upstream.add(&shard.upstream_duration);
            wait.add(&shard.token_wait);
        }

        let description = &self.descriptions;
        let counter = proto::MetricType::COUNTER;
        vec![
            family(&description.requests, counter, answers.into_iter().map(|(answer, n)| answer.metric(n)).collect()),
            family(&description.in_flight, proto::MetricType::GAUGE, vec![gauge(in_flight)]),
            family(&description.request_duration, proto::MetricType::HISTOGRAM, vec![histogram(request)]),
            family(&description.upstream_duration, proto::MetricType::HISTOGRAM, vec![histogram(upstream)]),
            family(&description.token_wait, proto::MetricType::HISTOGRAM, vec![histogram(wait)]),
        ]
    }
}

fn family(desc: &Desc, kind: proto::MetricType, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn gauge(value: u64) -> proto::Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value as f64);
    proto::Metric::from_gauge(gauge)
}

fn histogram(sum: Sum) -> proto::Metric {
    let mut metric = proto::Metric::default();
    metric.set_histogram(sum.into_proto());
    metric
}

// === impl RequestLabels ===

impl RequestLabels {
    fn class(self) -> Class {
        match self.source {
            Source::Upstream => Class::from_status(self.status),
            Source::Proxy => Class::Proxy,
        }
    }

    fn metric(self, count: u64) -> proto::Metric {
        let label = |name: &str, value: &str| {
            let mut pair = proto::LabelPair::default();
            pair.set_name(name.into());
            pair.set_value(value.into());
            pair
        };
        let mut counter = proto::Counter::default();
        counter.set_value(count as f64);
        let mut metric = proto::Metric::from_label(vec![
            label("code", &self.status.to_string()),
            label("method", self.method),
            label("source", self.source.name()),
        ]);
        metric.set_counter(counter);
        metric
    }
}

/// A client can invent methods without end, so only registered methods have a series.
fn method_label(method: &Method) -> &'static str {
    METHODS.iter().copied().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// The HTTP Method Registry (RFC 9110 §16.1.1), without `PRI` and `*`, which no request uses. Common methods come first.
const METHODS: [&str; 39] = [
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];
