mod recovery;

use jiff::Timestamp;

use super::*;
use crate::token::store::Binding;

fn token(text: &str) -> RefreshToken {
    RefreshToken::parse(text).unwrap()
}

fn record(refresh: Option<&str>) -> Record {
    let binding = Binding { token_url: "t".into(), client_id: "c".into(), upstream_origin: "u".into() };
    Record { generation: Generation(3), refresh: refresh.map(token), ..Record::empty(binding) }
}

#[test]
fn a_clear_no_ends_the_grant_that_was_presented_and_no_other() {
    let last = LastRefresh {
        at: Timestamp::UNIX_EPOCH,
        trigger: Trigger::Scheduled,
        outcome: Outcome::Rejected,
        duration_ms: 7,
        error: Some("HTTP 401: invalid_request".into()),
    };
    let intent = Intent {
        owner: "one".into(),
        at: Timestamp::UNIX_EPOCH,
        fingerprint: token("old").fingerprint(),
        presented: 1,
    };
    // what the store held, what was presented, was it unclear before: needs_login?, taken?, is the intent kept?
    let rows = [
        (Some("old"), "old", false, true, false, false),
        (Some("old"), "old", true, true, false, false),
        // A first one beside a grant: that one stays, and what is unclear of it too.
        (Some("old"), "new", false, false, true, true),
        (Some("old"), "new", true, false, true, true),
        (None, "new", false, true, true, false),
    ];
    for (stored, presented, unclear, needs_login, taken, intent_kept) in rows {
        let before = Record { intent: Some(intent.clone()), ..record(stored) };
        let after = rejected(before, &token(presented), unclear, last.clone());
        let what = format!("{stored:?} {presented} {unclear}");
        assert_eq!(after.taken == [token(presented).fingerprint()], taken, "{what}");
        assert_eq!(after.intent.is_some(), intent_kept, "{what}");
        assert_eq!((after.refresh, after.last_refresh), (stored.map(token), Some(last.clone())), "{what}");
        assert_eq!(after.needs_login.is_some(), needs_login, "{what}");
        let reason = after.needs_login.unwrap_or_default();
        assert_eq!(reason.contains("HTTP 401: invalid_request"), needs_login, "{reason}");
        assert_eq!(reason.contains("was lost"), needs_login && unclear, "{reason}");
    }
}
