//! `demo`: the whole program against an authorization server and an API that behave like Passolution's. It needs no account.
//!
//! Each step is checked against the ledger of the simulated server, and not against the proxy's own word.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::{Config, Errors, ListenAddress, Loaded, Sources};
use crate::gateway::{Gateway, StartError};
use crate::telemetry::problems::Problems;
use simulator::{CLIENT_ID, CLIENT_SECRET, Fault, Kind, Options, Revocation, Simulator};

/// Why the tour stopped.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the demo can't store its grant in {folder}: {error}; set TMPDIR to a writable directory", folder = .folder.display())]
    Folder { folder: std::path::PathBuf, error: std::io::Error },
    #[error("the configuration of the demo is invalid: {0}")]
    Config(#[from] Errors),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("step {step}: {what}")]
    Step { step: usize, what: String },
}

/// The simulator, and the gateway in front of it.
struct Tour<'a, W: Write> {
    out: &'a mut W,
    step: usize,
    simulator: Simulator,
    gateway: Gateway,
    /// Holds the grant. It is removed when this value is dropped.
    folder: TempDir,
}

/// Time limit of one step, because people watch.
const PATIENCE: Duration = Duration::from_secs(10);
/// Short, so that a scheduled refresh happens while people watch. Later tokens live for an hour.
const SHORT_LIFE: Duration = Duration::from_secs(4);
const HERD: usize = 50;
/// Within this time after a refresh, the proxy makes no other one on request.
const REFRESH_PACE: Duration = Duration::from_secs(1);

/// Runs the tour, then, unless `once`, serves until `stop` is ready.
pub async fn run(once: bool, out: &mut impl Write, stop: impl Future<Output = ()>) -> Result<(), DemoError> {
    let simulator =
        Simulator::start(Options { access_lifetime: SHORT_LIFE, rate_limit: None, ..Options::league8() }).await?;
    let folder = private_folder()?;
    let first = simulator.grant().refresh_token;
    let loaded = configuration(&simulator, folder.path(), &first)?;
    let gateway = Gateway::start(loaded, Clock::system(), Problems::default()).await?;
    let mut tour = Tour { out, step: 0, simulator, gateway, folder };
    let outcome = tour.walk().await;
    if outcome.is_ok() && !once {
        tour.invite()?;
        stop.await;
    }
    let Tour { gateway, folder, .. } = tour;
    let _ = gateway.drain(std::future::pending()).await;
    folder.close()?;
    outcome
}

/// A new directory in TMPDIR or `/tmp`. Other users can write there, so its name is random: nobody can create it first.
fn private_folder() -> Result<TempDir, DemoError> {
    let parent = std::env::temp_dir();
    let mut folder = tempfile::Builder::new();
    folder.prefix("bearer-proxy-demo-").permissions(Permissions::from_mode(0o700));
    folder.tempdir_in(&parent).map_err(|error| DemoError::Folder { folder: parent, error })
}

fn configuration(simulator: &Simulator, folder: &std::path::Path, first: &str) -> Result<Loaded, Errors> {
    let environment = [
        ("BEARER_PROXY_LISTEN", "127.0.0.1:0".to_owned()),
        ("BEARER_PROXY_ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ("BEARER_PROXY_UPSTREAM__URL", simulator.origin()),
        ("BEARER_PROXY_OAUTH__TOKEN_URL", simulator.token_url()),
        ("BEARER_PROXY_OAUTH__AUTHORIZE_URL", simulator.authorize_url()),
        ("BEARER_PROXY_OAUTH__CLIENT_ID", CLIENT_ID.to_owned()),
        ("BEARER_PROXY_OAUTH__CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ("BEARER_PROXY_STORE__PATH", folder.join("grant.json").display().to_string()),
        ("BEARER_PROXY_SHUTDOWN__GRACE", "2s".to_owned()),
        ("BEARER_PROXY_OAUTH__REFRESH_TOKEN", first.to_owned()),
    ];
    Config::load(&Sources::new(None, environment))
}

// === impl Tour ===

impl<W: Write> Tour<'_, W> {
    async fn walk(&mut self) -> Result<(), DemoError> {
        let api = self.simulator.origin();
        let proxy = self.proxy();
        writeln!(
            self.out,
            "An authorization server and an API like Passolution's run at {api}. bearer-proxy runs in front of them at http://{proxy}\n"
        )?;

        self.begin("a request without credentials goes in, an authenticated one comes out")?;
        self.get("/api/v2/version").await?;
        let calls = self.simulator.with_ledger(|ledger| ledger.committed_calls());
        self.check(calls == 1, "the first refresh token was presented once, and its successor is stored")?;

        self.begin("the proxy refreshes the token before it expires, and the server revokes the old one at once")?;
        let sim = self.simulator.clone();
        self.within(sim.wait_until(|ledger| ledger.committed_calls() >= 2)).await?;
        self.get("/api/v2/countries").await?;
        self.check(self.expired_seen() == 0, "no expired token was ever sent")?;
        // From here on, no refresh is due by itself.
        self.simulator.reconfigure(|options| options.access_lifetime = Duration::from_secs(3600));
        self.refresh().await?;

        self.begin("the API revokes the token, and fifty clients send a request at the same time")?;
        let before = self.simulator.with_ledger(|ledger| ledger.token_calls().len());
        self.simulator.revoke(Revocation::All(Kind::Access));
        let proxy = self.proxy();
        let herd: Vec<_> = (0..HERD).map(|_| tokio::spawn(send(proxy, Method::GET, "/api/v2/countries", ""))).collect();
        let mut good = 0;
        for client in herd {
            good += usize::from(matches!(client.await, Ok(Ok((StatusCode::OK, _)))));
        }
        let calls = self.simulator.with_ledger(|ledger| ledger.token_calls().len()) - before;
        self.check(good == HERD, &format!("{good} of {HERD} clients got 200"))?;
        self.check(calls == 1, &format!("the token endpoint was called {calls} time"))?;

        self.begin("the API revokes the token again, and a client sends a POST: its body is replayed byte for byte")?;
        self.simulator.revoke(Revocation::All(Kind::Access));
        let body = r#"{"destinations":["DE","JP"]}"#;
        let (status, echo) = self.send(Method::POST, "/api/v2/echo", body).await?;
        let whole = echo.contains(&format!("\"body_length\":{}", body.len()));
        self.check(status == StatusCode::OK && whole, &format!("{status}, and the API saw all {} bytes", body.len()))?;

        self.begin("the token endpoint fails while the token is valid: no client notices")?;
        self.simulator.fault(Fault::html_502());
        tokio::time::sleep(REFRESH_PACE).await;
        let refreshed = self.gateway.tokens().refresh().await;
        self.check(refreshed.is_err(), "a forced refresh failed")?;
        self.get("/api/v2/health").await?;

        self.begin("what the ledger of the server shows")?;
        let reused = self.simulator.with_ledger(|ledger| ledger.reused_after_delivery().len());
        self.check(reused == 0, "no refresh token was presented after its successor had arrived")?;
        let expired = self.expired_seen();
        self.check(expired == 0, "no expired token was ever sent")?;
        writeln!(self.out, "\nall {} steps ok", self.step)?;
        Ok(())
    }

    fn invite(&mut self) -> Result<(), DemoError> {
        let proxy = self.proxy();
        writeln!(
            self.out,
            "\nNow try it yourself, without any credentials:\n\n  curl http://{proxy}/api/v2/countries\n"
        )?;
        if let Some(ListenAddress::Tcp(admin)) = self.gateway.admin_address() {
            writeln!(self.out, "State of the grant:   curl http://{admin}/status")?;
            writeln!(self.out, "Force a refresh:      curl -X POST http://{admin}/refresh")?;
        }
        writeln!(self.out, "\nPress Ctrl-C to stop.")?;
        self.out.flush()?;
        Ok(())
    }

    fn begin(&mut self, title: &str) -> Result<(), DemoError> {
        self.step += 1;
        writeln!(self.out, "{}. {title}", self.step)?;
        self.out.flush()?;
        Ok(())
    }

    fn check(&mut self, holds: bool, what: &str) -> Result<(), DemoError> {
        writeln!(self.out, "   {}  {what}", if holds { "ok  " } else { "FAIL" })?;
        if holds { Ok(()) } else { Err(self.failed(what)) }
    }

    fn failed(&self, what: impl ToString) -> DemoError {
        DemoError::Step { step: self.step, what: what.to_string() }
    }

    async fn within<T, E: ToString>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, DemoError> {
        match timeout(PATIENCE, work).await {
            Ok(outcome) => outcome.map_err(|error| self.failed(error.to_string())),
            Err(_) => Err(self.failed("took too long")),
        }
    }

    async fn get(&mut self, path: &'static str) -> Result<(), DemoError> {
        let (status, _) = self.send(Method::GET, path, "").await?;
        self.check(status == StatusCode::OK, &format!("GET {path} → {status}"))
    }

    async fn send(
        &mut self,
        method: Method,
        path: &'static str,
        body: &'static str,
    ) -> Result<(StatusCode, String), DemoError> {
        let proxy = self.proxy();
        self.within(send(proxy, method, path, body)).await
    }

    async fn refresh(&mut self) -> Result<(), DemoError> {
        tokio::time::sleep(REFRESH_PACE).await;
        let tokens = self.gateway.tokens().clone();
        self.within(async move { tokens.refresh().await }).await?;
        Ok(())
    }

    fn expired_seen(&self) -> u64 {
        self.simulator.with_ledger(|ledger| ledger.expired_seen_total())
    }

    fn proxy(&self) -> std::net::SocketAddr {
        match self.gateway.addresses().first() {
            Some(ListenAddress::Tcp(address)) => *address,
            // The configuration of the demo has one TCP address.
            _ => std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// A client without credentials.
async fn send(
    proxy: std::net::SocketAddr,
    method: Method,
    path: &'static str,
    body: &'static str,
) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(proxy).await?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", proxy.to_string());
    let response = client.send_request(request.body(Full::new(Bytes::from_static(body.as_bytes())))?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
