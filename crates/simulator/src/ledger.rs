//! The server's log of what it issued and what reached it. Tests judge by this log, not by the client's.
//!
//! Serial numbers name tokens. They count from 1, separately for access and refresh tokens. The ledger holds no text of a token.
//! Ticks give the order of events: the ledger counts events, so no clock disturbs the order.

use std::collections::VecDeque;

use serde::Serialize;

use super::clock::UnixMs;

mod entry;
mod queries;
#[cfg(test)]
mod tests;

pub use entry::{ApiRequest, Credential, Delivery, Issued, Outcome, Presented, TokenCall};

/// Everything that the server has seen and done, in order.
#[derive(Debug, Serialize)]
pub struct Ledger {
    issued: Vec<Issued>,
    token_calls: Vec<TokenCall>,
    /// The latest rows. Older rows are dropped and counted in `dropped_requests`.
    requests: VecDeque<ApiRequest>,
    dropped_requests: u64,
    connections: u64,
    connections_ended: u64,
    /// Requests that carried an expired token, including dropped rows.
    expired_seen: u64,
    tick: u64,
    #[serde(skip)]
    capacity: usize,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            issued: Vec::new(),
            token_calls: Vec::new(),
            requests: VecDeque::new(),
            dropped_requests: 0,
            connections: 0,
            connections_ended: 0,
            expired_seen: 0,
            tick: 0,
            capacity: capacity.max(1),
        }
    }

    /// Numbers a connection.
    pub(super) fn open_connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    /// The server reads nothing more from the connection.
    pub(super) fn end_connection(&mut self) {
        self.connections_ended += 1;
    }

    pub(super) fn record_issued(&mut self, issued: Issued) {
        self.tick += 1;
        self.issued.push(issued);
    }

    /// Starts the row of a call and returns its number.
    pub(super) fn open_call(&mut self, connection: u64, at: UnixMs) -> u64 {
        self.tick += 1;
        let seq = self.token_calls.len() as u64 + 1;
        self.token_calls.push(TokenCall::new(seq, connection, at, self.tick));
        seq
    }

    pub(super) fn call_mut(&mut self, seq: u64) -> Option<&mut TokenCall> {
        self.token_calls.get_mut(usize::try_from(seq).ok()?.checked_sub(1)?)
    }

    /// Records what the call presented. This counts as a use of the tokens that were issued with it.
    pub(super) fn present(&mut self, seq: u64, presented: Presented) {
        if let Presented::Refresh { serial } = presented {
            self.mark_used(|issued| issued.refresh == Some(serial));
        }
        if let Some(call) = self.call_mut(seq) {
            call.presented = presented;
        }
    }

    pub(super) fn decide_call(&mut self, seq: u64, outcome: Outcome) {
        if let Some(call) = self.call_mut(seq) {
            call.outcome = outcome;
        }
    }

    /// Records that the call issued this access token and what came with it.
    pub(super) fn commit_call(&mut self, seq: u64, access: u64) {
        if let Some(call) = self.call_mut(seq) {
            call.outcome = Outcome::Granted;
            call.committed = true;
            call.issued = Some(access);
        }
    }

    pub(super) fn end_call(&mut self, seq: u64, delivery: Delivery) {
        self.tick += 1;
        let tick = self.tick;
        if let Some(call) = self.call_mut(seq) {
            call.delivery = delivery;
            call.ended = Some(tick);
        }
    }

    /// Starts the row of a request and returns its number.
    pub(super) fn open_request(&mut self, mut request: ApiRequest) -> u64 {
        self.tick += 1;
        match request.credential {
            Credential::Live { token } | Credential::Revoked { token } => {
                self.mark_used(|issued| issued.access == token);
            }
            Credential::Expired { .. } => self.expired_seen += 1,
            _ => {}
        }
        if self.requests.len() >= self.capacity {
            self.requests.pop_front();
            self.dropped_requests += 1;
        }
        request.seq = self.requests_seen() + 1;
        let seq = request.seq;
        self.requests.push_back(request);
        seq
    }

    /// None if the row was dropped.
    pub(super) fn request_mut(&mut self, seq: u64) -> Option<&mut ApiRequest> {
        self.tick += 1;
        let index = seq.checked_sub(self.dropped_requests)?.checked_sub(1)?;
        self.requests.get_mut(usize::try_from(index).ok()?)
    }

    pub(super) fn end_request(&mut self, seq: u64, delivery: Delivery) {
        if let Some(request) = self.request_mut(seq) {
            request.delivery = delivery;
        }
    }

    fn mark_used(&mut self, which: impl Fn(&Issued) -> bool) {
        let tick = self.tick;
        // From the end: the tokens in use are the last ones that were issued.
        if let Some(issued) = self.issued.iter_mut().rev().find(|issued| which(issued)) {
            issued.used.get_or_insert(tick);
        }
    }
}
