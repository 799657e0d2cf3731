//! Whether a request may be sent again: a pure table (RFC 9110 §9.2.2).
//!
//! "A proxy MUST NOT automatically retry non-idempotent requests": a request that the upstream may have processed is not sent
//! again. There is one exception: a safe method on a reused connection. An upstream may close an idle connection at the moment
//! when a request is on its way. On a new connection, the same failure is the upstream's decision, and a retry would repeat it.

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
        // A part of a response arrived, or a retry would fail in the same way, or the client is at fault.
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

/// Nothing was sent, so every method may be sent again. The question is whether a second attempt can succeed.
fn may_connect_again(error: &ConnectError) -> bool {
    match error {
        ConnectError::Dns(_)
        | ConnectError::Refused
        | ConnectError::Unreachable(_)
        | ConnectError::Tls(_)
        | ConnectError::Proxy(_) => true,
        // A certificate does not become valid a moment later, and a timeout has used up the time for connecting.
        ConnectError::Certificate(_)
        | ConnectError::OutsideValidity(_)
        | ConnectError::NotLoopback { .. }
        | ConnectError::Timeout(_)
        | ConnectError::NoDescriptor => false,
    }
}

/// RFC 9110 §9.2.1. An unknown method is not safe.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

#[cfg(test)]
mod tests;
