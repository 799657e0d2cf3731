//! Decides whether an action of the upstream caused what a client saw.

use super::clients::{Asked, Outcome};
use super::ledger::{Attempt, Deed};

const INCOMPLETE: (u16, &str, &str) = (502, "upstream-broken", "http_response_incomplete");
const PROTOCOL: (u16, &str, &str) = (502, "upstream-broken", "http_protocol_error");
const TIMEOUT: (u16, &str, &str) = (504, "upstream-timeout", "http_response_timeout");
/// A connection that was closed before its first frame.
const UNREACHABLE: (u16, &str, &str) = (502, "upstream-unreachable", "destination_ip_unroutable");

/// What is wrong with it. `losses`: how many connections ended meanwhile; this may have been on one of them unseen.
pub fn judge(asked: &Asked, outcome: &Outcome, attempts: &[Attempt], losses: usize) -> Option<String> {
    let applied = attempts.iter().filter(|attempt| attempt.applied).count();
    if asked.is_post && applied > 1 {
        return Some(format!("it was applied {applied} times"));
    }
    if attempts.len() > 2 {
        return Some("it was sent again more than once".into());
    }
    if asked.is_post && attempts.iter().filter(|attempt| !was_refused(attempt.deed)).count() > 1 {
        return Some("it was sent again though it may have been processed".into());
    }
    // The GOAWAY that the request met does not count twice.
    let lost = losses > attempts.iter().filter(|attempt| attempt.deed == Deed::GoAway).count();
    // In any order: the proxy may read either of two connections first.
    let fits = match outcome {
        Outcome::Answer => attempts.iter().any(|attempt| attempt.deed == Deed::Answer && attempt.applied),
        Outcome::Cut => attempts.iter().any(|attempt| {
            attempt.struck || matches!(attempt.deed, Deed::CutBody | Deed::TearBody | Deed::StallBody | Deed::AbortBody)
        }),
        Outcome::Problem(status, kind, error) => {
            let problem = (*status, kind.as_str(), error.as_str());
            let unseen = lost && [INCOMPLETE, UNREACHABLE].contains(&problem);
            let named = attempts
                .iter()
                .any(|attempt| causes(attempt.deed).contains(&problem) || (attempt.struck && problem == INCOMPLETE));
            if named && !lost && is_missed(asked, attempts) {
                return Some("it was not sent again".into());
            }
            named || unseen
        }
        Outcome::Hang | Outcome::Strange(_) => false,
    };
    (!fits).then(|| "no cause".into())
}

/// The problems that an action may cause.
fn causes(deed: Deed) -> &'static [(u16, &'static str, &'static str)] {
    match deed {
        Deed::Vanish | Deed::CutHead | Deed::TearBody | Deed::Late | Deed::Refuse | Deed::GoAway => &[INCOMPLETE],
        Deed::Nonsense | Deed::Abort | Deed::AbortBody => &[PROTOCOL],
        Deed::Stall | Deed::StallHead => &[TIMEOUT],
        Deed::Answer | Deed::CutBody | Deed::StallBody => &[],
    }
}

/// Provably not processed: the proxy must repeat it, whatever its method.
fn was_refused(deed: Deed) -> bool {
    matches!(deed, Deed::Refuse | Deed::GoAway)
}

/// The client was told of what the proxy was to mend: the README's "sent again".
fn is_missed(asked: &Asked, attempts: &[Attempt]) -> bool {
    let [only] = attempts else { return false };
    let idle = only.reused && matches!(only.deed, Deed::Vanish | Deed::Late) && !asked.is_post;
    !only.struck && (idle || (was_refused(only.deed) && !asked.is_large()))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::unruly::ledger::Ledger;

    #[test]
    fn what_has_no_cause_is_found() {
        let problem = |(status, kind, error): (u16, &str, &str)| Outcome::Problem(status, kind.into(), error.into());
        let (whole, cut) = (Outcome::Answer, Outcome::Cut);
        let now = Instant::now();
        let judged = |is_post: bool, deeds: &[(Deed, bool)], outcome: &Outcome| {
            let ledger = Ledger::default();
            for (deed, applied) in deeds {
                let entry = ledger.begin(1, *deed, true);
                if *applied {
                    ledger.apply(entry);
                }
            }
            let asked = Asked { id: 1, is_post, size: 20, began: now, ended: now };
            judge(&asked, outcome, &ledger.attempts(1), 0).is_none()
        };
        for (is_post, deeds, outcome, expected) in [
            (true, &[(Deed::Answer, true)][..], whole.clone(), true),
            (true, &[(Deed::Refuse, false), (Deed::Answer, true)], whole.clone(), true),
            (false, &[(Deed::Vanish, true), (Deed::Answer, true)], whole.clone(), true),
            (true, &[(Deed::Vanish, true)], problem(INCOMPLETE), true),
            (true, &[(Deed::Stall, true)], problem(TIMEOUT), true),
            (true, &[(Deed::CutBody, true)], cut.clone(), true),
            // Applied twice, repeated although it may have been applied, or never answered.
            (true, &[(Deed::Vanish, true), (Deed::Answer, true)], whole.clone(), false),
            (true, &[(Deed::Vanish, false), (Deed::Answer, true)], whole.clone(), false),
            (true, &[(Deed::Answer, false)], whole.clone(), false),
            (true, &[], whole.clone(), false),
            // A wrong cause, or none.
            (true, &[(Deed::Stall, true)], problem(INCOMPLETE), false),
            (true, &[(Deed::Abort, true)], problem(TIMEOUT), false),
            (true, &[(Deed::Answer, true)], cut.clone(), false),
            (true, &[(Deed::Vanish, true)], cut.clone(), false),
            (true, &[], problem(INCOMPLETE), false),
            (true, &[(Deed::Answer, true)], Outcome::Hang, false),
            // The proxy should have repeated these.
            (true, &[(Deed::Refuse, false)], problem(INCOMPLETE), false),
            (false, &[(Deed::Late, false)], problem(INCOMPLETE), false),
            (false, &[(Deed::Vanish, true), (Deed::Vanish, true), (Deed::Answer, true)], whole.clone(), false),
        ] {
            assert_eq!(judged(is_post, deeds, &outcome), expected, "{is_post} {deeds:?} {outcome:?}");
        }
    }
}
