use std::time::Duration;

use super::*;

fn request(credential: Credential) -> ApiRequest {
    ApiRequest {
        seq: 0,
        connection: 1,
        at: 0,
        http: 1,
        method: "GET".to_owned(),
        target: "/api/v2/echo?x=1".to_owned(),
        host: String::new(),
        credential,
        status: None,
        executed: true,
        body_length: 0,
        body_sha256: None,
        delivery: Delivery::Pending,
        fault: None,
    }
}

#[test]
fn rows_beyond_the_capacity_are_dropped_and_still_counted() {
    let mut ledger = Ledger::new(2);
    for token in 1..=3 {
        ledger.open_request(request(Credential::Live { token }));
    }
    assert_eq!(ledger.requests_seen(), 3);
    assert_eq!(ledger.requests().map(|row| row.seq).collect::<Vec<_>>(), [2, 3]);
    assert!(ledger.request_mut(1).is_none());
    ledger.end_request(3, Delivery::Delivered);
    assert_eq!(ledger.requests().map(|row| row.delivery).collect::<Vec<_>>(), [Delivery::Pending, Delivery::Delivered]);
    assert_eq!(ledger.executed("/api/v2/echo"), 2);
}

#[test]
fn a_token_just_past_its_expiry_is_within_the_tolerance() {
    let mut ledger = Ledger::new(1);
    ledger.open_request(request(Credential::Expired { token: 1, for_ms: 9_000 }));
    ledger.open_request(request(Credential::Expired { token: 1, for_ms: 500 }));
    assert_eq!(ledger.expired_seen(Duration::from_secs(1)).len(), 0);
    assert_eq!(ledger.expired_seen(Duration::ZERO).len(), 1);
    assert_eq!(ledger.expired_seen_total(), 2);
}

#[test]
fn a_retry_before_the_answer_was_delivered_is_no_reuse() {
    let mut ledger = Ledger::new(1);
    let first = ledger.open_call(1, 0);
    ledger.present(first, Presented::Refresh { serial: 7 });
    ledger.commit_call(first, 2);
    let second = ledger.open_call(2, 0);
    ledger.present(second, Presented::Refresh { serial: 7 });
    ledger.end_call(first, Delivery::Delivered);
    assert!(ledger.reused_after_delivery().is_empty());
    let third = ledger.open_call(3, 0);
    ledger.present(third, Presented::Refresh { serial: 7 });
    assert_eq!(ledger.reused_after_delivery().iter().map(|call| call.seq).collect::<Vec<_>>(), [third]);
    assert_eq!(ledger.calls_per_refresh_token(), [(7, 3)].into());
    assert_eq!(ledger.answered_calls_per_refresh_token(), [(7, 1)].into());
}
