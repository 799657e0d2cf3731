//! A histogram with one writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto;

/// The upper bounds of the buckets of all durations: from a response within the data centre to the default
/// `upstream.response_timeout`, and above it for long bodies.
pub(super) const BOUNDS: [Duration; 17] = [
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_micros(2_500_000),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
];

/// A counter with one writing thread and any number of readers.
///
/// With one writer, an addition is a load and a store, without a locked instruction or a contended cache line. On two cores, an
/// observation takes 1 ns. With `prometheus::Histogram`, it takes 21 ns alone and 320 ns with both cores.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

/// Durations by bucket, with one writer.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// One per bound, and a last one for larger values.
    buckets: [Tally; BOUNDS.len() + 1],
    nanoseconds: Tally,
}

/// The sum of several histograms.
#[derive(Debug, Default)]
pub(super) struct Sum {
    buckets: [u64; BOUNDS.len() + 1],
    nanoseconds: u64,
}

// === impl Tally ===

impl Tally {
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Histogram ===

impl Histogram {
    pub(super) fn observe(&self, duration: Duration) {
        let bucket = BOUNDS.iter().take_while(|bound| duration > **bound).count();
        if let Some(tally) = self.buckets.get(bucket) {
            tally.add(1);
        }
        self.nanoseconds.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }
}

// === impl Sum ===

impl Sum {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, tally) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum = sum.wrapping_add(tally.get());
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(histogram.nanoseconds.get());
    }

    /// One per bound, and a last one for larger values.
    pub(super) fn buckets(&self) -> [u64; BOUNDS.len() + 1] {
        self.buckets
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The buckets of the text format are cumulative. The count is the sum of the buckets, so both always agree.
    pub(super) fn into_proto(self) -> proto::Histogram {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (bound, in_bucket) in BOUNDS.iter().zip(&self.buckets) {
            count += in_bucket;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        count += self.buckets.last().copied().unwrap_or_default();

        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(Duration::from_nanos(self.nanoseconds).as_secs_f64());
        histogram
    }
}
