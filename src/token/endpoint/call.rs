//! One token call on one new connection.
//!
//! The connection is new, because a reused one may fail during the request, and it is then unknown whether the request arrived. It
//! uses HTTP/1.1, because HTTP/2 offers nothing to a single exchange. No layer retries, from TCP to HTTP.
//!
//! # Was anything sent?
//!
//! Without a response, this decides between transient and ambiguous. hyper accepts a request before it writes it, so its errors do
//! not show whether bytes left. [`Watched`] sees the writes. A failed write counts as sent, because TLS may have flushed a part.
//!
//! # Can it still arrive?
//!
//! The kernel retransmits unacknowledged bytes for minutes, even after the connection was closed. Such bytes could present the
//! token after a retry. So the connection is set to be reset on close ([`Stream::reset_on_close`]), and only a response
//! ends it in an orderly way. The connection is closed before this call returns, so no retry can start earlier. Behind
//! `outbound.proxy`, the reset reaches only the HTTP proxy, which may still deliver bytes that it has received.

mod salvage;

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::classify::{Received, classify};
use super::decode::MAX_BODY;
use super::mask::Mask;
use super::watched::Watched;
use super::{CallResult, FailureCause, Presented, RefreshFailure};
use crate::clock::Clock;
use crate::outbound::{Connector, Offer, Stream};
use crate::token::RefreshOutcome;

/// The time limits of a call.
#[derive(Clone, Copy)]
pub(super) struct CallLimits {
    /// The first byte must leave by then. Otherwise, none does.
    pub(super) send_by: Instant,
    /// The response must be complete by then.
    pub(super) end_by: Instant,
}

/// The time limit of an exchange. It is extended once if the process was suspended.
///
/// A process that was suspended (SIGSTOP, a paused machine) wakes after the limit, and the response waits in its socket. The
/// response may hold the only live successor, so it is read. Only one extension, so a slow server gains no more time.
struct End {
    by: Instant,
    extended: bool,
}

/// The head of a response, and its body as far as it arrived.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
    /// Why the body is incomplete.
    cut: Option<String>,
}

/// What is left of a connection.
struct Exchanged<T> {
    io: Option<T>,
    result: Result<Answered, Broken>,
    /// All bytes that were received.
    received: Zeroizing<Vec<u8>>,
}

/// An exchange that ended before the head of the response.
struct Broken {
    sent: bool,
    why: String,
}

/// A timer this late means that the process was suspended.
const STOPPED: Duration = Duration::from_millis(500);

/// The time to read bytes after the end of the message. The server was asked to close the connection.
const READ_REST: Duration = Duration::from_secs(1);

/// The time to read what arrived while the process was suspended.
const READ_LATE: Duration = Duration::from_secs(2);

/// See [`Endpoint::call`](super::Endpoint::call) for what the caller must guarantee.
pub(super) async fn call(
    connector: &Connector,
    request: Request<Full<Bytes>>,
    limits: CallLimits,
    presented: Presented<'_>,
    mask: &Mask,
) -> CallResult {
    let stream = match timeout_at(limits.send_by.min(limits.end_by), connector.connect(Offer::Http1)).await {
        Ok(Ok((stream, _))) => stream,
        Ok(Err(error)) => {
            let said = mask.local(&error.to_string());
            let failure = RefreshFailure::without_response(RefreshOutcome::Transient, said);
            return CallResult::Failed(RefreshFailure { cause: FailureCause::from(&error), ..failure });
        }
        Err(_) => return failed(RefreshOutcome::Transient, "no connection in time".to_owned()),
    };
    // Before the first byte, so the end of this call or of this process resets the connection.
    if let Err(error) = stream.reset_on_close(true) {
        return failed(
            RefreshOutcome::Transient,
            mask.local(&format!("the connection can't be made to reset: {error}")),
        );
    }
    let Exchanged { mut io, result, mut received } = exchange(stream, request, limits).await;
    // Only used if `Retry-After` is a date and the response has no `Date`, so no test has to move this clock.
    let now = Clock::system().now();
    let mut understood = Zeroizing::default();
    let (status, answer) = match result {
        Ok(Answered { status, headers, body, cut }) => {
            if let (Some(io), None) = (&mut io, &cut)
                && !is_presented_again(status)
            {
                end_orderly(io);
            }
            let response = Received { status, headers: &headers, body: &body, cut: cut.as_deref() };
            let answer = classify(response, presented, now, mask);
            understood = body;
            (Some(status), answer)
        }
        Err(Broken { sent: false, why }) => {
            return failed(RefreshOutcome::Transient, format!("nothing was sent: {}", mask.local(&why)));
        }
        Err(Broken { sent: true, why }) => {
            (None, failed(RefreshOutcome::Ambiguous, format!("sent, but not answered: {}", mask.local(&why))))
        }
    };
    if status.is_none_or(|status| status.is_success()) && !matches!(answer, CallResult::Issued(_)) {
        if let Some(io) = io {
            read_rest(io, &mut received, limits.end_by).await;
        }
        for (status, body) in salvage::responses(&received) {
            if *body == **understood {
                continue;
            }
            let response =
                Received { status, headers: &HeaderMap::new(), body: &body, cut: Some("its HTTP is malformed") };
            match (classify(response, presented, now, mask), &answer) {
                (CallResult::Failed(_), _) | (CallResult::SuccessorOnly(_), CallResult::SuccessorOnly(_)) => {}
                (salvaged, _) => return salvaged,
            }
        }
    }
    answer
}

/// Whether the token may be presented again after this status. Then no byte of this call may arrive later.
fn is_presented_again(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Ends the connection in an orderly way: the server has answered, so no byte of the request is in transit.
fn end_orderly(io: &mut Stream) {
    let _ = io.reset_on_close(false);
    // Sends the close_notify of TLS, if the socket has room.
    let _ = io.shutdown().now_or_never();
}

/// Reads what the server sent after the end of its message. If `Content-Length` is too small, that may be a token.
async fn read_rest(mut io: Stream, received: &mut Zeroizing<Vec<u8>>, end_by: Instant) {
    let rest =
        async { while received.len() < MAX_BODY && !matches!(io.read_buf(&mut **received).await, Ok(0) | Err(_)) {} };
    let _ = timeout_at(end_by.min(Instant::now() + READ_REST), rest).await;
}

fn failed(outcome: RefreshOutcome, error: String) -> CallResult {
    CallResult::Failed(RefreshFailure::without_response(outcome, error))
}

async fn exchange<T>(io: T, request: Request<Full<Bytes>>, limits: CallLimits) -> Exchanged<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let CallLimits { send_by, end_by } = limits;
    let watched = Watched::new(io, send_by);
    let sent = Arc::clone(&watched.sent);
    let broken = |why| Broken { sent: sent.load(Ordering::Relaxed), why };
    let (mut sender, mut connection) = match http1::handshake(TokioIo::new(watched)).await {
        Ok(both) => both,
        Err(error) => {
            return Exchanged { io: None, result: Err(broken(chain(&error))), received: Zeroizing::default() };
        }
    };
    let mut end = End { by: end_by, extended: false };
    let answer = async {
        match end.before(sender.send_request(request)).await {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                let (body, cut) = read(body, &mut end).await;
                Ok(Answered { status: head.status, headers: head.headers, body, cut })
            }
            Ok(Err(error)) => Err(broken(chain(&error))),
            Err(_) => Err(broken("no answer in time".to_owned())),
        }
    };
    // In this task, so the connection ends with the exchange. The result also shows how the connection ended.
    let driver = async {
        let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
        std::future::pending::<Infallible>().await
    };
    let result = tokio::select! {
        answer = answer => answer,
        never = driver => match never {},
    };
    let Watched { io, received, .. } = connection.into_parts().io.into_inner();
    Exchanged { io: Some(io), result, received }
}

/// The body, and why it is incomplete. The body holds tokens, so the buffer is zeroed. The buffers of hyper are not.
async fn read(mut body: Incoming, end: &mut End) -> (Zeroizing<Vec<u8>>, Option<String>) {
    let mut read = Zeroizing::new(Vec::with_capacity(16 * 1024));
    loop {
        match end.before(body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                let room = MAX_BODY - read.len();
                read.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room {
                    return (read, Some(format!("it is larger than {MAX_BODY} bytes")));
                }
            }
            Ok(Some(Err(error))) => return (read, Some(chain(&error))),
            Ok(None) => return (read, None),
            Err(_) => return (read, Some("its end did not come in time".to_owned())),
        }
    }
}

/// An error with its causes. The texts of hyper quote nothing from the wire.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

// === impl End ===

impl End {
    async fn before<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut work = pin!(work);
        loop {
            match timeout_at(self.by, &mut work).await {
                Err(_) if !self.extended && self.by.elapsed() > STOPPED => {
                    self.extended = true;
                    self.by = Instant::now() + READ_LATE;
                }
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn broken(io: tokio::io::DuplexStream, send_by: Instant) -> Broken {
        let request = Request::post("/token").body(Full::new(Bytes::from_static(b"x"))).unwrap();
        match exchange(io, request, CallLimits { send_by, end_by: Instant::now() + MINUTE }).await.result {
            Err(broken) => broken,
            Ok(_) => panic!("nobody was there to answer"),
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_before_the_request_has_carried_nothing() {
        let (near, far) = tokio::io::duplex(1024);
        drop(far);
        let Broken { sent, why } = broken(near, Instant::now() + MINUTE).await;
        assert!(!sent, "{why}");
    }

    #[tokio::test]
    async fn nothing_leaves_once_the_time_to_present_is_over() {
        let (near, mut far) = tokio::io::duplex(1024);
        let Broken { sent, why } = broken(near, Instant::now()).await;
        assert!(!sent && why.contains("the time in which the token may be presented is over"), "{why}");
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_request_that_began_in_time_is_sent_whole() {
        // With this buffer, the request takes many writes, most of them after the limit.
        let (near, mut far) = tokio::io::duplex(1);
        let begun = async {
            far.read_u8().await.unwrap();
            tokio::time::pause();
            tokio::time::advance(MINUTE / 2).await;
            let mut rest = Vec::new();
            while !rest.ends_with(b"x") {
                rest.push(far.read_u8().await.unwrap());
            }
            drop(far);
        };
        let (Broken { sent, .. }, ()) = tokio::join!(broken(near, Instant::now() + MINUTE / 4), begun);
        assert!(sent);
    }

    /// The result of an exchange with a limit of one minute, if the response arrives in two pieces after `late`.
    async fn answered_after(late: Duration) -> Result<Vec<u8>, Broken> {
        let (near, mut far) = tokio::io::duplex(4096);
        let answer = async {
            far.read_u8().await.unwrap();
            tokio::time::pause();
            // The clock jumps, as it does for a process that was suspended.
            tokio::time::advance(late).await;
            far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{").await.unwrap();
            tokio::task::yield_now().await;
            far.write_all(b"}").await.unwrap();
            tokio::time::resume();
        };
        let request = Request::post("/token").body(Full::new(Bytes::from_static(b"x"))).unwrap();
        let limits = CallLimits { send_by: Instant::now() + MINUTE, end_by: Instant::now() + MINUTE };
        let (answered, ()) = tokio::join!(exchange(near, request, limits), answer);
        answered.result.map(|answered| {
            assert_eq!(answered.cut, None);
            answered.body.to_vec()
        })
    }

    #[tokio::test]
    async fn an_answer_that_came_while_the_process_was_stopped_is_read() {
        assert_eq!(answered_after(MINUTE / 2).await.map_err(|broken| broken.why), Ok(b"{}".to_vec()));
        assert_eq!(answered_after(10 * MINUTE).await.map_err(|broken| broken.why), Ok(b"{}".to_vec()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_merely_slow_gets_no_more_time() {
        let (near, _far) = tokio::io::duplex(4096);
        let began = Instant::now();
        let Broken { sent, why } = broken(near, began + MINUTE).await;
        assert!(sent && why.contains("no answer in time"), "{why}");
        assert!(began.elapsed() < MINUTE + STOPPED, "{:?}", began.elapsed());
    }
}
