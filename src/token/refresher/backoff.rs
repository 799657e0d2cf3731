//! Whether a refresh may be tried now: backoff, the pause after a misconfiguration, the cooldown, and the budget for refusals.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::config::RefreshConfig;
use crate::token::journal::TokenSource;
use crate::token::policy::{self, Budget, Life};
use crate::token::store::LastRefresh;
use crate::token::{Generation, RefreshOutcome, Trigger};

/// The limits on new attempts.
#[derive(Debug)]
pub struct Backoff {
    /// The candidate and the initial token have a delay of their own. The stored grant must not wait for them.
    candidate: Delay,
    initial: Delay,
    stored: Delay,
    last_failure: Option<LastRefresh>,
    cooldown: Cooldown,
    budget: Budget,
    max_per_hour: u32,
    /// The log says that the budget is spent.
    said_spent: bool,
}

#[derive(Debug, Default)]
struct Delay {
    /// Consecutive failures.
    failures: u32,
    /// Consecutive misconfigured outcomes: before the live token expired, or since then.
    misconfigured: u32,
    /// The last misconfigured outcome came without an unexpired token.
    expired: bool,
    /// The earliest next attempt: on the monotonic clock, and as wall-clock time for people.
    until: Option<(Instant, Timestamp)>,
}

/// Stops a path that always refuses from spending one refresh token after the other.
///
/// The cooldown starts when a generation that a refusal forced is refused on a replay too. It doubles with each such generation in
/// a row.
#[derive(Debug)]
struct Cooldown {
    base: Duration,
    until: Option<Instant>,
    /// How many consecutive forced generations were refused.
    row: u32,
    /// The last generation that a refusal forced.
    forced: Option<Generation>,
    /// The last generation that was counted. A thousand refused replays of one generation count once.
    judged: Option<Generation>,
}

// === impl Attempts ===

impl Backoff {
    pub fn new(config: &RefreshConfig) -> Self {
        Self {
            candidate: Delay::default(),
            initial: Delay::default(),
            stored: Delay::default(),
            last_failure: None,
            cooldown: Cooldown { base: config.cooldown, until: None, row: 0, forced: None, judged: None },
            budget: Budget::new(config.max_per_hour),
            max_per_hour: config.max_per_hour,
            said_spent: false,
        }
    }

    /// Continues with another configuration. An attempt that failed with the old one is due now.
    pub fn reconfigure(&mut self, config: &RefreshConfig, now: Timestamp) {
        for source in [TokenSource::Candidate, TokenSource::Initial, TokenSource::Stored] {
            self.bring_forward(source, now);
        }
        self.cooldown.base = config.cooldown;
        if self.max_per_hour != config.max_per_hour {
            self.max_per_hour = config.max_per_hour;
            self.budget = Budget::new(config.max_per_hour);
        }
    }

    /// Makes the next attempt after a failure due now.
    pub fn bring_forward(&mut self, source: TokenSource, now: Timestamp) {
        let delay = self.delay_mut(source);
        if delay.until.is_some() {
            *delay = Delay { until: Some((Instant::now(), now)), ..Delay::default() };
        }
    }

    /// When the next attempt may come by itself.
    pub fn not_before(&self, source: TokenSource) -> Option<Instant> {
        self.delay(source).until.map(|(at, _)| at)
    }

    pub fn ready(&self, source: TokenSource, now: Instant) -> bool {
        self.not_before(source).is_none_or(|at| at <= now)
    }

    /// The trigger of the last attempt with the stored grant, if it failed and must be tried again without a new request.
    ///
    /// `refused`: the upstream still refuses the live token. An unready proxy receives no requests, so no further refusal may come
    /// to trigger the next attempt.
    pub fn unfinished(&self, refused: bool) -> Option<Trigger> {
        let last = self.last_failure.as_ref().filter(|_| self.stored.until.is_some())?;
        (refused || last.trigger != Trigger::Rejected).then_some(last.trigger)
    }

    /// When the next attempt after a failure comes.
    pub fn retry_at(&self) -> Option<Timestamp> {
        [&self.candidate, &self.initial, &self.stored]
            .into_iter()
            .filter_map(|backoff| backoff.until)
            .map(|(_, told)| told)
            .min()
    }

    pub fn last_failure(&self) -> Option<LastRefresh> {
        self.last_failure.clone()
    }

    /// Whether a refusal may force a refresh now. If so, it takes one from the budget. Otherwise, it returns why not.
    pub fn may_force(&mut self, now: Instant) -> Result<(), &'static str> {
        if !self.ready(TokenSource::Stored, now) {
            return Err("the last refresh failed, and the next one waits");
        }
        if self.cooldown.until.is_some_and(|until| now < until) {
            return Err("a token that was refreshed for a refusal was refused as well (refresh.cooldown)");
        }
        let spent = !self.budget.take(now);
        if spent && !self.said_spent {
            tracing::warn!(
                check = "upstream-refuses",
                "refresh.max_per_hour is spent: refusals pass through to the clients"
            );
        }
        self.said_spent = spent;
        if spent { Err("refresh.max_per_hour is spent") } else { Ok(()) }
    }

    pub fn back_off(&mut self, source: TokenSource, retry_after: Option<Duration>, now: Timestamp) -> Duration {
        let delay = self.delay_mut(source);
        let pause = policy::backoff(delay.failures, retry_after, policy::random());
        delay.failures = delay.failures.saturating_add(1);
        self.rest(source, pause, now);
        pause
    }

    /// Pauses after a misconfigured outcome. `life` is that of the live token, if it has not expired.
    pub fn misconfigured(
        &mut self,
        source: TokenSource,
        life: Option<Life>,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Duration {
        let delay = self.delay_mut(source);
        if delay.expired != life.is_none() {
            (delay.expired, delay.misconfigured) = (life.is_none(), 0);
        }
        let pause = policy::misconfigured(delay.misconfigured, life, retry_after);
        delay.misconfigured = delay.misconfigured.saturating_add(1);
        self.rest(source, pause, now);
        pause
    }

    pub fn rest(&mut self, source: TokenSource, pause: Duration, now: Timestamp) {
        let told = SignedDuration::try_from(pause).ok().and_then(|pause| now.checked_add(pause).ok()).unwrap_or(now);
        self.delay_mut(source).until = Some((Instant::now() + pause, told));
    }

    /// Notes an attempt that brought no token. The budget limits spent refresh tokens, so an attempt that spent nothing is given
    /// back. Otherwise an outage of the token endpoint would be followed by an hour without forced refreshes.
    pub fn failed(&mut self, last: LastRefresh) {
        if (last.trigger, last.outcome) == (Trigger::Rejected, RefreshOutcome::Transient) {
            self.budget.give_back();
        }
        self.last_failure = Some(last);
    }

    /// Notes a clear outcome, after which there is nothing to retry.
    pub fn settled(&mut self, source: TokenSource) {
        *self.delay_mut(source) = Delay::default();
    }

    /// Notes a new grant, or a new token of the present grant.
    pub fn succeeded(&mut self, source: TokenSource) {
        self.settled(source);
        if source != TokenSource::Stored {
            self.settled(TokenSource::Stored);
        }
        self.last_failure = None;
    }

    /// Notes a new grant from outside this process.
    pub fn reset(&mut self) {
        self.settled(TokenSource::Initial);
        self.succeeded(TokenSource::Stored);
    }

    /// Notes the generation that a refusal forced.
    pub fn forced(&mut self, generation: Generation) {
        self.cooldown.forced = Some(generation);
    }

    /// Notes that the upstream refused a replay with the live `generation`.
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
            check = "upstream-refuses",
            generation = generation.0,
            cooldown_s = pause.as_secs(),
            "a token that was refreshed for a refusal is refused as well: refusals cause no refresh for a while"
        );
    }

    /// Notes an accepted replay: the upstream accepts the token on some paths.
    pub fn replay_accepted(&mut self) {
        self.cooldown.row = 0;
    }

    fn delay(&self, source: TokenSource) -> &Delay {
        match source {
            TokenSource::Candidate => &self.candidate,
            TokenSource::Initial => &self.initial,
            TokenSource::Stored => &self.stored,
        }
    }

    fn delay_mut(&mut self, source: TokenSource) -> &mut Delay {
        match source {
            TokenSource::Candidate => &mut self.candidate,
            TokenSource::Initial => &mut self.initial,
            TokenSource::Stored => &mut self.stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_backoff(max_per_hour: u32) -> Backoff {
        Backoff::new(&config(max_per_hour))
    }

    fn config(max_per_hour: u32) -> RefreshConfig {
        RefreshConfig { max_per_hour, ..crate::config::testing::defaults().refresh }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_forced_generation_starts_a_cooldown_that_doubles_once_a_generation() {
        let mut backoff = new_backoff(30);
        let now = Instant::now();
        backoff.refused_again(Generation(1), now);
        assert!(backoff.may_force(now).is_ok(), "a scheduled generation starts none");

        backoff.forced(Generation(2));
        for _ in 0..1000 {
            backoff.refused_again(Generation(2), now);
        }
        assert!(backoff.may_force(now + Duration::from_secs(59)).is_err());
        assert!(backoff.may_force(now + Duration::from_secs(60)).is_ok());

        backoff.forced(Generation(3));
        backoff.refused_again(Generation(3), now);
        assert!(backoff.may_force(now + Duration::from_secs(119)).is_err(), "twice in a row: doubled");
        assert!(backoff.may_force(now + Duration::from_secs(120)).is_ok());

        backoff.replay_accepted();
        backoff.forced(Generation(4));
        backoff.refused_again(Generation(4), now);
        assert!(backoff.may_force(now + Duration::from_secs(60)).is_ok(), "an accepted replay ended the row");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_have_an_hourly_budget() {
        let mut backoff = new_backoff(2);
        let now = Instant::now();
        assert!(backoff.may_force(now).is_ok());
        assert!(backoff.may_force(now).is_ok());
        assert_eq!(backoff.may_force(now), Err("refresh.max_per_hour is spent"));
        assert!(backoff.may_force(now + Duration::from_secs(3601)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_backoff_holds_refusals_and_a_success_ends_it() {
        let mut backoff = new_backoff(30);
        let pause = backoff.back_off(TokenSource::Stored, Some(Duration::from_secs(7)), Timestamp::UNIX_EPOCH);
        assert!(pause >= Duration::from_secs(7));
        assert!(backoff.may_force(Instant::now()).is_err());
        backoff.succeeded(TokenSource::Stored);
        assert!(backoff.may_force(Instant::now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_token_rests_by_itself() {
        let mut backoff = new_backoff(30);
        let now = Instant::now();
        backoff.rest(TokenSource::Initial, Duration::from_secs(900), Timestamp::UNIX_EPOCH);
        assert!(!backoff.ready(TokenSource::Initial, now) && backoff.ready(TokenSource::Stored, now));
        assert!(backoff.may_force(now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn another_configuration_forgets_no_attempt_and_brings_it_forward() {
        let mut backoff = new_backoff(30);
        let config = RefreshConfig { cooldown: Duration::from_secs(1), ..config(30) };
        backoff.reconfigure(&config, Timestamp::UNIX_EPOCH);
        assert_eq!(backoff.not_before(TokenSource::Stored), None, "nothing has failed");
        let at = Timestamp::UNIX_EPOCH;
        backoff.failed(LastRefresh {
            at,
            trigger: Trigger::Rejected,
            outcome: RefreshOutcome::Misconfigured,
            duration_ms: 1,
            error: None,
        });
        backoff.misconfigured(TokenSource::Stored, None, Some(Duration::from_secs(200)), at);
        assert!(!backoff.ready(TokenSource::Stored, Instant::now()));
        backoff.reconfigure(&config, at);
        assert!(backoff.ready(TokenSource::Stored, Instant::now()));
        assert_eq!(backoff.unfinished(true), Some(Trigger::Rejected), "the attempt is due, and not forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn the_waits_begin_anew_when_the_token_has_expired() {
        let mut backoff = new_backoff(30);
        let life = Some(Life { whole: Duration::from_secs(60), left: Duration::from_secs(60) });
        let mut wait = |life| backoff.misconfigured(TokenSource::Stored, life, None, Timestamp::UNIX_EPOCH).as_secs();
        assert_eq!([wait(life), wait(life), wait(life)], [5, 6, 12]);
        assert_eq!([wait(None), wait(None), wait(None)], [5, 10, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_spent_nothing_costs_nothing() {
        let mut backoff = new_backoff(1);
        let now = Instant::now();
        let rows = [
            (Trigger::Rejected, RefreshOutcome::Transient, true),
            // A scheduled attempt takes nothing from the budget.
            (Trigger::Scheduled, RefreshOutcome::Transient, false),
            (Trigger::Rejected, RefreshOutcome::Ambiguous, false),
        ];
        for (trigger, outcome, given_back) in rows {
            backoff.budget = Budget::new(1);
            assert!(backoff.may_force(now).is_ok());
            let at = Timestamp::UNIX_EPOCH;
            backoff.failed(LastRefresh { at, trigger, outcome, duration_ms: 1, error: None });
            assert_eq!(backoff.may_force(now).is_ok(), given_back, "{trigger:?} {outcome:?}");
        }
    }
}
