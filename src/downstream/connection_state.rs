//! The states of a connection, and how long it may stay in each.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::Limits;

/// How long a closing connection stays open after its last response, so that the client can close its side or acknowledge a GOAWAY.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How long a client may still send or complete a request after the drain has begun.
///
/// HTTP/1 cannot refuse such a request, and a close at that moment loses it (RFC 9112 §9.5). The response to it carries
/// `Connection: close`.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);

/// A state and its beginning. If two states fit, the earlier variant wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// The client reads nothing of what the proxy has to write.
    Blocked(Instant),
    /// Requests are in flight. The proxy limits them.
    Busy,
    /// The connection takes no more requests, and none is in flight.
    Closing(Instant),
    /// No complete request head has arrived since the connect.
    Fresh(Instant),
    /// HTTP/1: a part of the next head has arrived. (In HTTP/2, bytes that arrive need not belong to a head.)
    Head(Instant),
    /// Between requests.
    Idle(Instant),
}

// === impl ConnectionState ===

impl ConnectionState {
    /// When the connection is closed by force. `None`: never. `drained`: when the drain began.
    pub(super) fn deadline(self, limits: &Limits, drained: Option<Instant>) -> Option<Instant> {
        match self {
            Self::Blocked(since) => Some(since + limits.stall_timeout),
            Self::Busy => None,
            Self::Closing(since) => Some(since + LINGER),
            Self::Fresh(since) | Self::Head(since) => {
                let head = since + limits.header_timeout;
                Some(drained.map_or(head, |drained| head.min(drained + LAST_CALL)))
            }
            // After a response, the client may be about to send another request. A client that has been quiet for longer is closed
            // at once.
            Self::Idle(since) => {
                Some(since + drained.map_or(limits.idle_timeout, |_| limits.idle_timeout.min(LAST_CALL)))
            }
        }
    }

    /// Why the connection was closed, for the log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Blocked(_) => "the client does not read",
            Self::Busy => "busy",
            Self::Closing(_) => "the client does not close",
            Self::Fresh(_) | Self::Head(_) => "the client sent no complete request head in time",
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
