//! An authorization server and an API that behave like the real ones, in the process and on one loopback port.
//!
//! Flavours are league/oauth2-server 8 and 9 with Laravel Passport, Priava, and strict RFC 6749 ([`Options`]). Laravel's rules
//! guard the API. A test can inject a fault at any step of an exchange ([`Fault`]). The server logs every token that it issues and every
//! request that it receives ([`Ledger`]), and tests judge by this log. The tokens protect nothing.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use simulator::{Fault, Options, Simulator};
//!
//! let simulator = Simulator::start(Options::league8()).await?;
//! let grant = simulator.grant();
//! simulator.fault(Fault::answer_lost());
//! // … present grant.refresh_token at simulator.token_url() …
//! simulator.wait_until(|ledger| ledger.committed_calls() == 1).await?;
//! assert!(simulator.with_ledger(|ledger| ledger.reused_after_delivery().is_empty()));
//! # Ok(()) }
//! ```
//!
//! The simulator uses no code of the program, so it does not repeat a mistake of the program.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

mod answer;
mod api;
mod authorize;
mod body;
mod clock;
mod control;
mod decision;
mod exchange;
mod fault;
mod guard;
mod laravel;
mod ledger;
mod line;
mod listener;
mod options;
mod redirect_uri;
mod routes;
mod state;
mod throttle;
mod token_endpoint;
mod token_error;
mod token_request;
mod tokens;
mod wire;

#[cfg(test)]
mod tests;

pub use self::answer::Answer;
pub use self::clock::{ServerClock, UnixMs};
pub use self::control::{Grant, Kind, Revocation};
pub use self::fault::{Act, Fault, Step, Target};
pub use self::ledger::{ApiRequest, Credential, Delivery, Issued, Ledger, Outcome, Presented, TokenCall};
pub use self::line::End;
pub use self::options::{
    CLIENT_ID, CLIENT_SECRET, Client, Flavour, GrantType, Guest, Latency, Options, RateLimit, Reuse, Rotation,
};
pub use self::token_error::{DeadCode, DeadRefresh, TokenError};

use self::state::Shared;
use self::tokens::{Challenge, Code};

/// A running server. Clones are handles of the same server, which ends with the last of them.
#[derive(Clone)]
pub struct Simulator {
    running: Arc<Running>,
}

/// The ledger did not reach the expected state in time.
#[derive(Debug, thiserror::Error)]
#[error("not seen within {patience:?}; the server saw {calls} token calls and {requests} requests")]
pub struct NeverSeen {
    patience: Duration,
    calls: usize,
    requests: u64,
}

struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// How long a wait for the ledger may last. A bound for tests that fail, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

// === impl Simulator ===

impl Simulator {
    /// Binds the port and serves on the current runtime.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::new(options));
        let accepting = tokio::spawn(listener::accept(listener, Arc::clone(&shared)));
        Ok(Self { running: Arc::new(Running { shared, address, scheme, accepting: Mutex::new(Some(accepting)) }) })
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// `http://127.0.0.1:port`, or `https`.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.running.scheme, self.running.address)
    }

    pub fn token_url(&self) -> String {
        format!("{}{}", self.origin(), self.shared().read(|state| state.options.flavour.token_path()))
    }

    pub fn authorize_url(&self) -> String {
        format!("{}/oauth/authorize", self.origin())
    }

    /// Issues a grant to the first client, as after a login elsewhere.
    ///
    /// # Panics
    /// If the options name no client.
    #[expect(clippy::expect_used, reason = "a test's own options lack a client")]
    pub fn grant(&self) -> Grant {
        let now = self.clock().now();
        self.shared().change(|state| state.grant(None, now)).expect("the options name a client")
    }

    /// Issues a grant to this client. None if it is unknown.
    pub fn grant_for(&self, client_id: &str) -> Option<Grant> {
        let now = self.clock().now();
        self.shared().change(|state| state.grant(Some(client_id), now))
    }

    /// Issues an authorization code to the first client, as its users see one: with a redirect URI that the token call must
    /// repeat, and an S256 challenge that it must answer.
    pub fn code(&self, redirect_uri: &str, challenge: Option<&str>) -> String {
        let expires_at = self.clock().now().saturating_add(authorize::CODE_LIFETIME_MS);
        self.shared().change(|state| {
            state.tokens.issue_code(Code {
                client: state.options.clients.first().map(|client| client.id.clone()).unwrap_or_default(),
                scopes: vec!["*".to_owned()],
                redirect_uri: Some(redirect_uri.to_owned()),
                challenge: challenge.map(|hash| Challenge::S256(hash.to_owned())),
                expires_at,
                spent_for: None,
            })
        })
    }

    /// Revokes tokens. Returns false for an unknown token.
    pub fn revoke(&self, what: Revocation) -> bool {
        self.shared().change(|state| what.apply(state))
    }

    /// The serial of an access or a refresh token's text.
    pub fn serial(&self, token: &str) -> Option<u64> {
        self.shared().read(|state| {
            let access = state.tokens.find_access(token).map(|(serial, _)| serial);
            access.or_else(|| state.tokens.find_refresh(token).map(|(serial, _)| serial))
        })
    }

    /// # Panics
    /// If the act cannot happen at that step, because the test would test nothing.
    pub fn fault(&self, fault: Fault) {
        assert!(fault.is_possible(), "this fault can't happen: {fault:?}");
        self.shared().change(|state| state.faults.add(fault));
    }

    pub fn clear_faults(&self) {
        self.shared().change(|state| state.faults.clear());
    }

    /// The number of faults that no exchange has met yet.
    pub fn faults_left(&self) -> usize {
        self.shared().read(|state| state.faults.len())
    }

    /// Changes the options from the next exchange on. The listener's address and TLS stay the same.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Options)) {
        self.shared().change(|state| change(&mut state.options));
    }

    pub fn clock(&self) -> &ServerClock {
        &self.shared().clock
    }

    /// Reads the ledger. The server pauses meanwhile.
    pub fn with_ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        self.shared().read(|state| look(&state.ledger))
    }

    /// Waits until a query of the ledger has a result.
    pub async fn wait_for<T>(&self, mut look: impl FnMut(&Ledger) -> Option<T>) -> Result<T, NeverSeen> {
        let mut changes = self.shared().changes();
        let found = timeout(PATIENCE, async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = self.with_ledger(&mut look) {
                    return found;
                }
                // The sender lives as long as this handle.
                let _ = changes.changed().await;
            }
        });
        found.await.map_err(|_| self.with_ledger(NeverSeen::new))
    }

    /// Waits until a condition holds for the ledger.
    pub async fn wait_until(&self, mut holds: impl FnMut(&Ledger) -> bool) -> Result<(), NeverSeen> {
        self.wait_for(|ledger| holds(ledger).then_some(())).await
    }

    /// Ends all connections that are open now.
    pub fn end_connections(&self, how: End) {
        self.shared().end_lines(&how);
    }

    /// Closes the port: the kernel refuses new connections. Open ones continue.
    pub async fn stop_listening(&self) {
        let accepting = self.accepting().take();
        if let Some(task) = accepting {
            task.abort();
            // The port is free once the task is gone.
            let _ = task.await;
        }
    }

    /// Opens the port again.
    pub async fn listen_again(&self) -> io::Result<()> {
        self.stop_listening().await;
        let listener = TcpListener::bind(self.running.address).await?;
        let task = tokio::spawn(listener::accept(listener, Arc::clone(self.shared())));
        *self.accepting() = Some(task);
        Ok(())
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    fn accepting(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.running.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        self.shared.end_lines(&End::Close);
    }
}

// === impl NeverSeen ===

impl NeverSeen {
    fn new(ledger: &Ledger) -> Self {
        Self { patience: PATIENCE, calls: ledger.token_calls().len(), requests: ledger.requests_seen() }
    }
}
