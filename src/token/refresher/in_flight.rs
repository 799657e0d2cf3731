//! The rotation in flight, and the requests that wait for its outcome.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::{Refresher, Verdict, answer};
use crate::token::endpoint::RefreshFailure;
use crate::token::journal::{Journal, Plan, Rotation, TokenSource, Uncommitted, plan_stored};
use crate::token::store::Version;
use crate::token::{Generation, RefreshOutcome, Trigger};

pub(super) struct InFlight {
    pub(super) source: TokenSource,
    pub(super) trigger: Trigger,
    /// A refusal caused or joined this rotation, so new requests wait for its outcome.
    pub(super) held: bool,
    pub(super) began: Instant,
    /// The number of the configuration that the rotation began with.
    pub(super) settings_number: u64,
    /// The live generation when the rotation began.
    pub(super) before: Generation,
    task: JoinHandle<Rotation>,
    uncommitted: Uncommitted,
    /// The outcome, once the task is over.
    pub(super) ended: Option<Rotation>,
    /// The task panicked or was cancelled.
    pub(super) died: bool,
    /// The server issued a new refresh token without an access token.
    pub(super) successor_only: bool,
    pub(super) waiters: Vec<oneshot::Sender<Verdict>>,
}

// === impl InFlight ===

impl InFlight {
    pub(super) fn begin(
        journal: Arc<Journal>,
        known: Option<Version>,
        source: TokenSource,
        trigger: Trigger,
        settings_number: u64,
        before: Generation,
    ) -> Self {
        let uncommitted = Uncommitted::default();
        // A task of its own: nothing that is dropped elsewhere can cancel a call whose bytes have left.
        let task = tokio::spawn({
            let uncommitted = uncommitted.clone();
            async move { journal.rotate(known, source, trigger, &uncommitted).await }
        });
        Self {
            source,
            trigger,
            held: false,
            began: Instant::now(),
            settings_number,
            before,
            task,
            uncommitted,
            ended: None,
            died: false,
            successor_only: false,
            waiters: Vec::new(),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

// === impl Refresher ===

impl Refresher {
    /// Handles a refusal of the live token: joins the rotation in flight, or begins one if that is allowed.
    pub(super) fn force(&mut self, reply: oneshot::Sender<Verdict>) {
        if self.in_flight.is_none() {
            let allowed = if self.unpersisted.is_some() {
                Err("the new grant could not be stored yet")
            } else if matches!(plan_stored(&self.journal.settings, self.record.as_ref()), Plan::NeedsLogin(_)) {
                Err("the grant needs a login")
            } else {
                self.backoff.may_force(Instant::now())
            };
            if let Err(reason) = allowed {
                return answer(reply, Verdict::PassOn(reason.to_owned()));
            }
            self.begin(TokenSource::Stored, Trigger::Rejected);
        }
        if let Some(in_flight) = &mut self.in_flight
            && !in_flight.held
        {
            in_flight.held = true;
            self.publish();
        }
        self.join(reply);
    }

    pub(super) fn join(&mut self, reply: oneshot::Sender<Verdict>) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.waiters.push(reply);
        }
    }
}

/// Waits for the end of the rotation in flight, and stores its outcome there. Without a rotation, it waits for ever.
pub(super) async fn ended(in_flight: &mut Option<InFlight>) {
    let Some(in_flight) = in_flight else { return std::future::pending().await };
    if in_flight.ended.is_none() {
        let joined = (&mut in_flight.task).await;
        in_flight.died = joined.is_err();
        in_flight.ended = Some(joined.unwrap_or_else(|error| abnormal(&error, &in_flight.uncommitted)));
    }
}

/// The outcome of a rotation whose task died. A pair that the server had issued is kept. The lease ends by itself.
fn abnormal(error: &JoinError, uncommitted: &Uncommitted) -> Rotation {
    match uncommitted.take() {
        Some(renewed) => Rotation::Renewed(renewed),
        None => {
            let how = if error.is_panic() { "panic" } else { "cancelled" };
            let error = format!("the refresh ended abnormally ({how})");
            Rotation::Failed(RefreshFailure::without_response(RefreshOutcome::Ambiguous, error), None)
        }
    }
}
