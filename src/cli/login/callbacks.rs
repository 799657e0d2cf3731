//! The loopback listener for the redirect (RFC 8252 §7.3).
//!
//! It is bound before the URL is shown. The browser gets its response when the result of the login is known.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::page::Page;
use super::port_owner::owner;
use crate::token::login::{Authorization, Callback, LoginError, Loopback};

pub(super) use crate::token::login::MAX_LENGTH;

/// A bound listener.
#[derive(Debug)]
pub(super) struct Callbacks {
    listeners: Vec<TcpListener>,
    path: String,
    redirect_uri: String,
    port: u16,
    arrivals: Option<mpsc::Receiver<Callback>>,
    ignored: Arc<AtomicUsize>,
    result: watch::Sender<Option<Page>>,
    accepting: JoinSet<()>,
    /// Closed when the last connection has ended.
    answering: Option<mpsc::Receiver<Infallible>>,
}

/// What each connection needs.
struct Shared {
    authorization: Arc<Authorization>,
    path: String,
    arrivals: mpsc::Sender<Callback>,
    ignored: Arc<AtomicUsize>,
    result: watch::Receiver<Option<Page>>,
    answering: mpsc::Sender<Infallible>,
    connections: Arc<Semaphore>,
}

/// Time limit from the connect to a complete request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Browsers open a few connections in advance.
const MAX_CONNECTIONS: usize = 64;
/// How long [`Callbacks::finish`] waits for the browser to read the response.
const FLUSH: Duration = Duration::from_millis(500);

// === impl Callbacks ===

impl Callbacks {
    /// # Errors
    /// An address cannot be listened on.
    pub(super) async fn bind(loopback: &Loopback) -> Result<Self, LoginError> {
        let mut listeners = Vec::new();
        let mut port = 0;
        for address in &loopback.addresses {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    port = listener.local_addr().map_or(port, |bound| bound.port());
                    listeners.push(listener);
                }
                // Of `localhost`, on a machine without IPv6.
                Err(error) if !listeners.is_empty() && is_absent(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(LoginError::PortInUse { address: *address, by: owner(*address) });
                }
                Err(error) => return Err(LoginError::Listen { address: *address, error }),
            }
        }
        Ok(Self {
            listeners,
            path: loopback.path.clone(),
            redirect_uri: loopback.uri(port),
            port,
            arrivals: None,
            ignored: Arc::default(),
            result: watch::Sender::new(None),
            accepting: JoinSet::new(),
            answering: None,
        })
    }

    /// The redirect URI of the authorization request, with the bound port.
    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How many responses belonged to another login.
    pub(super) fn ignored(&self) -> usize {
        self.ignored.load(Ordering::Relaxed)
    }

    /// Accepts from here on.
    pub(super) fn serve(&mut self, authorization: &Arc<Authorization>) {
        let (arrivals, receiver) = mpsc::channel(1);
        let (answering, answered) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            authorization: Arc::clone(authorization),
            path: self.path.clone(),
            arrivals,
            ignored: Arc::clone(&self.ignored),
            result: self.result.subscribe(),
            answering,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        });
        for listener in self.listeners.drain(..) {
            self.accepting.spawn(accept(listener, Arc::clone(&shared)));
        }
        (self.arrivals, self.answering) = (Some(receiver), Some(answered));
    }

    /// The response that belongs to this login. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Callback {
        if let Some(arrivals) = &mut self.arrivals
            && let Some(callback) = arrivals.recv().await
        {
            return callback;
        }
        std::future::pending().await
    }

    /// Answers the browser that waits, and gives it a moment to take the answer.
    pub(super) async fn finish(mut self, stored: bool) {
        self.result.send_replace(Some(if stored { Page::Stored } else { Page::NotStored }));
        self.accepting.abort_all();
        while self.accepting.join_next().await.is_some() {}
        if let Some(mut answering) = self.answering.take() {
            let _ = timeout(FLUSH, answering.recv()).await;
        }
    }
}

/// The kernel has no such address.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok(place) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                // Detached: it outlives the listener until its answer is taken.
                tokio::spawn(async move {
                    serve(stream, &shared).await;
                    drop(place);
                });
            }
            // Descriptors may be free again a moment later.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: &Shared) {
    // Held until the answer is written.
    let owes = OnceLock::new();
    let service = service_fn(|request: Request<Incoming>| {
        let owes = &owes;
        async move { Ok::<_, Infallible>(respond(&request, shared, owes).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(2 * MAX_LENGTH)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    request: &Request<Incoming>,
    shared: &Shared,
    owes: &OnceLock<mpsc::Sender<Infallible>>,
) -> Response<Full<Bytes>> {
    let uri = request.uri();
    if uri.path() != shared.path {
        return Page::NotFound.response();
    }
    if request.method() != Method::GET {
        return Page::WrongMethod.response();
    }
    let callback = Callback::from_query(uri.query().unwrap_or_default());
    let Some(callback) = callback.ok().filter(|callback| shared.authorization.check(callback).is_ok()) else {
        shared.ignored.fetch_add(1, Ordering::Relaxed);
        return Page::Foreign.response();
    };
    owes.get_or_init(|| shared.answering.clone());
    // A page that is loaded again gets the same answer.
    let _ = shared.arrivals.try_send(callback);
    let mut result = shared.result.clone();
    let page = result.wait_for(Option::is_some).await.ok().and_then(|page| *page);
    page.unwrap_or(Page::NotStored).response()
}
