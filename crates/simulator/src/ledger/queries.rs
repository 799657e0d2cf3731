//! The queries of tests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ApiRequest, Credential, Delivery, Issued, Ledger, TokenCall};
use crate::clock::millis;

// === impl Ledger ===

impl Ledger {
    pub fn issued(&self) -> &[Issued] {
        &self.issued
    }

    /// The row of an access token.
    pub fn issued_as(&self, access: u64) -> Option<&Issued> {
        self.issued.iter().find(|issued| issued.access == access)
    }

    pub fn token_calls(&self) -> &[TokenCall] {
        &self.token_calls
    }

    /// The number of open connections.
    pub fn open_connections(&self) -> u64 {
        self.connections - self.connections_ended
    }

    /// The calls that presented this refresh token.
    pub fn calls_with(&self, refresh: u64) -> impl Iterator<Item = &TokenCall> {
        self.token_calls.iter().filter(move |call| call.refresh_token() == Some(refresh))
    }

    /// How often each refresh token was presented.
    pub fn calls_per_refresh_token(&self) -> BTreeMap<u64, usize> {
        count(self.token_calls.iter().filter_map(TokenCall::refresh_token))
    }

    /// How often each refresh token was presented in a call whose response was delivered.
    pub fn answered_calls_per_refresh_token(&self) -> BTreeMap<u64, usize> {
        let answered = self.token_calls.iter().filter(|call| call.delivery == Delivery::Delivered);
        count(answered.filter_map(TokenCall::refresh_token))
    }

    /// Calls that issued tokens.
    pub fn committed_calls(&self) -> usize {
        self.token_calls.iter().filter(|call| call.committed).count()
    }

    /// Calls that presented a refresh token after its successor had been delivered.
    pub fn reused_after_delivery(&self) -> Vec<&TokenCall> {
        self.reused(|first, later| first.acknowledged() && first.ended.is_some_and(|ended| ended < later.began))
    }

    /// Calls that presented a refresh token after the client had used its successor.
    pub fn reused_after_use(&self) -> Vec<&TokenCall> {
        self.reused(|first, later| {
            let successor = first.issued.and_then(|access| self.issued_as(access));
            successor.and_then(|issued| issued.used).is_some_and(|used| used < later.began)
        })
    }

    /// The kept requests, oldest first.
    pub fn requests(&self) -> impl DoubleEndedIterator<Item = &ApiRequest> + ExactSizeIterator {
        self.requests.iter()
    }

    /// The requests to this path with any query.
    pub fn requests_to(&self, path: &str) -> impl DoubleEndedIterator<Item = &ApiRequest> {
        self.requests.iter().filter(move |request| request.path() == path)
    }

    /// All requests to the API, including dropped rows.
    pub fn requests_seen(&self) -> u64 {
        self.dropped_requests + self.requests.len() as u64
    }

    /// How many requests to this path had an effect.
    pub fn executed(&self, path: &str) -> usize {
        self.requests_to(path).filter(|request| request.executed).count()
    }

    /// The requests with a token that had expired more than `tolerance` before, by the server's clock.
    pub fn expired_seen(&self, tolerance: Duration) -> Vec<&ApiRequest> {
        let late = |request: &&ApiRequest| match request.credential {
            Credential::Expired { for_ms, .. } => for_ms > millis(tolerance),
            _ => false,
        };
        self.requests.iter().filter(late).collect()
    }

    /// All requests with an expired token, including dropped rows.
    pub fn expired_seen_total(&self) -> u64 {
        self.expired_seen
    }

    /// The number of accepted TCP connections.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    fn reused(&self, known: impl Fn(&TokenCall, &TokenCall) -> bool) -> Vec<&TokenCall> {
        let reuses = |later: &&TokenCall| {
            let Some(refresh) = later.refresh_token() else { return false };
            self.calls_with(refresh).take_while(|first| first.seq < later.seq).any(|first| known(first, later))
        };
        self.token_calls.iter().filter(reuses).collect()
    }
}

// === impl ApiRequest ===

impl ApiRequest {
    /// Without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }
}

fn count(serials: impl Iterator<Item = u64>) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for serial in serials {
        *counts.entry(serial).or_default() += 1;
    }
    counts
}
