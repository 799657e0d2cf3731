use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::check::tests::names;
use crate::config::{AmbiguousRetry, Margin};
use crate::token::journal::Kind;
use crate::token::store::{Binding, LastRefresh};
use crate::token::{Access, AccessToken, Generation, RefreshToken, Trigger};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn binding(client_id: &str) -> Binding {
    Binding {
        token_url: "https://as.test/token".into(),
        client_id: client_id.into(),
        upstream_origin: "https://api.test".into(),
    }
}

fn settings() -> Settings {
    Settings {
        kind: Kind::RefreshToken { initial: None },
        binding: binding("7"),
        request_timeout: Duration::from_secs(30),
        ambiguous_retry: AmbiguousRetry::Once,
        default_lifetime: Duration::from_secs(3600),
    }
}

/// A grant whose access token ends in so many seconds.
fn record(seconds_left: i64) -> Record {
    Record {
        generation: Generation(3),
        access: Some(Access {
            token: AccessToken::parse("canary-access").unwrap(),
            obtained_at: now() - SignedDuration::from_secs(1_000_000),
            expires_at: Some(now() + SignedDuration::from_secs(seconds_left)),
        }),
        refresh: Some(RefreshToken::parse("canary-refresh").unwrap()),
        ..Record::empty(binding("7"))
    }
}

fn check(running: Option<&Status>, record: Option<&Record>) -> Vec<&'static str> {
    let settings = settings();
    let margin = Margin::Fixed(Duration::from_secs(600));
    let findings = judge(&Facts { running, record, settings: &settings, margin, now: now() });
    assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
    let problems: Vec<_> = findings.into_iter().filter(Finding::is_problem).collect();
    names(&problems)
}

#[test]
fn each_fault_of_a_stored_grant_has_its_id() {
    let bare = Record { access: None, ..record(0) };
    let dead = Record { needs_login: Some("The server refused it.".into()), ..record(1_000_000) };
    let foreign = Record { binding: binding("8"), ..record(1_000_000) };
    let empty = Record { refresh: None, access: None, ..record(0) };
    assert_eq!(check(None, Some(&record(1_000_000))), [""; 0]);
    assert_eq!(check(None, None), ["grant-absent"]);
    assert_eq!(check(None, Some(&empty)), ["grant-absent"]);
    assert_eq!(check(None, Some(&foreign)), ["grant-bound-elsewhere"]);
    assert_eq!(check(None, Some(&dead)), ["grant-needs-login"]);
    assert_eq!(check(None, Some(&bare)), ["grant-never-refreshed"]);
    assert_eq!(check(None, Some(&record(60))), ["grant-near-end"]);
    assert_eq!(check(None, Some(&record(-60))), ["grant-near-end"]);
}

#[test]
fn each_fault_that_a_running_proxy_reports_has_its_id() {
    let last = |outcome| LastRefresh {
        at: now(),
        trigger: Trigger::Scheduled,
        outcome,
        duration_ms: 1,
        error: Some("HTTP 503".into()),
    };
    let status = |state| Status {
        state,
        grant: "refresh_token".into(),
        profile: "passolution".into(),
        generation: Generation(3),
        obtained_at: Some(now()),
        expires_at: Some(now() + SignedDuration::from_secs(3600)),
        refresh_at: None,
        retry_at: None,
        retrying: None,
        refused_at: None,
        last_refresh: Some(last(RefreshOutcome::Ok)),
        persisted: true,
        store: "file".into(),
        draining: false,
        version: "0.1.0".into(),
        reason: None,
    };
    let failing = |state| Status { last_refresh: Some(last(RefreshOutcome::Transient)), ..status(state) };
    let grant = record(1_000_000);
    let foreign = Record { binding: binding("8"), ..grant.clone() };
    let stored = Some(&grant);
    assert_eq!(check(Some(&status(State::Valid)), stored), [""; 0]);
    // The proxy is about to refresh it.
    assert_eq!(check(Some(&status(State::Expiring)), stored), [""; 0]);
    assert_eq!(check(Some(&failing(State::Expiring)), stored), ["grant-refresh-fails"]);
    assert_eq!(check(Some(&failing(State::Expired)), stored), ["grant-refresh-fails"]);
    assert_eq!(check(Some(&status(State::Expired)), stored), ["grant-near-end"]);
    assert_eq!(check(Some(&status(State::Refused)), stored), ["grant-near-end"]);
    assert_eq!(check(Some(&status(State::NeedsLogin)), stored), ["grant-needs-login"]);
    assert_eq!(check(Some(&failing(State::NeedsLogin)), Some(&foreign)), ["grant-bound-elsewhere"]);
    assert_eq!(check(Some(&status(State::NeedsLogin)), None), ["grant-absent"]);
    let unpersisted = Status { persisted: false, ..status(State::Valid) };
    assert_eq!(check(Some(&unpersisted), stored), ["grant-unpersisted"]);
    // What the proxy holds counts, not what the store holds.
    assert_eq!(check(Some(&status(State::Valid)), Some(&record(-60))), [""; 0]);
}
