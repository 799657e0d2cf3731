//! Whether the proxy is ready: it holds an unexpired token that is not known to be dead, and is not draining. Requests of clients cannot
//! change it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::token::live::View;
use crate::token::status::State;

/// The response to `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    pub ready: bool,
    pub state: State,
    /// What is wrong. Not empty if the proxy is not ready; there may also be reasons if it is ready.
    pub reasons: Vec<String>,
}

// === impl Readiness ===

impl Readiness {
    pub(super) fn new(view: &View, state: State, now: Timestamp) -> Self {
        let token = view.token.as_deref();
        let dead = token.is_some_and(|token| token.is_dead(now));
        let ready = view.unexpired(now).is_some() && !dead && !view.draining;

        let mut reasons = Vec::new();
        match token {
            None => reasons.push("there is no token yet".to_owned()),
            Some(token) if token.expired(now) => {
                reasons.push(match token.expires_at {
                    Some(end) => format!("the token expired at {end:.0}"),
                    None => "the token has expired".to_owned(),
                });
            }
            Some(_) if dead => {
                reasons.push("the upstream refuses the token, and its refresh may have revoked it".to_owned());
            }
            Some(token) => reasons
                .extend(token.refused_at().map(|at| format!("the upstream refused the token on a request at {at:.0}"))),
        }
        if view.draining {
            reasons.push("the proxy is draining".to_owned());
        }
        // The proxy stays ready for these reasons: it serves requests with the current token, and a restart would only lose it.
        if view.unpersisted {
            reasons.push("a rotated token is in memory only, because the store has not accepted it".to_owned());
        }
        let failed = view.last_refresh.as_ref().and_then(|last| last.error.as_ref());
        match (&view.needs_login, failed) {
            (Some(reason), _) => reasons.push(format!("the grant needs a login: {reason}")),
            (None, Some(error)) => reasons.push(format!("the last refresh failed: {error}")),
            (None, None) => {}
        }
        Self { ready, state, reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::live::LiveToken;
    use crate::token::store::LastRefresh;
    use crate::token::{Access, AccessToken, Generation, RefreshOutcome, Trigger};

    fn readiness(seconds_left: Option<i64>, change: impl FnOnce(&mut View)) -> (bool, Vec<String>) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let token = seconds_left.map(|left| {
            let expires_at = Some(now + jiff::SignedDuration::from_secs(left));
            let access = Access { token: AccessToken::parse("t").unwrap(), obtained_at: now, expires_at };
            LiveToken::new(Generation(1), &access).unwrap().into()
        });
        let mut view = View { token, ..View::default() };
        change(&mut view);
        let Readiness { ready, reasons, .. } = Readiness::new(&view, State::Valid, now);
        (ready, reasons)
    }

    #[test]
    fn ready_is_an_unexpired_token_and_no_drain() {
        let failed = |view: &mut View| {
            view.last_refresh = Some(LastRefresh {
                at: Timestamp::UNIX_EPOCH,
                trigger: Trigger::Scheduled,
                outcome: RefreshOutcome::Transient,
                duration_ms: 1,
                error: Some("connection refused".into()),
            });
        };
        let needs_login = |view: &mut View| view.needs_login = Some("log in again".into());
        type Row<'a> = (Option<i64>, &'a dyn Fn(&mut View), bool, &'a [&'a str]);
        let rows: [Row<'_>; 8] = [
            (Some(60), &|_| {}, true, &[]),
            (None, &|_| {}, false, &["there is no token yet"]),
            (None, &failed, false, &["there is no token yet", "the last refresh failed: connection refused"]),
            (Some(0), &|_| {}, false, &["the token expired at 2027-01-15T08:00:00Z"]),
            (Some(60), &|view| view.draining = true, false, &["the proxy is draining"]),
            (
                Some(60),
                &|view| view.unpersisted = true,
                true,
                &["a rotated token is in memory only, because the store has not accepted it"],
            ),
            (Some(60), &failed, true, &["the last refresh failed: connection refused"]),
            (Some(60), &needs_login, true, &["the grant needs a login: log in again"]),
        ];
        for (left, change, ready, reasons) in rows {
            let expected = (ready, reasons.iter().map(ToString::to_string).collect());
            assert_eq!(readiness(left, change), expected);
        }
    }

    #[test]
    fn a_dead_token_makes_it_unready_until_it_is_accepted_and_a_refusal_alone_is_a_fact() {
        let at = |second: i64| Timestamp::from_second(1_799_999_900 + second).unwrap();
        let refused = |view: &mut View| view.token.as_ref().unwrap().mark_refused(at(1));
        let fact = "the upstream refused the token on a request at 2027-01-15T07:58:21Z";
        assert_eq!(readiness(Some(60), refused), (true, vec![fact.to_owned()]));
        let dead = |view: &mut View| {
            refused(view);
            view.token.as_ref().unwrap().may_be_revoked(at(2));
        };
        let reason = "the upstream refuses the token, and its refresh may have revoked it";
        assert_eq!(readiness(Some(60), dead), (false, vec![reason.to_owned()]));
        let accepted = |view: &mut View| {
            dead(view);
            view.token.as_ref().unwrap().mark_accepted(|| at(3));
        };
        assert_eq!(readiness(Some(60), accepted), (true, vec![]));
    }
}
