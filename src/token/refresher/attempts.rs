//! Whether a refresh may be tried now: backoff, rests, the cooldown of refusals, and their budget.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::config::RefreshConfig;
use crate::token::journal::Which;
use crate::token::policy::{self, Budget, Life};
use crate::token::store::LastRefresh;
use crate::token::{Generation, Outcome, Trigger};

/// The refresher's memory of what it tried.
#[derive(Debug)]
pub struct Attempts {
    /// A candidate and a first token that can't be had rest by themselves: the stored grant must not wait for them.
    candidate: Backoff,
    first: Backoff,
    stored: Backoff,
    last_failure: Option<LastRefresh>,
    cooldown: Cooldown,
    budget: Budget,
    max_per_hour: u32,
    /// That the budget is spent has been said.
    said_spent: bool,
}

#[derive(Debug, Default)]
struct Backoff {
    /// In a row.
    failures: u32,
    /// In a row that the server refused for the sake of the configuration, while the token lived, or since it has expired.
    misconfigured: u32,
    /// The last of them came without a token that lives.
    expired: bool,
    /// Not before: by the monotonic clock, and as it is told to people.
    until: Option<(Instant, Timestamp)>,
}

/// Keeps a path that always refuses from burning one refresh token after the other (interface document §3, "Refusals").
#[derive(Debug)]
struct Cooldown {
    base: Duration,
    until: Option<Instant>,
    /// How many forced generations in a row were refused.
    row: u32,
    /// The generation that a refusal brought.
    forced: Option<Generation>,
    /// The generation that was counted last: a thousand replays that are refused together count once.
    judged: Option<Generation>,
}

// === impl Attempts ===

impl Attempts {
    pub fn new(config: &RefreshConfig) -> Self {
        Self {
            candidate: Backoff::default(),
            first: Backoff::default(),
            stored: Backoff::default(),
            last_failure: None,
            cooldown: Cooldown { base: config.cooldown, until: None, row: 0, forced: None, judged: None },
            budget: Budget::new(config.max_per_hour),
            max_per_hour: config.max_per_hour,
            said_spent: false,
        }
    }

    /// Another configuration. What is due stays due; what failed with the old one may work with this one, and is due now.
    pub fn reconfigure(&mut self, config: &RefreshConfig, now: Timestamp) {
        for which in [Which::Candidate, Which::First, Which::Stored] {
            self.bring_forward(which, now);
        }
        self.cooldown.base = config.cooldown;
        if self.max_per_hour != config.max_per_hour {
            self.max_per_hour = config.max_per_hour;
            self.budget = Budget::new(config.max_per_hour);
        }
    }

    /// The next attempt after a failure is due now.
    pub fn bring_forward(&mut self, which: Which, now: Timestamp) {
        let backoff = self.backoff_mut(which);
        if backoff.until.is_some() {
            *backoff = Backoff { until: Some((Instant::now(), now)), ..Backoff::default() };
        }
    }

    /// When the next unasked attempt may come.
    pub fn not_before(&self, which: Which) -> Option<Instant> {
        self.backoff(which).until.map(|(at, _)| at)
    }

    pub fn ready(&self, which: Which, now: Instant) -> bool {
        self.not_before(which).is_none_or(|at| at <= now)
    }

    /// The trigger of the last attempt with the stored grant, if it failed and is to be tried again unasked (interface document
    /// §5). `refused`: the live token is still refused; nobody may come to refuse it again, since who is not ready is sent no
    /// requests.
    pub fn unfinished(&self, refused: bool) -> Option<Trigger> {
        let last = self.last_failure.as_ref().filter(|_| self.stored.until.is_some())?;
        (refused || last.trigger != Trigger::Rejected).then_some(last.trigger)
    }

    /// When the next attempt comes, where the last one failed.
    pub fn retry_at(&self) -> Option<Timestamp> {
        [&self.candidate, &self.first, &self.stored]
            .into_iter()
            .filter_map(|backoff| backoff.until)
            .map(|(_, told)| told)
            .min()
    }

    pub fn last_failure(&self) -> Option<LastRefresh> {
        self.last_failure.clone()
    }

    /// Whether a refusal may cause a refresh now, and if not, why. Takes one from the budget if so.
    pub fn may_force(&mut self, now: Instant) -> Result<(), &'static str> {
        if !self.ready(Which::Stored, now) {
            return Err("the last refresh failed, and the next one waits");
        }
        if self.cooldown.until.is_some_and(|until| now < until) {
            return Err("a token that was refreshed for a refusal was refused as well (refresh.cooldown)");
        }
        let spent = !self.budget.take(now);
        if spent && !self.said_spent {
            tracing::warn!("refresh.max_per_hour is spent: refusals pass through to the clients");
        }
        self.said_spent = spent;
        if spent { Err("refresh.max_per_hour is spent") } else { Ok(()) }
    }

    pub fn back_off(&mut self, which: Which, retry_after: Option<Duration>, now: Timestamp) -> Duration {
        let backoff = self.backoff_mut(which);
        let pause = policy::backoff(backoff.failures, retry_after, policy::random());
        backoff.failures = backoff.failures.saturating_add(1);
        self.rest(which, pause, now);
        pause
    }

    /// The server refused it for the sake of the configuration.
    pub fn misconfigured(
        &mut self,
        which: Which,
        life: Option<Life>,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Duration {
        let backoff = self.backoff_mut(which);
        if backoff.expired != life.is_none() {
            (backoff.expired, backoff.misconfigured) = (life.is_none(), 0);
        }
        let pause = policy::misconfigured(backoff.misconfigured, life, retry_after);
        backoff.misconfigured = backoff.misconfigured.saturating_add(1);
        self.rest(which, pause, now);
        pause
    }

    pub fn rest(&mut self, which: Which, pause: Duration, now: Timestamp) {
        let told = SignedDuration::try_from(pause).ok().and_then(|pause| now.checked_add(pause).ok()).unwrap_or(now);
        self.backoff_mut(which).until = Some((Instant::now() + pause, told));
    }

    /// It ended without a token. One that spent nothing is given back to the budget: it is there to save refresh tokens, and an
    /// outage of the token endpoint must not be followed by an hour of refusals.
    pub fn failed(&mut self, last: LastRefresh) {
        if (last.trigger, last.outcome) == (Trigger::Rejected, Outcome::Transient) {
            self.budget.give_back();
        }
        self.last_failure = Some(last);
    }

    /// There was a clear yes, or a clear no, after which there is nothing to try again.
    pub fn settled(&mut self, which: Which) {
        *self.backoff_mut(which) = Backoff::default();
    }

    /// There is a new grant, or a new token of the present one.
    pub fn succeeded(&mut self, which: Which) {
        self.settled(which);
        if which != Which::Stored {
            self.settled(Which::Stored);
        }
        self.last_failure = None;
    }

    /// There is a new grant from elsewhere.
    pub fn reset(&mut self) {
        self.settled(Which::First);
        self.succeeded(Which::Stored);
    }

    /// A refusal brought this generation.
    pub fn forced(&mut self, generation: Generation) {
        self.cooldown.forced = Some(generation);
    }

    /// A replay with the live `generation` was refused.
    pub fn refused_again(&mut self, generation: Generation, now: Instant) {
        let cooldown = &mut self.cooldown;
        if cooldown.forced != Some(generation) || cooldown.judged == Some(generation) {
            return;
        }
        cooldown.judged = Some(generation);
        let pause = policy::cooldown(cooldown.base, cooldown.row);
        cooldown.row = cooldown.row.saturating_add(1);
        cooldown.until = Some(now + pause);
        tracing::warn!(
            generation = generation.0,
            cooldown_s = pause.as_secs(),
            "a token that was refreshed for a refusal is refused as well: refusals cause no refresh for a while"
        );
    }

    /// A replay was accepted: what is refused is not refused everywhere.
    pub fn replay_accepted(&mut self) {
        self.cooldown.row = 0;
    }

    fn backoff(&self, which: Which) -> &Backoff {
        match which {
            Which::Candidate => &self.candidate,
            Which::First => &self.first,
            Which::Stored => &self.stored,
        }
    }

    fn backoff_mut(&mut self, which: Which) -> &mut Backoff {
        match which {
            Which::Candidate => &mut self.candidate,
            Which::First => &mut self.first,
            Which::Stored => &mut self.stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(max_per_hour: u32) -> Attempts {
        Attempts::new(&config(max_per_hour))
    }

    fn config(max_per_hour: u32) -> RefreshConfig {
        RefreshConfig {
            margin: crate::config::Margin::Share(0.2),
            default_lifetime: Duration::from_secs(3600),
            wait: Duration::from_secs(10),
            cooldown: Duration::from_secs(60),
            max_per_hour,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_forced_generation_starts_a_cooldown_that_doubles_once_a_generation() {
        let mut attempts = attempts(30);
        let now = Instant::now();
        attempts.refused_again(Generation(1), now);
        assert!(attempts.may_force(now).is_ok(), "a scheduled generation starts none");

        attempts.forced(Generation(2));
        for _ in 0..1000 {
            attempts.refused_again(Generation(2), now);
        }
        assert!(attempts.may_force(now + Duration::from_secs(59)).is_err());
        assert!(attempts.may_force(now + Duration::from_secs(60)).is_ok());

        attempts.forced(Generation(3));
        attempts.refused_again(Generation(3), now);
        assert!(attempts.may_force(now + Duration::from_secs(119)).is_err(), "twice in a row: doubled");
        assert!(attempts.may_force(now + Duration::from_secs(120)).is_ok());

        attempts.replay_accepted();
        attempts.forced(Generation(4));
        attempts.refused_again(Generation(4), now);
        assert!(attempts.may_force(now + Duration::from_secs(60)).is_ok(), "an accepted replay ended the row");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_have_an_hourly_budget() {
        let mut attempts = attempts(2);
        let now = Instant::now();
        assert!(attempts.may_force(now).is_ok());
        assert!(attempts.may_force(now).is_ok());
        assert_eq!(attempts.may_force(now), Err("refresh.max_per_hour is spent"));
        assert!(attempts.may_force(now + Duration::from_secs(3601)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_backoff_holds_refusals_and_a_success_ends_it() {
        let mut attempts = attempts(30);
        let pause = attempts.back_off(Which::Stored, Some(Duration::from_secs(7)), Timestamp::UNIX_EPOCH);
        assert!(pause >= Duration::from_secs(7));
        assert!(attempts.may_force(Instant::now()).is_err());
        attempts.succeeded(Which::Stored);
        assert!(attempts.may_force(Instant::now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_token_rests_by_itself() {
        let mut attempts = attempts(30);
        let now = Instant::now();
        attempts.rest(Which::First, Duration::from_secs(900), Timestamp::UNIX_EPOCH);
        assert!(!attempts.ready(Which::First, now) && attempts.ready(Which::Stored, now));
        assert!(attempts.may_force(now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn another_configuration_forgets_no_attempt_and_brings_it_forward() {
        let mut attempts = attempts(30);
        let config = RefreshConfig { cooldown: Duration::from_secs(1), ..config(30) };
        attempts.reconfigure(&config, Timestamp::UNIX_EPOCH);
        assert_eq!(attempts.not_before(Which::Stored), None, "nothing has failed");
        let at = Timestamp::UNIX_EPOCH;
        attempts.failed(LastRefresh {
            at,
            trigger: Trigger::Rejected,
            outcome: Outcome::Misconfigured,
            duration_ms: 1,
            error: None,
        });
        attempts.misconfigured(Which::Stored, None, Some(Duration::from_secs(200)), at);
        assert!(!attempts.ready(Which::Stored, Instant::now()));
        attempts.reconfigure(&config, at);
        assert!(attempts.ready(Which::Stored, Instant::now()));
        assert_eq!(attempts.unfinished(true), Some(Trigger::Rejected), "the attempt is due, and not forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn the_waits_begin_anew_when_the_token_has_expired() {
        let mut attempts = attempts(30);
        let life = Some(Life { whole: Duration::from_secs(60), left: Duration::from_secs(60) });
        let mut wait = |life| attempts.misconfigured(Which::Stored, life, None, Timestamp::UNIX_EPOCH).as_secs();
        assert_eq!([wait(life), wait(life), wait(life)], [5, 6, 12]);
        assert_eq!([wait(None), wait(None), wait(None)], [5, 10, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_spent_nothing_costs_nothing() {
        let mut attempts = attempts(1);
        let now = Instant::now();
        let rows = [
            (Trigger::Rejected, Outcome::Transient, true),
            // Nothing was taken for it.
            (Trigger::Scheduled, Outcome::Transient, false),
            (Trigger::Rejected, Outcome::Ambiguous, false),
        ];
        for (trigger, outcome, given_back) in rows {
            attempts.budget = Budget::new(1);
            assert!(attempts.may_force(now).is_ok());
            let at = Timestamp::UNIX_EPOCH;
            attempts.failed(LastRefresh { at, trigger, outcome, duration_ms: 1, error: None });
            assert_eq!(attempts.may_force(now).is_ok(), given_back, "{trigger:?} {outcome:?}");
        }
    }
}
