//! Where in its life a connection is, and until when it may stay there.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::Limits;

/// What a connection that is being closed gets beyond its last response: for the client to close its side, or to acknowledge
/// a GOAWAY.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// What a client gets, once the drain has begun, to send a request that it is about to send or to complete.
///
/// HTTP/1 has no way to refuse it: to close at that moment loses it (RFC 9112 §9.5). Answered, it says `Connection: close`.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);

/// A state, and since when. Earlier rows win where two would fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// The client takes nothing of what is to be written.
    Blocked(Instant),
    /// Requests are in flight. Their own limits belong to the proxy.
    Busy,
    /// No more requests are taken, and none is in flight.
    Closing(Instant),
    /// Connected, and no request's head has been complete yet.
    Fresh(Instant),
    /// HTTP/1: a part of the next head has come. (In HTTP/2 what comes need not be a head.)
    Head(Instant),
    /// Between requests.
    Idle(Instant),
}

// === impl ConnectionState ===

impl ConnectionState {
    /// When it ends by force; `None`: not by time. `drained`: since when the server drains.
    pub(super) fn deadline(self, limits: &Limits, drained: Option<Instant>) -> Option<Instant> {
        match self {
            Self::Blocked(since) => Some(since + limits.stall_timeout),
            Self::Busy => None,
            Self::Closing(since) => Some(since + LINGER),
            Self::Fresh(since) | Self::Head(since) => {
                let head = since + limits.header_timeout;
                Some(drained.map_or(head, |drained| head.min(drained + LAST_CALL)))
            }
            // Who has just been answered may be about to ask again; who was quiet for longer is closed at once.
            Self::Idle(since) => {
                Some(since + drained.map_or(limits.idle_timeout, |_| limits.idle_timeout.min(LAST_CALL)))
            }
        }
    }

    /// Why it was ended, for the log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Blocked(_) => "the client does not read",
            Self::Busy => "busy",
            Self::Closing(_) => "the client does not close",
            Self::Fresh(_) | Self::Head(_) => "no complete request head in time",
            Self::Idle(_) => "idle",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_deadline() {
        let limits = Limits {
            max_connections: 1,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(60),
            max_head: 65536,
        };
        let t = Instant::now();
        let after = |seconds: f32| Some(t + Duration::from_secs_f32(seconds));
        let table = [
            (ConnectionState::Blocked(t), None, after(60.0)),
            (ConnectionState::Blocked(t), after(5.0), after(60.0)),
            (ConnectionState::Busy, None, None),
            (ConnectionState::Busy, after(5.0), None),
            (ConnectionState::Closing(t), None, after(2.0)),
            (ConnectionState::Fresh(t), None, after(10.0)),
            (ConnectionState::Fresh(t), after(5.0), after(5.5)),
            (ConnectionState::Fresh(t), after(9.75), after(10.0)),
            (ConnectionState::Head(t), None, after(10.0)),
            (ConnectionState::Head(t), after(5.0), after(5.5)),
            (ConnectionState::Idle(t), None, after(300.0)),
            (ConnectionState::Idle(t), after(0.25), after(0.5)),
            (ConnectionState::Idle(t), after(100.0), after(0.5)),
        ];
        for (state, drained, expected) in table {
            assert_eq!(state.deadline(&limits, drained), expected, "{state:?} {drained:?}");
        }
    }
}
