//! The only writer of the live token: when it is refreshed, one at a time, and what follows each outcome.
//!
//! [`Refresher::run`] is a loop that never blocks, in a task that is started again if it dies: the rotation runs in a task of its own that belongs to nobody's request, so
//! that no client's disconnect can cancel it, what is asked of the store runs in another, and the loop goes on answering
//! meanwhile.
//!
//! | file | |
//! |---|---|
//! | `scheduled` | when a refresh is due, unasked |
//! | `attempts` | whether one may be tried now |
//! | `outcome` | what follows a rotation |
//! | `upkeep` | what the store says unasked, and what it has not taken yet |
//! | `reconcile` | what to make of what the store holds |
//! | `publish` | what the rest of the program sees of it |
//! | `command` | what it can ask |
//! | `requests` | refreshes that a person asks for |

mod attempts;
mod command;
mod outcome;
mod publish;
mod reconcile;
mod requests;
mod scheduled;
#[cfg(test)]
#[cfg(feature = "simulator")]
mod tests;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use self::attempts::Attempts;
pub(in crate::token) use self::command::{Command, Verdict};
pub use self::command::{Identity, NotRefreshed, Refusal, Tokens, Unavailable};
pub use self::reconcile::{Reconciliation, reconcile};
use self::requests::Requests;
use self::scheduled::{Ends, Moment};
use self::upkeep::{Errand, PersistAgain};
use crate::clock::Clock;
use crate::config::RefreshConfig;
use crate::fault;
use crate::metrics::Metrics;
use crate::supervise::{Died, Task, supervise};
use crate::token::endpoint::{Endpoint, Failure};
use crate::token::journal::{Issue, Journal, Plan, Prepared, Rotation, Settings, Which, plan_stored};
use crate::token::live::Live;
use crate::token::store::Record;
use crate::token::{Fingerprint, Generation, Outcome, Trigger, policy};

/// How often the wall clock is looked at, so that a jump or a suspend is noticed.
const TICK: Duration = Duration::from_secs(10);

/// What the task that owns the grant knows and holds. It outlives the task: see [`Refresher::run`].
pub struct Refresher {
    journal: Arc<Journal>,
    live: Arc<Live>,
    clock: Clock,
    config: RefreshConfig,
    /// Counts the configurations, so that an outcome is known to be of an older one.
    settings_number: u64,
    metrics: Metrics,
    commands: mpsc::UnboundedReceiver<Command>,
    /// The newest record that this process knows.
    record: Option<Record>,
    /// Another process made the record's last refresh, while this one ran.
    by_peer: bool,
    /// Of a refresh token that a person gave without an access token, so that nobody knows yet whether it works.
    unproven: Option<Fingerprint>,
    /// The store has been read.
    read: bool,
    /// Why what the store holds is of no use to anybody.
    unusable: Option<String>,
    /// When the store is looked at.
    look_at: Option<Instant>,
    unpersisted: Option<PersistAgain>,
    errand: Option<JoinHandle<Errand>>,
    attempts: Attempts,
    in_flight: Option<InFlight>,
    /// A rotation that has ended, and whose waiters have no answer yet.
    ending: Option<InFlight>,
    requests: Requests,
    /// When a token was last refreshed on schedule, here or by a peer.
    scheduled: Option<Instant>,
    /// When the store was last read, by the wall clock.
    looked: Option<jiff::Timestamp>,
    /// The generation of a token that is dated in the future: nobody knows how old it is, so it is renewed.
    misdated: Option<Generation>,
    /// Nothing was refreshed yet, and something may be due.
    starting: bool,
    /// The live token's end by the monotonic clock, which ends it even where the wall clock was set back.
    ends: Ends,
    draining: bool,
    jitter: f64,
}

struct InFlight {
    which: Which,
    trigger: Trigger,
    /// A refusal caused or joined it.
    held: bool,
    began: Instant,
    /// The number of the configuration that it began with.
    settings: u64,
    /// The live generation when it began.
    before: Generation,
    task: JoinHandle<Rotation>,
    issue: Issue,
    /// How it ended, from the moment when its task is over.
    ended: Option<Rotation>,
    /// Its task did not end as it should.
    died: bool,
    /// It ended with a new refresh token alone.
    odd: bool,
    waiters: Vec<oneshot::Sender<Verdict>>,
}

/// What the process leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// The store holds all that this process knew.
    Stored,
    /// The live grant was in this process alone.
    GrantLost,
}

/// What woke the loop.
enum Event {
    Command(Option<Command>),
    /// The rotation in flight, which holds its outcome.
    Ended,
    Errand(Errand),
    StoreChanged,
    Time,
    Stop,
}

// === impl Refresher ===

impl Refresher {
    /// The task and the handle to it. Reads nothing yet.
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
            unproven: None,
            read: false,
            unusable: None,
            look_at: None,
            unpersisted: None,
            errand: None,
            attempts: Attempts::new(&config),
            config,
            settings_number: 0,
            in_flight: None,
            ending: None,
            requests: Requests::default(),
            scheduled: None,
            looked: None,
            misdated: None,
            starting: true,
            ends: Ends::default(),
            draining: false,
            jitter: policy::random(),
        };
        (refresher, tokens)
    }

    /// Runs until told to stop; then a refresh in flight finishes and is stored, for at most `grace` beyond its own time limit.
    /// A task that dies is started again, and goes on with what this one held.
    ///
    /// # Errors
    /// It died too often.
    pub async fn run(self, stop: watch::Receiver<bool>, grace: Duration) -> Result<Ending, Died> {
        let restarts = self.metrics.restarts().clone();
        let held = Arc::new(Mutex::new(self));
        // Nobody else locks it, so that it is free once the task is dead.
        let holds = || held.try_lock().is_ok_and(|refresher| refresher.holds_what_is_not_stored());
        let start = || {
            let (held, stop) = (Arc::clone(&held), stop.clone());
            async move { held.lock().await.work(stop, grace).await }
        };
        supervise(Task::Refresher, &restarts, holds, start).await
    }

    /// Whether the end of the process would lose a grant.
    fn holds_what_is_not_stored(&self) -> bool {
        self.unpersisted.is_some() || self.in_flight.is_some()
    }

    async fn work(&mut self, mut stop: watch::Receiver<bool>, grace: Duration) -> Ending {
        // Where the task died, somebody may still wait for the outcome of a rotation.
        self.conclude(None);
        if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.task.is_finished()) {
            ended(&mut self.in_flight).await;
            self.end();
        }
        self.start().await;
        // Both outlive the turns of the loop: commands that come all the time must not begin the watch or the tick anew.
        let store = self.journal.store.clone();
        let watching = || changed(store.clone());
        let mut watch = std::pin::pin!(watching());
        let mut tick = tokio::time::interval_at(Instant::now() + TICK, TICK);
        loop {
            fault::task("refresher");
            let now = self.now();
            self.refresh_as_asked(now.monotonic);
            self.refresh_if_due(now);
            self.run_errands(now.monotonic);
            let wake = self.next_wake(now);
            let event = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                () = ended(&mut self.in_flight) => Event::Ended,
                errand = upkeep::done(&mut self.errand) => Event::Errand(errand),
                () = &mut watch => Event::StoreChanged,
                _ = tick.tick() => Event::Time,
                () = tokio::time::sleep_until(wake) => Event::Time,
                // The last: clients can send these without end, and each of the others comes seldom.
                command = self.commands.recv() => Event::Command(command),
            };
            match event {
                Event::Command(Some(command)) => self.obey(command),
                Event::Ended => self.end(),
                Event::Errand(errand) => self.errand_done(errand),
                Event::StoreChanged => {
                    watch.set(watching());
                    self.look_at = Some(Instant::now());
                }
                Event::Time => self.tick(),
                Event::Command(None) | Event::Stop => break,
            }
        }
        self.stop(grace).await
    }

    /// Takes up what the store holds. What can't be read now is found out by the first rotation.
    async fn start(&mut self) {
        let found = self.journal.store.load().await;
        self.found(found);
    }

    fn refresh_if_due(&mut self, now: Moment) {
        match self.due(now) {
            Some((_, Trigger::Rejected)) if self.attempts.may_force(now.monotonic).is_err() => {}
            Some((which, trigger)) => self.begin(which, trigger),
            None if self.read && self.in_flight.is_none() && self.attempts.retry_at().is_none() => {
                self.starting = false
            }
            None => {}
        }
    }

    fn begin(&mut self, which: Which, trigger: Trigger) {
        let journal = Arc::clone(&self.journal);
        let issue = Issue::default();
        let known = self.record.as_ref().map(Record::version);
        tracing::debug!(trigger = trigger.name(), "refresh begins");
        if trigger == Trigger::Scheduled {
            self.scheduled = Some(Instant::now());
        }
        self.in_flight = Some(InFlight {
            which,
            trigger,
            held: false,
            began: Instant::now(),
            settings: self.settings_number,
            before: self.live.view().generation(),
            // A task of its own: nothing that is dropped elsewhere can cancel a call whose bytes have left.
            task: tokio::spawn({
                let issue = issue.clone();
                async move { journal.rotate(known, which, trigger, &issue).await }
            }),
            issue,
            ended: None,
            died: false,
            odd: false,
            waiters: Vec::new(),
        });
        self.publish();
    }

    fn obey(&mut self, command: Command) {
        match command {
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
                    self.attempts.refused_again(generation, Instant::now());
                }
            }
            Command::ReplayAccepted => self.attempts.replay_accepted(),
            Command::Refresh(reply) => self.refresh_on_request(reply),
            Command::Reconfigure(new) => self.reconfigure(*new),
            // What is due is begun by the loop, which this has woken.
            Command::Wanted | Command::ReplaceSource(_) => {}
            Command::Drain => {
                self.draining = true;
                self.publish();
            }
        }
    }

    /// Goes on with a changed configuration. What failed with the old one is tried again now.
    fn reconfigure(&mut self, (endpoint, settings, config): (Endpoint, Settings, RefreshConfig)) {
        self.journal = Arc::new(self.journal.with(endpoint, settings));
        self.settings_number += 1;
        self.attempts.reconfigure(&config, self.clock.now());
        self.config = config;
        // What is stored may belong to the server that is configured now.
        self.look_at = Some(Instant::now());
        self.publish();
    }

    /// A refusal of the live token: joins the refresh in flight, or causes one where that is allowed.
    fn force(&mut self, reply: oneshot::Sender<Verdict>) {
        if self.in_flight.is_none() {
            let allowed = if self.unpersisted.is_some() {
                Err("the new grant could not be stored yet")
            } else if matches!(plan_stored(&self.journal.settings, self.record.as_ref()), Plan::NeedsLogin(_)) {
                Err("the grant needs a login")
            } else {
                self.attempts.may_force(Instant::now())
            };
            if let Err(reason) = allowed {
                return answer(reply, Verdict::PassOn(reason.to_owned()));
            }
            self.begin(Which::Stored, Trigger::Rejected);
        }
        if let Some(in_flight) = &mut self.in_flight
            && !in_flight.held
        {
            in_flight.held = true;
            self.publish();
        }
        self.join(reply);
    }

    fn join(&mut self, reply: oneshot::Sender<Verdict>) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.waiters.push(reply);
        }
    }

    async fn stop(&mut self, grace: Duration) -> Ending {
        self.journal.stopping.store(true, Ordering::Relaxed);
        let end = Instant::now() + self.journal.settings.request_timeout + Duration::from_secs(5);
        if self.in_flight.is_some() {
            tracing::info!("a refresh is in flight: waiting for its end");
            match tokio::time::timeout_at(end, ended(&mut self.in_flight)).await {
                Ok(()) => self.end(),
                Err(_) => tracing::error!("the refresh in flight did not end in time; its answer is lost"),
            }
        }
        if self.is_in_memory_alone() {
            // It may have been moved away just now.
            let found = self.journal.store.load().await;
            self.found(found);
        }
        if self.is_in_memory_alone() {
            tracing::error!(
                reason = self.unusable,
                "STOPPING WITH A GRANT THAT IS NOT STORED: the live refresh token was in memory alone, since the stored document \
                 can't be used, and is lost; log in again and store the new grant with `bearer-proxy import`"
            );
            return Ending::GrantLost;
        }
        self.persist_to_the_end(grace).await
    }
}

fn answer(reply: oneshot::Sender<Verdict>, verdict: Verdict) {
    // A client that no longer waits is no error.
    let _ = reply.send(verdict);
}

async fn changed(store: Prepared) {
    store.changed().await;
}

/// Returns when the rotation in flight has ended, and keeps its outcome there; pending for ever where there is none.
async fn ended(in_flight: &mut Option<InFlight>) {
    let Some(in_flight) = in_flight else { return std::future::pending().await };
    if in_flight.ended.is_none() {
        let joined = (&mut in_flight.task).await;
        in_flight.died = joined.is_err();
        in_flight.ended = Some(joined.unwrap_or_else(|error| abnormal(&error, &in_flight.issue)));
    }
}

/// What a rotation has come to whose task died: what it was answered is kept, and its lease ends by itself.
fn abnormal(error: &JoinError, issue: &Issue) -> Rotation {
    match issue.take() {
        Some(renewed) => Rotation::Renewed(renewed),
        None => {
            let how = if error.is_panic() { "panic" } else { "cancelled" };
            let error = format!("the refresh ended abnormally ({how})");
            Rotation::Failed(Failure { outcome: Outcome::Ambiguous, error, retry_after: None }, None)
        }
    }
}
