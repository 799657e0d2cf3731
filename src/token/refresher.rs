//! The only writer of the live token. It decides when to refresh, makes one refresh at a time, and handles each outcome.
//!
//! [`Refresher::run`] is a loop that never blocks, in a task that is started again if it dies. Each rotation runs in a task of its
//! own, so no client's disconnect can cancel it. Reads and writes of the store run in another task. Meanwhile the loop answers.
//!
//! | file | content |
//! |---|---|
//! | `command` | the handle of the rest of the program |
//! | `schedule` | when a refresh is due by itself |
//! | `requests` | refreshes that a person asks for |
//! | `backoff` | whether a refresh may be tried now |
//! | `in_flight` | the rotation in flight, and the requests that wait for it |
//! | `outcome` | what follows a rotation |
//! | `store_sync` | reads and writes of the store between rotations |
//! | `reconcile` | how the stored record relates to the known one |
//! | `adopt` | the live token after a new record |
//! | `publish` | the view of the grant that the rest of the program reads |

mod adopt;
mod backoff;
mod command;
mod in_flight;
mod outcome;
mod publish;
mod reconcile;
mod requests;
mod schedule;
mod store_sync;
#[cfg(test)]
#[cfg(feature = "simulator")]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::backoff::Backoff;
pub(in crate::token) use self::command::{Command, Verdict};
pub use self::command::{NotRefreshed, Refusal, Tokens, Unavailable};
use self::in_flight::InFlight;
#[cfg(feature = "internals")]
pub use self::reconcile::{Reconciliation, reconcile};
use self::requests::Requests;
use self::schedule::{Deadlines, Moment};
use self::store_sync::{PersistAgain, SyncResult};
use crate::clock::Clock;
use crate::config::RefreshConfig;
use crate::fault;
use crate::supervise::{Died, Task, supervise};
use crate::token::endpoint::Endpoint;
use crate::token::journal::{Journal, PreparedStore, Settings, TokenSource};
use crate::token::live::Live;
use crate::token::status::Identity;
use crate::token::store::Record;
use crate::token::{Fingerprint, Generation, TokenMetrics, Trigger, policy};

/// How often the loop reads the wall clock, to detect a jump or a suspend.
const TICK: Duration = Duration::from_secs(10);

/// Maximum number of deferred commands. A disk that hangs must not let refusals fill the memory; further ones are rejected.
const MOST_DEFERRED: usize = 1024;

/// The state of the task that owns the grant. It outlives that task: see [`Refresher::run`].
pub struct Refresher {
    journal: Arc<Journal>,
    live: Arc<Live>,
    clock: Clock,
    config: RefreshConfig,
    /// The number of the configuration. An outcome with a lower number belongs to an older one.
    settings_number: u64,
    metrics: TokenMetrics,
    commands: mpsc::UnboundedReceiver<Command>,
    /// The newest record that this process knows.
    record: Option<Record>,
    /// Another process made the last refresh of the record while this one ran.
    by_peer: bool,
    /// The refresh token that a person supplied without an access token, until a refresh with it has succeeded.
    unverified: Option<Fingerprint>,
    /// The store has been read.
    read: bool,
    /// Why the stored document can't be used.
    unusable: Option<String>,
    /// When to read the store.
    next_read: Option<Instant>,
    /// When the store was last read, by the wall clock.
    last_read: Option<jiff::Timestamp>,
    unpersisted: Option<PersistAgain>,
    store_sync: Option<JoinHandle<SyncResult>>,
    /// Requests for a refresh that arrived while the newest record was being stored.
    deferred: Vec<Command>,
    backoff: Backoff,
    in_flight: Option<InFlight>,
    /// A rotation that has ended and whose waiters have no answer yet.
    ending: Option<InFlight>,
    requests: Requests,
    /// When a token was last refreshed on schedule, by this process or by a peer.
    last_scheduled: Option<Instant>,
    /// The generation of a token that is dated in the future. Its age is unknown, so it is renewed.
    misdated: Option<Generation>,
    /// Nothing has been refreshed since the start, and something may be due.
    starting: bool,
    deadlines: Deadlines,
    draining: bool,
    jitter: f64,
}

/// What the process leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// The store holds the newest grant.
    Stored,
    /// Only this process had the live grant.
    GrantLost,
}

/// What woke the loop.
enum Event {
    Command(Option<Command>),
    /// The rotation in flight has ended, and holds its outcome.
    Ended,
    StoreSynced(SyncResult),
    StoreChanged,
    Time,
    Stop,
}

// === impl Refresher ===

impl Refresher {
    /// Creates the refresher and the handle to it. Reads nothing yet.
    pub fn new(journal: Journal, live: Arc<Live>, config: RefreshConfig, identity: Identity) -> (Self, Tokens) {
        let (send, commands) = mpsc::unbounded_channel();
        let tokens = Tokens::new(Arc::clone(&live), send, config.wait, identity);
        let refresher = Self {
            clock: journal.clock.clone(),
            metrics: journal.metrics.clone(),
            journal: Arc::new(journal),
            live,
            commands,
            record: None,
            by_peer: false,
            unverified: None,
            read: false,
            unusable: None,
            next_read: None,
            last_read: None,
            unpersisted: None,
            store_sync: None,
            deferred: Vec::new(),
            backoff: Backoff::new(&config),
            config,
            settings_number: 0,
            in_flight: None,
            ending: None,
            requests: Requests::default(),
            last_scheduled: None,
            misdated: None,
            starting: true,
            deadlines: Deadlines::default(),
            draining: false,
            jitter: policy::random(),
        };
        (refresher, tokens)
    }

    /// Runs until `stop`. Then it lets a refresh in flight finish and be stored, for at most `grace` beyond its time limit. A task
    /// that dies is started again with the same state.
    ///
    /// # Errors
    /// The task died too often.
    pub async fn run(self, stop: watch::Receiver<bool>, grace: Duration) -> Result<Ending, Died> {
        let restarts = self.metrics.restarts().clone();
        let state = Arc::new(Mutex::new(self));
        // Only the task locks the state, so the lock is free once the task is dead.
        let holds = || state.try_lock().is_ok_and(|refresher| refresher.holds_unstored_grant());
        let start = || {
            let (state, stop) = (Arc::clone(&state), stop.clone());
            async move { state.lock().await.work(stop, grace).await }
        };
        supervise(Task::Refresher, &restarts, holds, start).await
    }

    /// Whether the end of the process would lose a grant.
    fn holds_unstored_grant(&self) -> bool {
        self.unpersisted.is_some() || self.in_flight.is_some()
    }

    async fn work(&mut self, mut stop: watch::Receiver<bool>, grace: Duration) -> Ending {
        // If an earlier task died here, requests may still wait for the outcome of its rotation.
        self.conclude(None);
        if self.in_flight.as_ref().is_some_and(InFlight::is_finished) {
            in_flight::ended(&mut self.in_flight).await;
            self.end();
        }
        self.start().await;
        // Both outlive the iterations of the loop. Otherwise a stream of commands would restart the watch and the tick for ever.
        let store = self.journal.store.clone();
        let watching = || changed(store.clone());
        let mut watch = std::pin::pin!(watching());
        let mut tick = tokio::time::interval_at(Instant::now() + TICK, TICK);
        loop {
            fault::task("refresher");
            let now = self.now();
            self.refresh_as_asked(now.monotonic);
            self.refresh_if_due(now);
            self.sync_store(now.monotonic);
            let wake = self.next_wake(now);
            let event = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                () = in_flight::ended(&mut self.in_flight) => Event::Ended,
                synced = store_sync::finished(&mut self.store_sync) => Event::StoreSynced(synced),
                () = &mut watch => Event::StoreChanged,
                _ = tick.tick() => Event::Time,
                () = tokio::time::sleep_until(wake) => Event::Time,
                // Last, because clients can send commands without end, and the other events are rare.
                command = self.commands.recv() => Event::Command(command),
            };
            match event {
                Event::Command(Some(command)) => self.obey(command),
                Event::Ended => self.end(),
                Event::StoreSynced(synced) => self.store_synced(synced),
                Event::StoreChanged => {
                    watch.set(watching());
                    self.next_read = Some(Instant::now());
                }
                Event::Time => self.tick(),
                Event::Command(None) | Event::Stop => break,
            }
        }
        self.stop(grace).await
    }

    /// Adopts what the store holds. If the store can't be read now, the first rotation reads it.
    async fn start(&mut self) {
        let found = self.journal.store.load().await;
        self.found(found);
    }

    fn refresh_if_due(&mut self, now: Moment) {
        match self.due(now) {
            Some((_, Trigger::Rejected)) if self.backoff.may_force(now.monotonic).is_err() => {}
            Some((source, trigger)) => self.begin(source, trigger),
            None if self.read && self.in_flight.is_none() && self.backoff.retry_at().is_none() => {
                self.starting = false;
            }
            None => {}
        }
    }

    fn begin(&mut self, source: TokenSource, trigger: Trigger) {
        tracing::debug!(trigger = trigger.name(), "refresh begins");
        if trigger == Trigger::Scheduled {
            self.last_scheduled = Some(Instant::now());
        }
        let known = self.record.as_ref().map(Record::version);
        let before = self.live.view().generation();
        let journal = Arc::clone(&self.journal);
        self.in_flight = Some(InFlight::begin(journal, known, source, trigger, self.settings_number, before));
        self.publish();
    }

    fn obey(&mut self, command: Command) {
        match command {
            // A refresh may not begin yet, and rejecting the command would report a failure that did not happen.
            Command::Refused(..) | Command::Refresh(_) if self.is_storing() && self.deferred.len() < MOST_DEFERRED => {
                self.deferred.push(command);
            }
            Command::Refused(generation, reply) => {
                let newer = {
                    let view = self.live.view();
                    view.unexpired(self.clock.now()).filter(|token| token.generation > generation).cloned()
                };
                match newer {
                    Some(token) => answer(reply, Verdict::Newer(token)),
                    None => self.force(reply),
                }
            }
            Command::RefusedAgain(generation) => {
                if self.live.view().generation() == generation {
                    self.backoff.refused_again(generation, Instant::now());
                }
            }
            Command::ReplayAccepted => self.backoff.replay_accepted(),
            Command::Refresh(reply) => self.refresh_on_request(reply),
            Command::Reconfigure(new) => self.reconfigure(*new),
            // The command has woken the loop, which begins what is due.
            Command::Wanted | Command::ReplaceSource(_) => {}
            Command::Drain => {
                self.draining = true;
                self.publish();
            }
        }
    }

    /// Continues with a changed configuration. What failed with the old one is tried again now.
    fn reconfigure(&mut self, (endpoint, settings, config): (Endpoint, Settings, RefreshConfig)) {
        self.journal = Arc::new(self.journal.with(endpoint, settings));
        self.settings_number += 1;
        self.backoff.reconfigure(&config, self.clock.now());
        self.config = config;
        // The stored grant may belong to the new server.
        self.next_read = Some(Instant::now());
        self.publish();
    }

    async fn stop(&mut self, grace: Duration) -> Ending {
        self.journal.stopping.store(true, Ordering::Relaxed);
        let end = Instant::now() + self.journal.settings.request_timeout + Duration::from_secs(5);
        if self.in_flight.is_some() {
            tracing::info!("a refresh is in flight: waiting for its end");
            match tokio::time::timeout_at(end, in_flight::ended(&mut self.in_flight)).await {
                Ok(()) => self.end(),
                Err(_) => tracing::error!("the refresh in flight did not end in time; its answer is lost"),
            }
        }
        if self.is_in_memory_alone() {
            // A person may have moved the unusable document away since the last read.
            let found = self.journal.store.load().await;
            self.found(found);
        }
        if self.is_in_memory_alone() {
            tracing::error!(
                check = "grant-unpersisted",
                reason = self.unusable,
                "STOPPING WITH A GRANT THAT IS NOT STORED: the live refresh token was in memory only, because the stored document \
                 can't be used, and it is lost; log in again with `bearer-proxy login`, or store a new grant with `bearer-proxy import`"
            );
            return Ending::GrantLost;
        }
        self.persist_to_the_end(grace).await
    }
}

fn answer(reply: oneshot::Sender<Verdict>, verdict: Verdict) {
    // The client may have disconnected.
    let _ = reply.send(verdict);
}

async fn changed(store: PreparedStore) {
    store.changed().await;
}
