//! The last hour, for the page: samples of the metrics, and the latest refreshes. It lives in the process and ends with it.
//!
//! A sample is the difference of two reads of the metrics, so no request pays for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::fault;
use crate::metrics::{Class, Metrics, Totals};
use crate::supervise::Task;
use crate::token::live::View;
use crate::token::refresher::Tokens;
use crate::token::status::whole_seconds;
use crate::token::store::LastRefresh;

/// The time between two samples.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// One hour.
const SAMPLES: usize = 360;
const REFRESHES: usize = 50;
/// The longest error of a refresh, in bytes.
const MAX_ERROR: usize = 400;

/// The figures of the last hour.
#[derive(Debug)]
pub(super) struct History {
    kept: Mutex<Kept>,
    /// The newest sample.
    newest: watch::Sender<Option<Sample>>,
}

/// It outlives the task that samples.
#[derive(Debug)]
struct Kept {
    /// What was counted until the newest sample.
    totals: Totals,
    samples: VecDeque<Sample>,
    refreshes: VecDeque<LastRefresh>,
    /// The newest refresh that the grant has reported.
    seen: Option<LastRefresh>,
}

/// What happened within one interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Its end.
    at: Timestamp,
    requests: Requests,
    p50_ms: Option<f32>,
    p95_ms: Option<f32>,
    p99_ms: Option<f32>,
    replays: u32,
    refused: u32,
    waits: u32,
}

/// Responses by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Requests {
    #[serde(rename = "2xx")]
    success: u32,
    #[serde(rename = "3xx")]
    redirection: u32,
    #[serde(rename = "4xx")]
    client_error: u32,
    #[serde(rename = "5xx")]
    server_error: u32,
    proxy: u32,
}

// === impl History ===

impl History {
    /// `totals`: what was counted before the first interval.
    pub(super) fn new(totals: Totals) -> Self {
        let kept = Kept { totals, samples: VecDeque::new(), refreshes: VecDeque::new(), seen: None };
        Self { kept: Mutex::new(kept), newest: watch::Sender::new(None) }
    }

    /// Samples without end.
    pub(super) async fn run(&self, metrics: &Metrics, tokens: &Tokens) {
        let mut tick = interval_at(Instant::now() + INTERVAL, INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let live = tokens.live();
        loop {
            fault::task(Task::History.name());
            tokio::select! {
                _ = tick.tick() => self.sample(metrics.totals(), live.clock().now()),
                refresh = live.wait_for(|view| self.unseen(view)) => self.add(refresh),
            }
        }
    }

    /// The oldest first.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.kept().samples.iter().copied().collect()
    }

    /// The oldest first.
    pub(super) fn refreshes(&self) -> Vec<LastRefresh> {
        self.kept().refreshes.iter().cloned().collect()
    }

    /// Changes with each sample.
    pub(super) fn newest(&self) -> watch::Receiver<Option<Sample>> {
        self.newest.subscribe()
    }

    fn sample(&self, totals: Totals, now: Timestamp) {
        let mut kept = self.kept();
        let sample = Sample::new(&totals.since(&kept.totals), now);
        kept.totals = totals;
        push(&mut kept.samples, SAMPLES, sample);
        drop(kept);
        self.newest.send_replace(Some(sample));
    }

    fn unseen(&self, view: &View) -> Option<LastRefresh> {
        let last = view.last_refresh.as_ref()?;
        (self.kept().seen.as_ref() != Some(last)).then(|| last.clone())
    }

    /// After a new login, the grant reports the last refresh of the old one again, or with another trigger.
    fn add(&self, refresh: LastRefresh) {
        let mut kept = self.kept();
        kept.seen = Some(refresh.clone());
        let at = whole_seconds(refresh.at);
        if kept.refreshes.iter().any(|known| known.at == at && known.outcome == refresh.outcome) {
            return;
        }
        let error = refresh.error.map(|error| error[..error.floor_char_boundary(MAX_ERROR)].to_owned());
        push(&mut kept.refreshes, REFRESHES, LastRefresh { error, at, ..refresh });
        kept.refreshes.make_contiguous().sort_by_key(|refresh| refresh.at);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(ring: &mut VecDeque<T>, most: usize, item: T) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(item);
}

// === impl Sample ===

impl Sample {
    fn new(counted: &Totals, at: Timestamp) -> Self {
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let class = |class: Class| counted.requests.get(class as usize).map_or(0, |count| small(*count));
        let millis = |fraction| counted.quantile(fraction).map(|duration| duration.as_secs_f32() * 1000.0);
        Self {
            at: whole_seconds(at),
            requests: Requests {
                success: class(Class::Success),
                redirection: class(Class::Redirection),
                client_error: class(Class::ClientError),
                server_error: class(Class::ServerError),
                proxy: class(Class::Proxy),
            },
            p50_ms: millis(0.5),
            p95_ms: millis(0.95),
            p99_ms: millis(0.99),
            replays: small(counted.replays),
            refused: small(counted.refused),
            waits: small(counted.waits),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::telemetry::problems::{self, Problem};
    use crate::token::{RefreshOutcome, Trigger};

    fn refresh(second: i64, outcome: RefreshOutcome, error: Option<String>) -> LastRefresh {
        let at = Timestamp::new(second, 500_000_000).unwrap();
        LastRefresh { at, trigger: Trigger::Scheduled, outcome, duration_ms: 1, error }
    }

    /// A ring grows to a power of two.
    #[test]
    fn an_hour_takes_at_most_128_kib() {
        let samples = SAMPLES.next_power_of_two() * size_of::<Sample>();
        let refreshes = REFRESHES.next_power_of_two() * (size_of::<LastRefresh>() + MAX_ERROR);
        let texts = problems::MAX_TEXT + problems::MAX_EVENT + problems::MAX_CHECK;
        let problems = problems::MOST.next_power_of_two() * (size_of::<Problem>() + texts);
        let total = samples + refreshes + problems;
        assert!(total <= 128 * 1024, "{samples} + {refreshes} + {problems} bytes");
    }

    #[test]
    fn a_sample_is_what_came_since_the_last_one_and_the_oldest_leaves() {
        let history = History::new(Totals { requests: [5, 0, 0, 0, 0], ..Totals::default() });
        let mut newest = history.newest();
        for count in 1..=SAMPLES as u64 + 1 {
            let totals = Totals { requests: [5 + count * count, 0, 0, 0, 0], ..Totals::default() };
            history.sample(totals, Timestamp::from_second(i64::try_from(count).unwrap()).unwrap());
        }
        let samples = history.samples();
        assert_eq!(samples.len(), SAMPLES);
        // The square of n grows by 2n - 1.
        assert_eq!((samples[0].at.as_second(), samples[0].requests.success), (2, 3));
        assert_eq!(samples.last().unwrap().requests.success, 721);
        assert_eq!(*newest.borrow_and_update(), samples.last().copied());
        let json = serde_json::to_value(samples[0]).unwrap();
        assert_eq!(json["requests"]["2xx"], 3);
        assert_eq!((&json["at"], &json["p50_ms"]), (&"1970-01-01T00:00:02Z".into(), &serde_json::Value::Null));
    }

    #[test]
    fn a_refresh_is_listed_once_in_the_order_of_time_and_its_error_is_short() {
        let history = History::new(Totals::default());
        let add = |refresh: LastRefresh| {
            let view = View { last_refresh: Some(refresh), ..View::default() };
            if let Some(refresh) = history.unseen(&view) {
                history.add(refresh);
            }
            assert_eq!(history.unseen(&view), None);
        };
        let failed = refresh(20, RefreshOutcome::Transient, Some("ä".repeat(1000)));
        add(failed.clone());
        // The store can be read later, and reports an older refresh.
        add(refresh(10, RefreshOutcome::Ok, None));
        add(LastRefresh { trigger: Trigger::Peer, ..failed });
        let listed: Vec<_> = history.refreshes().iter().map(|refresh| refresh.at.as_second()).collect();
        assert_eq!(listed, [10, 20]);
        assert_eq!(history.refreshes()[1].error.as_ref().unwrap().len(), MAX_ERROR);
        for second in 100..200 {
            add(refresh(second, RefreshOutcome::Ok, None));
        }
        assert_eq!(history.refreshes().len(), REFRESHES);
    }
}
