//! May this be sent again? A pure table (RFC 9110 §9.2.2).
//!
//! "A proxy MUST NOT automatically retry non-idempotent requests": what may have been processed is not sent again, but
//! for a safe method whose connection was reused, since a connection that an upstream closes for idleness dies just when
//! a request is on its way. On a fresh connection the same is the upstream's answer, and a repetition would loop.

use http::Method;

use super::failure::{Event, FailureKind};
use crate::outbound::ConnectError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Resend,
    GiveUp,
}

pub fn may_resend(event: Event<'_>) -> Verdict {
    // "SHOULD NOT automatically retry a failed automatic retry" (RFC 9110 §9.2.2).
    if event.resent {
        return Verdict::GiveUp;
    }
    let allowed = match event.failure {
        FailureKind::Connect(error) => may_connect_again(error),
        FailureKind::HandedBack => true,
        FailureKind::Refused | FailureKind::GoneAway | FailureKind::Http1Required => event.replayable,
        FailureKind::Lost => event.reused && is_safe(event.method) && event.replayable,
        // A part of an answer came, or one that no repetition mends, or the downstream is at fault.
        FailureKind::Truncated
        | FailureKind::Reset(_)
        | FailureKind::Tls
        | FailureKind::Protocol
        | FailureKind::HeadTooLarge
        | FailureKind::Coding
        | FailureKind::RequestBody => false,
    };
    if allowed { Verdict::Resend } else { Verdict::GiveUp }
}

/// Nothing was sent, so that every method may be; the question is whether a second attempt is of any use.
fn may_connect_again(error: &ConnectError) -> bool {
    match error {
        ConnectError::Dns(_)
        | ConnectError::Refused
        | ConnectError::Unreachable(_)
        | ConnectError::Tls(_)
        | ConnectError::Proxy(_) => true,
        // It will not be trusted a moment later; and the time for connecting has been used up.
        ConnectError::Certificate(_)
        | ConnectError::NotLoopback { .. }
        | ConnectError::Timeout(_)
        | ConnectError::NoDescriptor => false,
    }
}

/// RFC 9110 §9.2.1. A method that is not known is not safe.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

#[cfg(test)]
mod tests;
