//! The only writer of the live token: when it is refreshed, one at a time, and what follows each outcome.
//!
//! [`Refresher::run`] is a loop that never blocks on a refresh: the rotation runs in a task of its own that belongs to nobody's
//! request, so that no client's disconnect can cancel it, and the loop goes on answering meanwhile.

mod attempts;
mod command;
mod scheduled;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::attempts::Attempts;
pub(in crate::token) use self::command::{Command, Verdict};
pub use self::command::{Identity, NotRefreshed, Refusal, Tokens, Unavailable};
use crate::clock::Clock;
use crate::config::RefreshConfig;
use crate::fault;
use crate::metrics::Metrics;
use crate::token::endpoint::{Endpoint, Failure};
use crate::token::journal::{self, Journal, Renewed, Rotation, Settings, Unpersisted};
use crate::token::live::{Live, LiveToken, View};
use crate::token::store::{Record, Version, Written};
use crate::token::{Generation, Outcome, Trigger, policy};

/// How often the wall clock is looked at, so that a jump or a suspend is noticed.
const TICK: Duration = Duration::from_secs(10);
/// First and longest pause between two tries to store what could not be stored.
const PERSIST_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How long a wrong configuration rests before it is tried again unasked (interface document §5).
const MISCONFIGURED_REST: Duration = Duration::from_secs(15 * 60);

/// The task that owns the grant.
pub struct Refresher {
    journal: Arc<Journal>,
    live: Arc<Live>,
    clock: Clock,
    config: RefreshConfig,
    metrics: Metrics,
    commands: mpsc::UnboundedReceiver<Command>,
    /// The newest record that this process knows.
    record: Option<Record>,
    attempts: Attempts,
    in_flight: Option<InFlight>,
    unpersisted: Option<PersistAgain>,
    /// A refresh token that a person stored without an access token: whether it works is found out at once.
    untried: Option<Version>,
    /// The monotonic end of the live token: it ends the token even where the wall clock was set back.
    monotonic_end: Option<Instant>,
    started_at: Timestamp,
    draining: bool,
    jitter: f64,
}

struct InFlight {
    trigger: Trigger,
    /// The grant that was known when it began.
    known: Option<Version>,
    /// A refusal caused or joined it.
    held: bool,
    began: Instant,
    task: JoinHandle<Rotation>,
    waiters: Vec<oneshot::Sender<Verdict>>,
}

struct PersistAgain {
    what: Unpersisted,
    at: Instant,
    pause: Duration,
}

/// What woke the loop.
enum Event {
    Command(Option<Command>),
    Ended(Rotation),
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
            started_at: journal.clock.now(),
            draining: false,
            clock: journal.clock.clone(),
            metrics: journal.metrics.clone(),
            journal: Arc::new(journal),
            live,
            commands,
            record: None,
            attempts: Attempts::new(&config),
            config,
            in_flight: None,
            unpersisted: None,
            untried: None,
            monotonic_end: None,
            jitter: policy::random(),
        };
        (refresher, tokens)
    }

    /// Runs until told to stop; then a refresh in flight finishes and is stored, for at most `grace` beyond its own time limit.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>, grace: Duration) {
        self.start().await;
        loop {
            self.refresh_if_due();
            let wake = self.next_wake();
            let event = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                command = self.commands.recv() => Event::Command(command),
                rotation = ended(&mut self.in_flight) => Event::Ended(rotation),
                () = self.journal.store.changed() => Event::StoreChanged,
                () = tokio::time::sleep_until(wake) => Event::Time,
            };
            match event {
                Event::Command(Some(command)) => self.obey(command),
                Event::Ended(rotation) => self.end(rotation),
                Event::StoreChanged => self.look_at_store().await,
                Event::Time => self.tick().await,
                Event::Command(None) | Event::Stop => break,
            }
        }
        self.stop(grace).await;
    }

    /// Takes up what the store holds. What can't be read now is found out by the first rotation.
    async fn start(&mut self) {
        match self.journal.store.load().await {
            Ok(Some(record)) => {
                let unclear = record.intent.is_some() && record.needs_login.is_none();
                self.adopt(record, None);
                if unclear && self.attempts.not_before().is_ok() {
                    // A process was killed in a call, or is in it now: how that ended is found out, however long the token
                    // that it may have ended has to live.
                    self.begin(Trigger::Startup);
                }
            }
            Ok(None) => self.publish(),
            Err(error) => {
                tracing::error!(%error, "the stored grant could not be read");
                self.publish();
            }
        }
    }

    // --- when ---

    fn refresh_if_due(&mut self) {
        if self.in_flight.is_some() || self.unpersisted.is_some() {
            return;
        }
        if let Some(trigger) = self.due() {
            self.begin(trigger);
        }
    }

    /// The first moment at which something may have to be done.
    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let mut wake = now + TICK;
        if self.in_flight.is_none() {
            wake = self.due_at(now).map_or(wake, |due| wake.min(due));
        }
        if let Some(again) = &self.unpersisted {
            wake = wake.min(again.at);
        }
        if let Some(end) = self.monotonic_end
            && end > now
        {
            wake = wake.min(end);
        }
        wake
    }

    fn begin(&mut self, trigger: Trigger) {
        let journal = Arc::clone(&self.journal);
        let known = self.record.as_ref().map(Record::version);
        tracing::debug!(trigger = trigger.name(), "refresh begins");
        self.untried = None;
        self.in_flight = Some(InFlight {
            trigger,
            known,
            held: trigger == Trigger::Rejected,
            began: Instant::now(),
            // A task of its own: nothing that is dropped elsewhere can cancel a call whose bytes have left.
            task: tokio::spawn(async move { journal.rotate(known, trigger).await }),
            waiters: Vec::new(),
        });
        self.publish();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Refused(generation, reply) => {
                let verdict = match &self.live.view().token {
                    Some(token) if token.generation > generation => Some(Verdict::Newer(Arc::clone(token))),
                    _ => None,
                };
                if let Some(verdict) = verdict {
                    let _ = reply.send(verdict);
                } else {
                    self.force(reply);
                }
            }
            Command::RefusedAgain(generation) => {
                if self.live.view().generation() == generation {
                    self.attempts.refused_again(generation, Instant::now());
                }
            }
            Command::ReplayAccepted => self.attempts.replay_accepted(),
            Command::Refresh(reply) => self.refresh(reply),
            Command::Reconfigure(new) => self.reconfigure(*new),
            Command::ReplaceSource(_) => {}
            Command::Drain => {
                self.draining = true;
                self.publish();
            }
        }
    }

    /// Goes on with a changed configuration. What was put off for the old one's sake is tried again.
    fn reconfigure(&mut self, (endpoint, settings, config): (Endpoint, Settings, RefreshConfig)) {
        self.journal = Arc::new(self.journal.with(endpoint, settings));
        self.attempts.reconfigure(&config);
        self.config = config;
        match self.record.take() {
            Some(record) => self.adopt(record, None),
            None => self.publish(),
        }
    }

    /// A person asks: neither backoff nor cooldown applies.
    fn refresh(&mut self, reply: oneshot::Sender<Verdict>) {
        if self.unpersisted.is_some() {
            // What the store holds is spent: presenting it again would be the one mistake that can't be mended.
            let _ =
                reply.send(Verdict::PassOn("the present grant could not be stored yet: mend the store first".into()));
            return;
        }
        if self.in_flight.is_none() {
            self.begin(Trigger::Manual);
        }
        self.join(reply);
    }

    /// A refusal of the live token: joins the refresh in flight, or causes one where that is allowed.
    fn force(&mut self, reply: oneshot::Sender<Verdict>) {
        if self.in_flight.is_none() {
            let allowed = if self.unpersisted.is_some() {
                Err("the new grant could not be stored yet")
            } else if self.record.as_ref().is_some_and(|record| record.needs_login.is_some()) {
                Err("the grant needs a login")
            } else {
                self.attempts.may_force(Instant::now())
            };
            if let Err(reason) = allowed {
                let _ = reply.send(Verdict::PassOn(reason.to_owned()));
                return;
            }
            self.begin(Trigger::Rejected);
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

    // --- what follows ---

    fn end(&mut self, rotation: Rotation) {
        let Some(InFlight { trigger, known, began, waiters, .. }) = self.in_flight.take() else { return };
        let took = began.elapsed();
        let present = self.record.as_ref().map(Record::version);
        let is_present = |tried: &Option<Box<Record>>| present == tried.as_ref().map_or(known, |it| Some(it.version()));
        let verdict = match rotation {
            Rotation::Renewed(renewed) => self.renewed(renewed, trigger, took),
            // Another grant was seen while it was in flight: what it says is of the one before.
            Rotation::Failed(failure, tried) if present != known && !is_present(&tried) => {
                self.metrics.refresh(trigger, failure.outcome, took);
                self.publish();
                self.live_verdict()
            }
            Rotation::Adopted(record) => {
                tracing::info!(generation = record.generation.0, "another process has stored a newer grant");
                self.metrics.refresh(Trigger::Peer, Outcome::Ok, took);
                self.adopt(*record, Some(trigger));
                self.live_verdict()
            }
            Rotation::Failed(failure, record) => self.failed(failure, record.map(|record| *record), trigger, took),
        };
        for waiter in waiters {
            // A client that no longer waits is no error.
            let _ = waiter.send(verdict.clone());
        }
    }

    fn renewed(&mut self, renewed: Renewed, trigger: Trigger, took: Duration) -> Verdict {
        let Renewed { record, unpersisted } = renewed;
        self.metrics.refresh(trigger, Outcome::Ok, took);
        tracing::info!(trigger = trigger.name(), generation = record.generation.0, "the token was refreshed");
        if let Some(what) = unpersisted {
            tracing::error!(
                error = what.error,
                "the new grant could not be stored: it is used from memory, stored as soon as possible, and lost if this process \
                 is killed before"
            );
            self.unpersisted =
                Some(PersistAgain { what, at: Instant::now() + PERSIST_AGAIN.0, pause: PERSIST_AGAIN.0 });
        }
        self.adopt(*record, Some(trigger));
        fault::point("published");
        self.live_verdict()
    }

    fn failed(&mut self, failure: Failure, record: Option<Record>, trigger: Trigger, took: Duration) -> Verdict {
        let Failure { outcome, error, retry_after } = failure;
        self.metrics.refresh(trigger, outcome, took);
        let had_first = self.has_first();
        if let Some(record) = record {
            self.record = Some(record);
        }
        let needs_login = self.record.as_ref().and_then(|record| record.needs_login.clone());
        match outcome {
            // A first token was refused, and there is a stored grant: that one is next.
            Outcome::Rejected if needs_login.is_none() && had_first && !self.has_first() => {
                self.attempts.retry_at_once()
            }
            Outcome::Rejected => {
                let reason = needs_login.unwrap_or_else(|| error.clone());
                tracing::error!(reason, "the grant needs a login");
                self.attempts.rest_until_changed(reason);
            }
            Outcome::Misconfigured => {
                tracing::error!(
                    error,
                    trigger = trigger.name(),
                    "the refresh was refused for a reason that lies in the configuration; the grant is kept"
                );
                self.attempts.rest(MISCONFIGURED_REST, self.clock.now());
            }
            Outcome::Transient | Outcome::Ambiguous | Outcome::Ok => {
                let pause = self.attempts.back_off(retry_after, self.clock.now());
                tracing::warn!(
                    error,
                    outcome = outcome.name(),
                    trigger = trigger.name(),
                    retry_in_ms = pause.as_millis(),
                    "the refresh failed and is tried again"
                );
            }
        }
        self.attempts.failed(outcome, &error, trigger, took, self.clock.now());
        self.publish();
        Verdict::PassOn(error)
    }

    /// Makes `record` the one that requests run on. `made_by`: the trigger of our own refresh that led to it; `None`: a peer's.
    fn adopt(&mut self, record: Record, made_by: Option<Trigger>) {
        let news = self.record.as_ref().map(Record::version) != Some(record.version());
        if news {
            self.jitter = policy::random();
            self.attempts.succeeded();
            let forced = record.last_refresh.as_ref().is_some_and(|last| last.trigger == Trigger::Rejected);
            if forced || made_by == Some(Trigger::Rejected) {
                self.attempts.forced(record.generation);
            }
        }
        // With a refresh in flight it is most often our own that is seen first in the store.
        if made_by.is_none() && news && self.record.is_some() && self.in_flight.is_none() {
            tracing::info!(generation = record.generation.0, "another process has stored a newer grant");
        }
        self.record = Some(record);
        if let Some(mismatch) = self.mismatch()
            && !self.has_first()
        {
            tracing::error!(reason = mismatch, "the grant needs a login");
            self.attempts.rest_until_changed(mismatch);
        }
        self.publish();
    }

    /// Why the grant is not used with the present configuration.
    fn mismatch(&self) -> Option<String> {
        let binding = &self.record.as_ref().filter(|_| !self.is_client_credentials())?.binding;
        journal::binding_mismatch(binding, &self.journal.settings.binding)
    }

    /// Whether the configuration has a first token that was never taken.
    fn has_first(&self) -> bool {
        self.journal.settings.first_to_try(self.record.as_ref()).is_some()
    }

    fn live_verdict(&self) -> Verdict {
        match &self.live.view().token {
            Some(token) => Verdict::Newer(Arc::clone(token)),
            None => Verdict::PassOn("no token".into()),
        }
    }

    async fn look_at_store(&mut self) {
        if self.unpersisted.is_some() {
            // What we hold is newer than what is stored, or will be found not to be when it is written.
            return;
        }
        let known = self.record.as_ref();
        match self.journal.store.load().await {
            Ok(Some(record)) if known.is_none_or(|known| newer(&record, known)) => {
                let bare = known.is_some_and(|known| given_bare(&record, known));
                if bare {
                    // Whatever was given up, or waited for, was so for the old grant's sake.
                    self.attempts.succeeded();
                    self.untried = Some(record.version());
                }
                self.adopt(record, None);
            }
            Ok(Some(record)) if known.is_some_and(|known| known.version() == record.version()) => self.note(record),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the stored grant could not be read"),
        }
    }

    /// Takes over what was noted on the grant that is known: a peer's intent, or the end of one.
    fn note(&mut self, record: Record) {
        let given_up = record.needs_login.is_some();
        self.record = Some(record);
        if !given_up && self.mismatch().is_none() && self.attempts.resting_reason().is_some() {
            // It could not be read, and somebody has mended it.
            self.attempts.retry_at_once();
        }
        self.publish();
    }

    async fn tick(&mut self) {
        if let Some(end) = self.monotonic_end
            && end <= Instant::now()
        {
            self.monotonic_end = None;
            if let Some(token) = &self.live.view().token {
                token.end();
            }
        }
        if self.unpersisted.as_ref().is_some_and(|again| again.at <= Instant::now()) {
            self.persist_again().await;
        }
        self.live.wake();
    }

    async fn persist_again(&mut self) {
        let (Some(again), Some(record)) = (&mut self.unpersisted, &self.record) else { return };
        match self.journal.persist(&again.what, record).await {
            Ok(Written::Done) => {
                tracing::info!("the new grant is stored");
                self.unpersisted = None;
            }
            Ok(Written::Superseded(Some(theirs))) => {
                tracing::warn!("another grant was stored meanwhile, and is used");
                // Less than ours: given by a person who knew nothing of ours.
                self.untried = (theirs.generation < record.generation).then(|| theirs.version());
                self.unpersisted = None;
                self.adopt(*theirs, None);
            }
            Ok(Written::Superseded(None) | Written::Fenced) => again.what.expect.version = None,
            Err(error) => {
                again.pause = (again.pause * 2).min(PERSIST_AGAIN.1);
                again.at = Instant::now() + again.pause;
                tracing::error!(%error, "the new grant could still not be stored");
            }
        }
        self.publish();
    }

    async fn stop(mut self, grace: Duration) {
        self.journal.stopping.store(true, Ordering::Relaxed);
        let end = Instant::now() + self.journal.settings.request_timeout + Duration::from_secs(5);
        if self.in_flight.is_some() {
            tracing::info!("a refresh is in flight: waiting for its end");
            match tokio::time::timeout_at(end, ended(&mut self.in_flight)).await {
                Ok(rotation) => self.end(rotation),
                Err(_) => tracing::error!(
                    "the refresh in flight did not end in time; if it had presented the refresh token, its answer is lost"
                ),
            }
        }
        let end = Instant::now() + grace;
        while let Some(again) = &self.unpersisted {
            let at = again.at.min(end);
            tokio::time::sleep_until(at).await;
            self.persist_again().await;
            if self.unpersisted.is_some() && Instant::now() >= end {
                tracing::error!(
                    "STOPPING WITH A GRANT THAT COULD NOT BE STORED: the stored refresh token is spent and its successor is lost; \
                     log in again and store the new grant with `bearer-proxy import`"
                );
                break;
            }
        }
    }

    // --- the view ---

    fn publish(&mut self) {
        let view = self.view();
        let same = match (&view.token, &self.live.view().token) {
            (Some(new), Some(present)) => Arc::ptr_eq(new, present),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.monotonic_end = view.token.as_ref().and_then(|token| self.monotonic_end_of(token));
        }
        self.live.publish(view);
    }

    fn view(&self) -> View {
        let present = self.live.view();
        let mismatched = self.record.as_ref().is_some_and(|record| record.binding != self.journal.settings.binding);
        let token = self.record.as_ref().filter(|_| !mismatched).and_then(|record| {
            let access = record.access.as_ref()?;
            match &present.token {
                Some(token) if token.is(record.generation, access) => Some(Arc::clone(token)),
                _ => LiveToken::new(record.generation, access).ok().map(Arc::new),
            }
        });
        View {
            refresh_at: token.as_ref().and_then(|token| self.refresh_at(token)),
            token,
            generation: self.record.as_ref().map_or(Generation::default(), |record| record.generation),
            refreshing: self.in_flight.as_ref().map(|in_flight| in_flight.trigger),
            held: self.in_flight.as_ref().is_some_and(|in_flight| in_flight.held),
            retry_at: self.attempts.retry_at(),
            last_refresh: self
                .attempts
                .last_failure()
                .or_else(|| self.record.as_ref().and_then(|record| record.last_refresh.clone())),
            needs_login: self
                .attempts
                .resting_reason()
                .or_else(|| self.record.as_ref().and_then(|record| record.needs_login.clone())),
            unpersisted: self.unpersisted.is_some(),
            draining: self.draining,
        }
    }
}

/// Whether what the store holds is news to who knows `known`.
fn newer(stored: &Record, known: &Record) -> bool {
    stored.generation > known.generation
        || (stored.generation == known.generation
            && (stored.version() != known.version() || stored.needs_login != known.needs_login))
}

/// Whether a person stored a refresh token without an access token: another one, or the same again after it was given up.
fn given_bare(stored: &Record, known: &Record) -> bool {
    stored.generation == known.generation
        && stored.intent.is_none()
        && stored.needs_login.is_none()
        && (stored.version() != known.version() || known.needs_login.is_some())
}

/// The end of the rotation in flight; pending for ever where there is none.
async fn ended(in_flight: &mut Option<InFlight>) -> Rotation {
    match in_flight {
        Some(in_flight) => match (&mut in_flight.task).await {
            Ok(rotation) => rotation,
            Err(error) => Rotation::Failed(
                Failure {
                    outcome: Outcome::Ambiguous,
                    error: format!(
                        "the refresh ended abnormally ({})",
                        if error.is_panic() { "panic" } else { "cancelled" }
                    ),
                    retry_after: None,
                },
                None,
            ),
        },
        None => std::future::pending().await,
    }
}
