//! An upstream: everything that the requests to one API share, in all workers.

use std::rc::Rc;

use super::in_flight::InFlightLimit;
use super::replay::Budget;
use crate::config::{Config, UpstreamConfig};
use crate::descriptors;
use crate::metrics::Metrics;
use crate::outbound::{Connector, TlsError};
use crate::upstream::pool::{OpenConnections, Pool, RequestBody};

/// A worker reads it when it builds its layers, not per request. A request touches nothing that workers share, except the two
/// bounds.
pub struct Upstream {
    pub(super) config: UpstreamConfig,
    pub in_flight: InFlightLimit,
    pub(super) budget: Budget,
    connector: Connector,
    /// The maximum number of connections of all workers together.
    most_connections: usize,
    connections: OpenConnections,
}

// === impl Upstream ===

impl Upstream {
    /// Reads the certificates.
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, TlsError> {
        let Config { upstream, outbound, .. } = config;
        let certificate = upstream.client_cert.as_ref();
        let connector = Connector::new(upstream.origin.clone(), outbound, certificate, upstream.connect_timeout)?;
        Ok(Self {
            in_flight: InFlightLimit::new(upstream.max_in_flight, upstream.queue_timeout, metrics.tunnels()),
            budget: Budget::new(upstream.replay_budget),
            config: upstream.clone(),
            connector,
            most_connections: descriptors::for_connections(&config.runtime),
            connections: metrics.upstream_connections(),
        })
    }

    /// Keeps the bounds of its predecessor if they are the same: requests that began before a reload still count.
    pub fn succeeding(mut self, old: &Self) -> Self {
        let (new, before) = (&self.config, &old.config);
        if new.max_in_flight == before.max_in_flight && new.queue_timeout == before.queue_timeout {
            self.in_flight = old.in_flight.clone();
        }
        if new.replay_budget == before.replay_budget {
            self.budget = old.budget.clone();
        }
        self
    }

    /// From now on, a request that finds no place learns that this process is draining.
    pub fn drain(&self) {
        self.in_flight.drain();
    }

    /// The connections of one worker.
    pub fn pool<B: RequestBody>(&self) -> Rc<Pool<B>> {
        Pool::new(self.connector.clone(), &self.config, self.most_connections, self.connections.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn upstream(max_in_flight: &str, replay_budget: &str) -> Upstream {
        let variables = [
            ("BEARER_PROXY_OAUTH__GRANT", "static"),
            ("BEARER_PROXY_OAUTH__ACCESS_TOKEN", "token"),
            ("BEARER_PROXY_UPSTREAM__URL", "http://127.0.0.1:9"),
            ("BEARER_PROXY_UPSTREAM__MAX_IN_FLIGHT", max_in_flight),
            ("BEARER_PROXY_UPSTREAM__REPLAY_BUDGET", replay_budget),
        ];
        let config = Config::load(&Sources::new(None, variables)).unwrap().config;
        Upstream::new(&config, &Metrics::new()).unwrap()
    }

    #[test]
    fn requests_before_a_reload_count_against_a_bound_that_stays_the_same() {
        let old = upstream("1", "1KiB");
        let _place = old.in_flight.at_once().unwrap();
        assert!(old.budget.take(1024));
        let same = upstream("1", "1KiB").succeeding(&old);
        assert!(same.in_flight.at_once().is_err() && !same.budget.take(1));
        let other = upstream("2", "2KiB").succeeding(&old);
        assert!(other.in_flight.at_once().is_ok() && other.budget.take(1));
    }
}
