//! One token call on one new connection.
//!
//! A connection of its own, since a reused one may die under the request and leave open whether it arrived. HTTP/1.1,
//! since HTTP/2 has nothing to give to a single exchange. Nothing is retried, below TLS neither.
//!
//! # Was anything sent?
//!
//! That decides between transient and ambiguous when there is no answer. Hyper takes a request before it writes it, so
//! its own errors do not tell; [`Watched`] sees the writes. A write that failed counts as sent: TLS may have flushed a
//! part.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::classify::{Received, classify};
use super::mask::Mask;
use super::watched::Watched;
use super::{Answer, Failure, GrantType};
use crate::clock::Clock;
use crate::outbound::{Connector, Offer};
use crate::token::Outcome;

/// When a call has to be where.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The first byte leaves by then, or none does.
    pub(super) send_by: Instant,
    /// The answer is whole by then.
    pub(super) end_by: Instant,
}

/// The end of an exchange, by the time in which this process ran.
///
/// One that was stopped (SIGSTOP, a paused machine) finds its time to be over and the answer in its socket: it may be the only
/// living successor, and is read. Once, so that a stop does not make a slow server's time longer than that.
struct End {
    by: Instant,
    extended: bool,
}

/// An answer's head, and its body as far as it came.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
    /// Why the body is not whole.
    cut: Option<String>,
}

/// An exchange that ended before the answer's head.
struct Broken {
    sent: bool,
    why: String,
}

/// So late does a timer come only in a process that did not run.
const STOPPED: Duration = Duration::from_millis(500);

/// To read what has arrived meanwhile.
const READ_LATE: Duration = Duration::from_secs(2);

/// Of an answer's body; the largest known tokens are a few KiB.
const MAX_BODY: usize = 1 << 20;

/// See [`Endpoint::call`](super::Endpoint::call) for what its future asks of the caller.
pub(super) async fn call(
    connector: &Connector,
    request: Request<Full<Bytes>>,
    limits: Limits,
    grant_type: GrantType,
    mask: &Mask,
) -> Answer {
    let io = match timeout_at(limits.send_by.min(limits.end_by), connector.connect(Offer::Http1)).await {
        Ok(Ok((stream, _))) => stream,
        Ok(Err(error)) => return failed(Outcome::Transient, mask.local(&error.to_string())),
        Err(_) => return failed(Outcome::Transient, "no connection in time".to_owned()),
    };
    match exchange(io, request, limits).await {
        Ok(Answered { status, headers, body, cut }) => {
            let received = Received { status, headers: &headers, body: &body, cut: cut.as_deref() };
            // Only for a `Retry-After` that is a date, beside no `Date`: no need for a clock that tests can move.
            classify(received, grant_type, Clock::system().now(), mask)
        }
        Err(Broken { sent: false, why }) => {
            failed(Outcome::Transient, format!("nothing was sent: {}", mask.local(&why)))
        }
        Err(Broken { sent: true, why }) => {
            failed(Outcome::Ambiguous, format!("sent, but not answered: {}", mask.local(&why)))
        }
    }
}

fn failed(outcome: Outcome, error: String) -> Answer {
    Answer::Failed(Failure { outcome, error, retry_after: None })
}

async fn exchange<T>(io: T, request: Request<Full<Bytes>>, limits: Limits) -> Result<Answered, Broken>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let sent = Arc::new(AtomicBool::new(false));
    let broken = |why| Broken { sent: sent.load(Ordering::Relaxed), why };
    let Limits { send_by, end_by } = limits;
    let io = TokioIo::new(Watched { io, sent: Arc::clone(&sent), send_by });
    let (mut sender, connection) = http1::handshake(io).await.map_err(|error| broken(chain(&error)))?;
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
    // In this task, not in one of its own: when the exchange ends, so does the connection. How the connection ended
    // shows in the answer too.
    let driver = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driver => match never {},
    }
}

/// The body, and why it is not whole. It holds tokens: the buffer is zeroed, though hyper's own is out of reach.
async fn read(mut body: Incoming, end: &mut End) -> (Zeroizing<Vec<u8>>, Option<String>) {
    let mut read = Zeroizing::new(Vec::with_capacity(16 * 1024));
    loop {
        match end.before(body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                if read.len() + data.len() > MAX_BODY {
                    // What is that large is no token answer, so its beginning is not looked at either.
                    return (Zeroizing::default(), Some(format!("it is larger than {MAX_BODY} bytes")));
                }
                read.extend_from_slice(&data);
            }
            Ok(Some(Err(error))) => return (read, Some(chain(&error))),
            Ok(None) => return (read, None),
            Err(_) => return (read, Some("its end did not come in time".to_owned())),
        }
    }
}

/// An error with its causes. Hyper's texts quote nothing from the wire.
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn broken(io: tokio::io::DuplexStream, send_by: Instant) -> Broken {
        let request = Request::post("/token").body(Full::new(Bytes::from_static(b"x"))).unwrap();
        match exchange(io, request, Limits { send_by, end_by: Instant::now() + MINUTE }).await {
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
        // A buffer so small that the request takes many writes, most of them after the limit.
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

    /// What an exchange with a minute to its end makes of an answer in two pieces, the first of which comes after `late`.
    async fn answered_after(late: Duration) -> Result<Vec<u8>, Broken> {
        let (near, mut far) = tokio::io::duplex(4096);
        let answer = async {
            far.read_u8().await.unwrap();
            tokio::time::pause();
            // The clock goes on at once, as it does for a process that was stopped.
            tokio::time::advance(late).await;
            far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{").await.unwrap();
            tokio::task::yield_now().await;
            far.write_all(b"}").await.unwrap();
            tokio::time::resume();
        };
        let request = Request::post("/token").body(Full::new(Bytes::from_static(b"x"))).unwrap();
        let limits = Limits { send_by: Instant::now() + MINUTE, end_by: Instant::now() + MINUTE };
        let (answered, ()) = tokio::join!(exchange(near, request, limits), answer);
        answered.map(|answered| {
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
