//! Whether a refresh may be tried now: backoff, rests, the cooldown of refusals, and their budget.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::config::RefreshConfig;
use crate::token::policy::{self, Budget};
use crate::token::store::LastRefresh;
use crate::token::{Generation, Outcome, Trigger};

/// The refresher's memory of what it tried.
#[derive(Debug)]
pub struct Attempts {
    /// Failures in a row.
    failures: u32,
    pause: Pause,
    last_failure: Option<LastRefresh>,
    cooldown: Cooldown,
    budget: Budget,
    max_per_hour: u32,
}

#[derive(Debug)]
enum Pause {
    None,
    /// Not before: by the monotonic clock, and as it is told to people.
    Until(Instant, Timestamp),
    /// Only a person, or a change of the store, ends it.
    UntilChanged(String),
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
            failures: 0,
            pause: Pause::None,
            last_failure: None,
            cooldown: Cooldown { base: config.cooldown, until: None, row: 0, forced: None, judged: None },
            budget: Budget::new(config.max_per_hour),
            max_per_hour: config.max_per_hour,
        }
    }

    /// Another configuration: what failed with the old one may work with this one.
    pub fn reconfigure(&mut self, config: &RefreshConfig) {
        self.pause = Pause::None;
        self.cooldown.base = config.cooldown;
        if self.max_per_hour != config.max_per_hour {
            self.max_per_hour = config.max_per_hour;
            self.budget = Budget::new(config.max_per_hour);
        }
    }

    /// When the next unasked attempt may come; `Err`: not unless something changes.
    pub fn not_before(&self) -> Result<Option<Instant>, ()> {
        match &self.pause {
            Pause::None => Ok(None),
            Pause::Until(at, _) => Ok(Some(*at)),
            Pause::UntilChanged(_) => Err(()),
        }
    }

    pub fn retry_at(&self) -> Option<Timestamp> {
        match self.pause {
            Pause::Until(_, at) => Some(at),
            Pause::None | Pause::UntilChanged(_) => None,
        }
    }

    pub fn resting_reason(&self) -> Option<String> {
        match &self.pause {
            Pause::UntilChanged(reason) => Some(reason.clone()),
            Pause::None | Pause::Until(..) => None,
        }
    }

    pub fn last_failure(&self) -> Option<LastRefresh> {
        self.last_failure.clone()
    }

    /// The trigger of the last attempt, if it failed and is to be tried again unasked. `refused`: the live token still is.
    pub fn unfinished(&self, refused: bool) -> Option<Trigger> {
        let last = self.last_failure.as_ref()?;
        let again = match (last.outcome, last.trigger) {
            (Outcome::Rejected, _) => false,
            // The call may have ended the token, whatever it was made for.
            (Outcome::Ambiguous, _) => true,
            (_, Trigger::Rejected) => refused,
            _ => true,
        };
        again.then_some(last.trigger)
    }

    /// Whether a refusal may cause a refresh now, and if not, why. Takes one from the budget if so.
    pub fn may_force(&mut self, now: Instant) -> Result<(), &'static str> {
        match &self.pause {
            Pause::UntilChanged(_) => return Err("the grant needs a login"),
            Pause::Until(until, _) if now < *until => return Err("the last refresh failed, and the next one waits"),
            Pause::Until(..) | Pause::None => {}
        }
        if self.cooldown.until.is_some_and(|until| now < until) {
            return Err("a token that was refreshed for a refusal was refused as well (refresh.cooldown)");
        }
        if !self.budget.take(now) {
            tracing::warn!("refresh.max_per_hour is spent: refusals pass through to the clients");
            return Err("refresh.max_per_hour is spent");
        }
        Ok(())
    }

    pub fn back_off(&mut self, retry_after: Option<Duration>, now: Timestamp) -> Duration {
        let pause = policy::backoff(self.failures, retry_after, policy::random());
        self.failures = self.failures.saturating_add(1);
        self.rest(pause, now);
        pause
    }

    pub fn rest(&mut self, pause: Duration, now: Timestamp) {
        let told = SignedDuration::try_from(pause).ok().and_then(|pause| now.checked_add(pause).ok()).unwrap_or(now);
        self.pause = Pause::Until(Instant::now() + pause, told);
    }

    pub fn rest_until_changed(&mut self, reason: String) {
        self.pause = Pause::UntilChanged(reason);
    }

    pub fn retry_at_once(&mut self) {
        self.pause = Pause::None;
    }

    pub fn failed(&mut self, outcome: Outcome, error: &str, trigger: Trigger, took: Duration, now: Timestamp) {
        self.last_failure = Some(LastRefresh {
            at: now,
            trigger,
            outcome,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error: Some(error.to_owned()),
        });
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.pause = Pause::None;
        self.last_failure = None;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(max_per_hour: u32) -> Attempts {
        Attempts::new(&RefreshConfig {
            margin: crate::config::Margin::Share(0.2),
            default_lifetime: Duration::from_secs(3600),
            wait: Duration::from_secs(10),
            cooldown: Duration::from_secs(60),
            max_per_hour,
        })
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
        let pause = attempts.back_off(Some(Duration::from_secs(7)), Timestamp::UNIX_EPOCH);
        assert!(pause >= Duration::from_secs(7));
        assert!(attempts.may_force(Instant::now()).is_err());
        attempts.succeeded();
        assert!(attempts.may_force(Instant::now()).is_ok());
    }
}
