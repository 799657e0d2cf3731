//! Ends connections that are idle or old.
//!
//! One timer per pool watches all connections, and runs only while there are any. A timer per connection would be reset with each
//! request.

use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::UpstreamConfig;

use super::keepalive::Times;
use super::{Pool, RequestBody, h1, h2};

/// Below the most common idle timeouts: 60 s (AWS load balancers) and 75 s (nginx). If an upstream closes earlier, the connection
/// notices, and an announced `Keep-Alive` timeout is respected. Only a close at the moment of a request can still fail it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// More idle connections than this, after a burst, are closed at once.
const MAX_IDLE: usize = 256;

/// An old connection that has been idle for this long gets no successor.
const UNWANTED: Duration = Duration::from_secs(10);

/// How long connections live, and how many there are.
pub(super) struct ConnectionLimits {
    pub(super) idle_timeout: Duration,
    pub(super) upload_stall: Duration,
    pub(super) keepalive: Times,
    /// How long a request waits for a connection that cannot be opened yet.
    pub(super) patience: Duration,
    /// For all workers together.
    pub(super) most_connections: usize,
    age: Duration,
    unwanted: Duration,
    /// The time between two runs of the reaper.
    interval: Duration,
}

// === impl ConnectionLimits ===

impl ConnectionLimits {
    pub(super) fn new(config: &UpstreamConfig, most_connections: usize) -> Self {
        let age = config.connection_age;
        let idle_timeout = IDLE_TIMEOUT.min(age);
        let interval = (idle_timeout / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
        Self {
            idle_timeout,
            upload_stall: config.idle_timeout,
            keepalive: Times::default(),
            // Opening the connection then takes up to the same time again: `Pool::wait` allows twice this time.
            patience: config.connect_timeout,
            most_connections,
            age,
            unwanted: UNWANTED.min(idle_timeout / 4),
            interval,
        }
    }

    /// Up to a tenth earlier than the age, so that connections that were opened together do not end together.
    pub(super) fn retires_at(&self, now: Instant) -> Instant {
        let [a, b, ..] = RandomState::new().hash_one(0u8).to_ne_bytes();
        let random = u16::from_ne_bytes([a, b]);
        now + self.age - self.age.mul_f64(0.1 * f64::from(random) / f64::from(u16::MAX))
    }

    pub(super) fn may_idle<B: RequestBody>(&self, conn: &h1::Conn<B>, now: Instant, idle: usize) -> bool {
        idle < MAX_IDLE && conn.may_idle(now)
    }
}

// === impl Pool ===

impl<B: RequestBody> Pool<B> {
    /// Counts one more connection. The pool's clock runs while there are any.
    pub(super) fn connection_began(&self) {
        self.alive.set(self.alive.get() + 1);
        if !self.reaping.replace(true) {
            self.now.set(Instant::now());
            tokio::task::spawn_local(reap(self.this.clone(), self.limits.interval));
        }
    }

    fn reap(&self) {
        let now = Instant::now();
        self.now.set(now);
        self.idle.borrow_mut().retain(|conn| {
            let stays = !conn.is_stale(now);
            if !stays {
                conn.close();
            }
            stays
        });
        self.retire_shared(now);
        // The successor of an old connection in use is opened first, so that no request waits for it. If that fails, the old
        // connection stays.
        if self.shared.borrow().iter().any(|conn| conn.is_due(now))
            && !self.queue.is_opening()
            && self.may_open()
            && self.connections.dials().take(now).is_ok()
        {
            self.open_one();
        }
    }

    /// A connection has lost its peer. Others often have the same fate, so those that have been silent for this time get no more
    /// requests.
    pub(super) fn distrust_silent(&self, time: Duration) {
        self.shared.borrow_mut().retain(|conn| {
            let alive = conn.received_at().elapsed() < time;
            if !alive {
                conn.retire();
            }
            alive
        });
    }

    /// A new connection takes requests from now on.
    pub(super) fn took_over(&self, conn: &Rc<h2::Conn<B>>) {
        if self.draining.get() {
            conn.retire();
            self.forget(conn);
        } else {
            self.retire_shared(self.now.get());
        }
    }

    /// Retires idle connections, and old ones if a younger one can replace them.
    fn retire_shared(&self, now: Instant) {
        let mut shared = self.shared.borrow_mut();
        let has_successor =
            shared.iter().any(|conn| !conn.is_due(now) && conn.is_opened()) || !self.idle.borrow().is_empty();
        shared.retain(|conn| {
            let idle = conn.is_idle_for(self.limits.idle_timeout, now);
            let old = conn.is_due(now) && (has_successor || conn.is_idle_for(self.limits.unwanted, now));
            if idle || old {
                conn.retire();
            }
            !(idle || old)
        });
    }
}

async fn reap<B: RequestBody>(pool: Weak<Pool<B>>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.reap();
        if pool.alive.get() == 0 {
            pool.reaping.set(false);
            return;
        }
    }
}
