use std::time::Duration;

use super::*;

fn every_failure() -> Vec<FailureKind> {
    use ConnectError as C;
    use FailureKind as F;
    vec![
        F::Connect(C::Dns("x".into())),
        F::Connect(C::Refused),
        F::Connect(C::Unreachable("x".into())),
        F::Connect(C::Timeout(Duration::from_secs(5))),
        F::Connect(C::NotLoopback { host: "localhost".into(), address: "192.0.2.1".parse().unwrap() }),
        F::Connect(C::Certificate("x".into())),
        F::Connect(C::Tls("x".into())),
        F::Connect(C::Proxy("x".into())),
        F::HandedBack,
        F::Refused,
        F::GoneAway,
        F::Http1Required,
        F::Lost,
        F::Truncated,
        F::Reset(8),
        F::Tls,
        F::Protocol,
        F::Coding,
        F::RequestBody,
    ]
}

fn methods() -> Vec<Method> {
    ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "PROPFIND", "get"]
        .map(|method| Method::from_bytes(method.as_bytes()).unwrap())
        .to_vec()
}

fn every_event(check: impl Fn(Event<'_>)) {
    for failure in &every_failure() {
        for method in &methods() {
            for bits in 0..8u8 {
                check(Event {
                    failure,
                    method,
                    reused: bits & 1 != 0,
                    replayable: bits & 2 != 0,
                    resent: bits & 4 != 0,
                });
            }
        }
    }
}

/// (failure, method, reused, replayable) of a first attempt.
#[test]
fn each_row_of_the_table() {
    use FailureKind as F;
    use Verdict::{GiveUp, Resend};
    let rows = [
        (F::Connect(ConnectError::Refused), "POST", false, false, Resend),
        (F::Connect(ConnectError::Dns("x".into())), "POST", false, false, Resend),
        (F::Connect(ConnectError::Unreachable("x".into())), "POST", false, false, Resend),
        (F::Connect(ConnectError::Tls("x".into())), "POST", false, false, Resend),
        (F::Connect(ConnectError::Proxy("x".into())), "POST", false, false, Resend),
        (F::Connect(ConnectError::Certificate("x".into())), "GET", false, true, GiveUp),
        (F::Connect(ConnectError::Timeout(Duration::ZERO)), "GET", false, true, GiveUp),
        (F::HandedBack, "POST", false, false, Resend),
        (F::HandedBack, "POST", true, false, Resend),
        (F::Refused, "POST", false, true, Resend),
        (F::Refused, "GET", true, false, GiveUp),
        (F::GoneAway, "POST", true, true, Resend),
        (F::GoneAway, "GET", true, false, GiveUp),
        (F::Http1Required, "POST", false, true, Resend),
        (F::Http1Required, "GET", true, false, GiveUp),
        (F::Lost, "GET", true, true, Resend),
        (F::Lost, "HEAD", true, true, Resend),
        (F::Lost, "OPTIONS", true, true, Resend),
        (F::Lost, "TRACE", true, true, Resend),
        (F::Lost, "GET", true, false, GiveUp),
        (F::Lost, "GET", false, true, GiveUp),
        (F::Lost, "PUT", true, true, GiveUp),
        (F::Lost, "DELETE", true, true, GiveUp),
        (F::Lost, "POST", true, true, GiveUp),
        (F::Lost, "PATCH", true, true, GiveUp),
        (F::Lost, "PROPFIND", true, true, GiveUp),
        (F::Truncated, "GET", true, true, GiveUp),
        (F::Reset(8), "GET", true, true, GiveUp),
        (F::Tls, "GET", true, true, GiveUp),
        (F::Protocol, "GET", true, true, GiveUp),
        (F::HeadTooLarge, "GET", true, true, GiveUp),
        (F::RequestBody, "GET", true, true, GiveUp),
    ];
    for (failure, method, reused, replayable, expected) in rows {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let event = Event { failure: &failure, method: &method, reused, replayable, resent: false };
        assert_eq!(may_resend(event), expected, "{event:?}");
    }
}

#[test]
fn nothing_is_sent_a_third_time() {
    every_event(|event| {
        assert!(!(event.resent && may_resend(event) == Verdict::Resend), "{event:?}");
    });
}

#[test]
fn an_unsafe_method_is_sent_again_only_when_provably_unprocessed() {
    every_event(|event| {
        let unprocessed = matches!(
            event.failure,
            FailureKind::Connect(_)
                | FailureKind::HandedBack
                | FailureKind::Refused
                | FailureKind::GoneAway
                | FailureKind::Http1Required
        );
        if may_resend(event) == Verdict::Resend && !unprocessed {
            assert!(is_safe(event.method) && event.reused, "{event:?}");
        }
    });
}

#[test]
fn a_body_that_is_gone_is_never_sent_again() {
    every_event(|event| {
        // These two return the unread request itself.
        let in_hand = matches!(event.failure, FailureKind::Connect(_) | FailureKind::HandedBack);
        if may_resend(event) == Verdict::Resend {
            assert!(in_hand || event.replayable, "{event:?}");
        }
    });
}
