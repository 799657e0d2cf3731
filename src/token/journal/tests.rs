mod recovery;

use jiff::Timestamp;

use super::failure::rejected;
use super::*;
use crate::token::RefreshToken;
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
        outcome: RefreshOutcome::Rejected,
        duration_ms: 7,
        error: Some("HTTP 401: invalid_request".into()),
    };
    let intent = Intent {
        owner: "one".into(),
        at: Timestamp::UNIX_EPOCH,
        fingerprint: token("old").fingerprint(),
        presented: 1,
    };
    // stored before, presented, after an ambiguous call: needs_login, marked as tried, intent kept
    let rows = [
        (Some("old"), "old", false, true, false, false),
        (Some("old"), "old", true, true, false, false),
        // An initial token beside a grant: the grant stays, with its intent.
        (Some("old"), "new", false, false, true, true),
        (Some("old"), "new", true, false, true, true),
        (None, "new", false, true, true, false),
    ];
    for (stored, presented, ambiguous, needs_login, taken, intent_kept) in rows {
        let before = Record { intent: Some(intent.clone()), ..record(stored) };
        let after = rejected(before, &token(presented), ambiguous, last.clone());
        let what = format!("{stored:?} {presented} {ambiguous}");
        assert_eq!(after.tried_initial == [token(presented).fingerprint()], taken, "{what}");
        assert_eq!(after.intent.is_some(), intent_kept, "{what}");
        assert_eq!((after.refresh, after.last_refresh), (stored.map(token), Some(last.clone())), "{what}");
        assert_eq!(after.needs_login.is_some(), needs_login, "{what}");
        let reason = after.needs_login.unwrap_or_default();
        assert_eq!(reason.contains("HTTP 401: invalid_request"), needs_login, "{reason}");
        assert_eq!(reason.contains("was lost"), needs_login && ambiguous, "{reason}");
    }
}

#[test]
fn an_answer_follows_what_was_presented_under_whatever_number_and_nothing_else() {
    let stored = |generation, text: &str| Record { generation: Generation(generation), ..record(Some(text)) };
    let lineage = |number: u8| Lineage::try_from(format!("{number:032x}")).unwrap();
    // A record of another lineage, which has replaced these.
    let of = |number, replaced: Vec<_>, record: Record| Record { lineage: lineage(number), replaced, ..record };
    let ancestor = record(None).lineage;
    let expected = |text: Option<&str>| Expect { version: Some(record(text).version()), fence: None };
    let ours = stored(4, "new");
    // what the store holds instead of the expected record, our record: the resulting generation
    let rows = [
        (stored(5, "old"), &ours, expected(Some("old")), Some(6)),
        // A store that was set back. The generation does not decrease.
        (stored(1, "old"), &ours, expected(Some("old")), Some(4)),
        (stored(1, "older"), &ours, expected(Some("old")), Some(4)),
        (stored(3, "fork"), &ours, expected(Some("old")), Some(4)),
        (stored(4, "peer"), &ours, expected(Some("old")), None),
        (of(1, Vec::new(), stored(3, "imported")), &ours, expected(Some("old")), None),
        (of(1, vec![ancestor], stored(3, "old")), &ours, expected(Some("old")), Some(4)),
        // A store that was set back to before an import.
        (stored(9, "older"), &of(1, vec![ancestor], ours.clone()), expected(Some("old")), Some(10)),
        // The server issued no new refresh token, so a peer's result is equally good.
        (stored(4, "old"), &stored(4, "old"), expected(Some("old")), None),
        // `client_credentials`
        (record(None), &record(None), expected(None), None),
        (Record { generation: Generation(1), ..record(None) }, &record(None), expected(None), Some(3)),
        (stored(5, "old"), &ours, Expect { version: None, fence: None }, None),
    ];
    for (number, (theirs, ours, expected, generation)) in rows.into_iter().enumerate() {
        let again = rebased(ours, &theirs, expected);
        assert_eq!(again.as_ref().map(|record| record.generation.0), generation, "row {number}");
        assert!(again.is_none_or(|record| record.refresh == ours.refresh), "row {number}");
    }
    let taken = |text: &str| token(text).fingerprint();
    let theirs = Record { tried_initial: vec![taken("one"), taken("two")], ..stored(5, "old") };
    let ours = Record { tried_initial: vec![taken("two"), taken("three")], ..ours };
    let again = rebased(&ours, &theirs, expected(Some("old"))).unwrap();
    assert_eq!(again.tried_initial, [taken("two"), taken("three"), taken("one")]);
    // If a person supplied it again, it is the successor of that grant.
    let again = rebased(&ours, &of(1, vec![ancestor], stored(3, "old")), expected(Some("old"))).unwrap();
    assert_eq!((again.lineage, again.replaced), (lineage(1), vec![ancestor]));
}
