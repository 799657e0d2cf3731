use jiff::Timestamp;

use super::*;
use crate::token::Generation;
use crate::token::store::Intent;

use AmbiguousRetry::{Never, Once, UntilClear};

fn token(text: &str) -> RefreshToken {
    RefreshToken::parse(text).unwrap()
}

fn ours() -> Binding {
    Binding {
        token_url: "https://as.test/token".into(),
        client_id: "7".into(),
        upstream_origin: "https://api.test".into(),
    }
}

fn settings(first: Option<&str>, ambiguous_retry: AmbiguousRetry) -> Settings {
    Settings {
        kind: Kind::RefreshToken { initial: first.map(token) },
        binding: ours(),
        request_timeout: Duration::from_secs(30),
        ambiguous_retry,
        default_lifetime: Duration::from_secs(3600),
    }
}

fn stored(refresh: Option<&str>) -> Record {
    Record { generation: Generation(3), refresh: refresh.map(token), ..Record::empty(ours()) }
}

/// `text` was presented this many times with an ambiguous outcome.
fn intent(text: &str, presented: u32) -> Option<Intent> {
    let fingerprint = token(text).fingerprint();
    Some(Intent { owner: "one".into(), at: Timestamp::UNIX_EPOCH, fingerprint, presented })
}

fn present(text: &str, ambiguous: u32) -> Result<(String, u32), &'static str> {
    Ok((text.to_owned(), ambiguous))
}

/// What is presented, or a part of the reason why nothing is.
fn check(what: &str, plan: Plan, expected: Result<(String, u32), &str>) {
    match (plan, expected) {
        (Plan::Present { token: presented, ambiguous }, Ok((text, count))) => {
            assert_eq!((presented, ambiguous), (Some(token(&text)), count), "{what}");
        }
        (Plan::NeedsLogin(reason), Err(words)) => {
            assert!(reason.contains(words), "{what}: {reason}");
            for command in ["bearer-proxy login", "bearer-proxy import"] {
                assert!(reason.contains(command), "{what} does not say what to do: {reason}");
            }
        }
        (plan, expected) => panic!("{what}: {plan:?}, not {expected:?}"),
    }
}

#[test]
fn a_first_token_comes_before_the_stored_one_until_it_was_taken() {
    let new = settings(Some("new"), UntilClear);
    let none = settings(None, UntilClear);
    let taken = |record: Record| Record { tried_initial: vec![token("new").fingerprint()], ..record };
    let over =
        |record: Record| Record { needs_login: Some("no: bearer-proxy login, bearer-proxy import".into()), ..record };
    let foreign = |record: Record| Record { binding: Binding { client_id: "8".into(), ..ours() }, ..record };
    let rows = [
        ("nothing at all", &none, None, Err("No grant is stored")),
        ("a first one alone", &new, None, present("new", 0)),
        ("a stored one alone", &none, Some(stored(Some("old"))), present("old", 0)),
        ("both", &new, Some(stored(Some("old"))), present("new", 0)),
        ("the first one was taken", &new, Some(taken(stored(Some("old")))), present("old", 0)),
        ("the first one is the stored one", &new, Some(stored(Some("new"))), present("new", 0)),
        ("a record without a token", &none, Some(stored(None)), Err("has no refresh token")),
        ("the grant is over", &none, Some(over(stored(Some("old")))), Err("no: ")),
        ("a new first one mends that", &new, Some(over(stored(Some("old")))), present("new", 0)),
        ("a known one does not", &new, Some(taken(over(stored(Some("old"))))), Err("no: ")),
        ("another server's", &none, Some(foreign(stored(Some("old")))), Err("oauth.client_id was 8 and is now 7")),
        ("another server's, and over", &none, Some(foreign(over(stored(Some("old"))))), Err("sent to nobody")),
        ("another server's, and a first one for this", &new, Some(foreign(stored(Some("old")))), present("new", 0)),
        ("another server's, and a known one", &new, Some(taken(foreign(stored(Some("old"))))), Err("sent to nobody")),
    ];
    for (what, settings, record, expected) in rows {
        check(what, plan(settings, record.as_ref()), expected);
    }
}

#[test]
fn what_had_no_clear_answer_is_presented_as_often_as_the_policy_allows() {
    const TWICE: &str = "presented 2 times without a clear answer";
    const ONCE: &str = "presented once without a clear answer";
    let old = || Some("old");
    // initial token, stored record, intent, policy, outcome
    let rows = [
        (None, old(), None, Never, present("old", 0)),
        (None, old(), intent("old", 1), UntilClear, present("old", 1)),
        (None, old(), intent("old", u32::MAX), UntilClear, present("old", u32::MAX)),
        (None, old(), intent("old", 1), Once, present("old", 1)),
        (None, old(), intent("old", 2), Once, Err(TWICE)),
        (None, old(), intent("old", 1), Never, Err(ONCE)),
        // The intent is about another token.
        (None, old(), intent("older", 9), Never, present("old", 0)),
        (Some("new"), old(), intent("old", 9), Never, present("new", 0)),
        // If the initial token may not be presented again, the stored grant stays in use with its own count.
        (Some("new"), old(), intent("new", 1), UntilClear, present("new", 1)),
        (Some("new"), old(), intent("new", 1), Once, present("new", 1)),
        (Some("new"), old(), intent("new", 2), Once, present("old", 0)),
        (Some("new"), old(), intent("new", 1), Never, present("old", 0)),
        (Some("new"), None, intent("new", 1), Once, present("new", 1)),
        (Some("new"), None, intent("new", 2), Once, Err(TWICE)),
        (Some("new"), None, intent("new", 1), Never, Err(ONCE)),
    ];
    for (number, (first, refresh, intent, policy, expected)) in rows.into_iter().enumerate() {
        let record = Record { intent, ..stored(refresh) };
        check(&format!("row {number}"), plan(&settings(first, policy), Some(&record)), expected);
    }
}

#[test]
fn a_first_token_that_may_not_be_presented_again_stays_known() {
    let lost = Record { intent: intent("new", 1), ..stored(Some("old")) };
    let never = settings(Some("new"), Never);
    let before = never.before(Some(lost.clone()));
    assert_eq!(before.tried_initial, [token("new").fingerprint()]);
    // The next intent replaces the one that held this fact.
    let next = Record { intent: intent("old", 1), ..before.clone() };
    assert_eq!(never.initial_to_try(Some(&next)), None);
    assert_eq!(never.before(Some(next)).tried_initial, before.tried_initial, "once is enough");
    let until_clear = settings(Some("new"), UntilClear);
    assert_eq!(until_clear.before(Some(lost.clone())), lost);
    assert_eq!(never.before(None), Record::empty(ours()));
}

#[test]
fn client_credentials_are_presented_whatever_the_store_holds() {
    let settings = Settings { kind: Kind::ClientCredentials, ..settings(None, Never) };
    let foreign = Record { binding: Binding { client_id: "8".into(), ..ours() }, ..stored(None) };
    let over = Record { needs_login: Some("no".into()), intent: intent("old", 9), ..stored(Some("old")) };
    for record in [None, Some(foreign), Some(over)] {
        assert_eq!(plan(&settings, record.as_ref()), Plan::Present { token: None, ambiguous: 0 });
    }
}

#[test]
fn a_mismatch_names_each_part_that_differs_and_what_to_do() {
    type Change = fn(&mut Binding);
    let rows: [(Change, &[&str]); 5] = [
        (|_| {}, &[]),
        (
            |b| b.token_url = "https://x.test/t".into(),
            &["oauth.token_url was https://as.test/token and is now https://x.test/t"],
        ),
        (|b| b.client_id = "8".into(), &["oauth.client_id was 7 and is now 8"]),
        (
            |b| b.upstream_origin = "https://x.test".into(),
            &["upstream.url was https://api.test and is now https://x.test"],
        ),
        (
            |b| *b = Binding { token_url: "t".into(), client_id: "c".into(), upstream_origin: "u".into() },
            &["oauth.token_url was", "; oauth.client_id was", "; upstream.url was"],
        ),
    ];
    for (change, words) in rows {
        let mut configured = ours();
        change(&mut configured);
        let found = binding_mismatch(&ours(), &configured);
        assert_eq!(found.is_some(), !words.is_empty(), "{configured:?}");
        let found = found.unwrap_or_default();
        let advice: &[_] = &["Undo the change", "bearer-proxy login", "bearer-proxy import"];
        for word in words.iter().chain(if words.is_empty() { &[] } else { advice }) {
            assert!(found.contains(word), "{found}");
        }
    }
}
