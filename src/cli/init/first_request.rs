//! The first request: through the whole proxy, in this process, on a port of its own.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::Failure;
use crate::cli::serve::Stop;
use crate::clock::Clock;
use crate::config::{ListenAddress, Loaded};
use crate::gateway::Gateway;
use crate::telemetry::problems::Problems;
use crate::token::RefreshOutcome;
use crate::token::live::View;
use crate::token::refresher::{Ending, Tokens};

/// What the API, or the proxy, answered.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    /// The proxy itself answered, and said this.
    pub(super) problem: Option<String>,
}

/// Why there is no answer.
pub(super) struct Unanswered {
    pub(super) failure: Failure,
    /// A signal ended the request, so the person waits for the end of the program.
    pub(super) interrupted: bool,
}

/// The proxy has its own, shorter limits for each step.
const LIMIT: Duration = Duration::from_secs(120);
const MAX_PROBLEM: usize = 64 * 1024;

/// The configuration must listen on TCP.
pub(super) async fn send(loaded: Loaded, path: &str) -> Result<Answered, Unanswered> {
    let ended = |error: &dyn std::fmt::Display, interrupted| Unanswered {
        failure: Failure::new(format!("the first request failed: {error}")),
        interrupted,
    };
    let failed = |error: &dyn std::fmt::Display| ended(error, false);
    // Before the start, which may begin a refresh. A signal ends the request, and the drain below waits for the refresh.
    let mut stop = Stop::new().map_err(|error| failed(&error))?;
    let started = Timestamp::now();
    let gateway = Gateway::start(loaded, Clock::system(), Problems::default()).await.map_err(|error| failed(&error))?;
    let mut interrupted = false;
    let answered = match gateway.addresses().first() {
        Some(ListenAddress::Tcp(address)) => tokio::select! {
            answered = timeout(LIMIT, exchange(*address, path)) => {
                answered.unwrap_or_else(|_| Err("no answer within 2 minutes".into()))
            }
            // Without it, the request waits for a token until the proxy gives up.
            cause = refused(gateway.tokens(), started) => Err(format!("no token was obtained: {cause}").into()),
            signal = stop.received() => {
                interrupted = true;
                Err(format!("ended by {signal}").into())
            }
        },
        _ => Err("the proxy does not listen on TCP".into()),
    };
    let cause = failed_refresh(&gateway.tokens().live().view(), started).map(|(_, cause)| cause);
    // Returns after a refresh in flight has been stored.
    let second_signal = async {
        stop.received().await;
    };
    let ending = gateway.drain(second_signal).await;
    if ending == Ending::GrantLost {
        return Err(failed(&"the grant was renewed and could not be stored"));
    }
    let mut answered = answered.map_err(|error| ended(&error, interrupted))?;
    if let (Some(problem), Some(cause)) = (&mut answered.problem, cause) {
        *problem = format!("{problem} The last refresh failed: {cause}");
    }
    Ok(answered)
}

/// Waits for a refresh that fails in a way that only a person can mend, and returns its cause.
async fn refused(tokens: &Tokens, since: Timestamp) -> String {
    let hopeless = |view: &View| {
        let (outcome, cause) = failed_refresh(view, since)?;
        matches!(outcome, RefreshOutcome::Misconfigured | RefreshOutcome::Rejected).then_some(cause)
    };
    tokens.live().wait_for(hopeless).await
}

/// The outcome and the cause of a failed refresh, if there is no token to send.
fn failed_refresh(view: &View, since: Timestamp) -> Option<(RefreshOutcome, String)> {
    let last = view.last_refresh.as_ref().filter(|last| last.at >= since && last.outcome != RefreshOutcome::Ok)?;
    let cause = || last.error.clone().unwrap_or_else(|| last.outcome.name().to_owned()).replace(char::is_control, " ");
    view.unexpired(Timestamp::now()).is_none().then(|| (last.outcome, cause()))
}

async fn exchange(
    proxy: std::net::SocketAddr,
    path: &str,
) -> Result<Answered, Box<dyn std::error::Error + Send + Sync>> {
    let (mut client, connection) = http1::handshake(TokioIo::new(TcpStream::connect(proxy).await?)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, proxy.to_string()).body(Empty::<Bytes>::new())?;
    let response = client.send_request(request).await?;
    let status = response.status();
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    let mut problem = None;
    if is_problem {
        let body = Limited::new(response.into_body(), MAX_PROBLEM).collect().await?.to_bytes();
        problem = own_problem(&body);
    }
    Ok(Answered { status, problem })
}

/// The detail of a problem document of this program. Another one is the API's.
fn own_problem(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    document["type"].as_str().filter(|kind| kind.starts_with("urn:bearer-proxy:"))?;
    Some(document["detail"].as_str().unwrap_or_default().replace(char::is_control, " "))
}
