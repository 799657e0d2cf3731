//! The loopback listener for the redirect (RFC 8252 §7.3).
//!
//! It is bound before the URL is shown. The browser gets its response when the result of the login is known.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::page::Page;
use super::port_owner::owner;
use crate::token::login::{Authorization, Callback, LoginError, Loopback, MAX_LENGTH};

/// A bound listener.
#[derive(Debug)]
pub(super) struct Callbacks {
    listeners: Vec<TcpListener>,
    path: String,
    redirect_uri: String,
    address: SocketAddr,
    arrivals: Option<mpsc::Receiver<Callback>>,
    ignored: Arc<AtomicUsize>,
    result: watch::Sender<Option<Page>>,
    accepting: JoinSet<()>,
    /// Closed when the last connection that owes an answer has ended.
    answering: Option<(mpsc::Sender<Infallible>, mpsc::Receiver<Infallible>)>,
}

/// What each connection needs.
struct Shared {
    authorization: Arc<Authorization>,
    path: String,
    arrivals: mpsc::Sender<Callback>,
    ignored: Arc<AtomicUsize>,
    result: watch::Receiver<Option<Page>>,
    answering: mpsc::WeakSender<Infallible>,
    silent: Silent,
}

/// Connections that have sent no complete request head, the oldest first.
#[derive(Debug, Default)]
struct Silent(Mutex<VecDeque<AbortHandle>>);

/// Time limit from the connect to a complete request head. The peer is on this machine, or behind a forwarded port.
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Browsers open a few connections in advance.
const MAX_SILENT: usize = 64;
/// How long [`Callbacks::finish`] waits for the browser to read the response.
const FLUSH: Duration = Duration::from_millis(500);

// === impl Callbacks ===

impl Callbacks {
    /// # Errors
    /// An address cannot be listened on.
    pub(super) async fn bind(loopback: &Loopback) -> Result<Self, LoginError> {
        let mut listeners = Vec::new();
        let (mut port, mut first) = (0, None);
        for address in &loopback.addresses {
            // Both families of `localhost` need the same port.
            let address = if address.port() == 0 { &SocketAddr::new(address.ip(), port) } else { address };
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let bound =
                        listener.local_addr().map_err(|error| LoginError::Listen { address: *address, error })?;
                    port = bound.port();
                    first.get_or_insert(bound);
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
            address: first.unwrap_or((Ipv4Addr::LOCALHOST, port).into()),
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

    /// Where it listens, in the first family.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
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
            answering: answering.downgrade(),
            silent: Silent::default(),
        });
        for listener in self.listeners.drain(..) {
            self.accepting.spawn(accept(listener, Arc::clone(&shared)));
        }
        (self.arrivals, self.answering) = (Some(receiver), Some((answering, answered)));
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
        if let Some((answering, mut answered)) = self.answering.take() {
            drop(answering);
            let _ = timeout(FLUSH, answered.recv()).await;
        }
    }
}

// === impl Silent ===

impl Silent {
    /// Closes the oldest connection if there are too many.
    fn admit(&self, connection: AbortHandle) {
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|other| !other.is_finished());
        if connections.len() >= MAX_SILENT
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        connections.push_back(connection);
    }

    fn remove(&self, connection: tokio::task::Id) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other.id() != connection);
    }
}

/// Whether this machine lacks the address.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Detached: it outlives the listener until its answer is taken.
                let connection = Arc::clone(&shared);
                shared.silent.admit(tokio::spawn(async move { serve(stream, &connection).await }).abort_handle());
                // Before the next accept, so that a request that has arrived is read first.
                tokio::task::yield_now().await;
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
        shared.silent.remove(tokio::task::id());
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
    owes: &OnceLock<Option<mpsc::Sender<Infallible>>>,
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
    owes.get_or_init(|| shared.answering.upgrade());
    // A page that is loaded again gets the same answer.
    let _ = shared.arrivals.try_send(callback);
    let mut result = shared.result.clone();
    let page = result.wait_for(Option::is_some).await.ok().and_then(|page| *page);
    page.unwrap_or(Page::NotStored).response()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::yield_now;
    use tokio::time::Instant;

    use super::*;
    use crate::config::{Config, GrantConfig, Sources};
    use crate::token::login::Redirect;

    async fn callbacks(redirect_uri: &str) -> (Callbacks, Arc<Authorization>) {
        let variables = [
            ("BEARER_PROXY_OAUTH__CLIENT_ID", "7"),
            ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "s"),
            ("BEARER_PROXY_OAUTH__REDIRECT_URI", redirect_uri),
        ];
        let config = Config::load(&Sources::new(None, variables)).unwrap().config;
        let GrantConfig::RefreshToken { endpoint, .. } = &config.oauth.grant else { panic!("another grant") };
        let redirect = Redirect::new(config.oauth.login.redirect_uri.as_ref().unwrap(), None);
        let callbacks = Callbacks::bind(redirect.loopback().unwrap()).await.unwrap();
        let authorization = Authorization::new(endpoint, &config.oauth.login, callbacks.redirect_uri()).unwrap();
        (callbacks, Arc::new(authorization))
    }

    #[tokio::test]
    async fn a_new_connection_replaces_the_oldest_silent_one() {
        let silent = Silent::default();
        let mut connections: VecDeque<_> = (0..=MAX_SILENT).map(|_| tokio::spawn(pending::<()>())).collect();
        connections.iter().for_each(|connection| silent.admit(connection.abort_handle()));
        yield_now().await;
        assert!(connections.pop_front().unwrap().is_finished());

        // One that has sent its request is kept, and makes room.
        let asking = connections.pop_front().unwrap();
        silent.remove(asking.id());
        silent.admit(tokio::spawn(pending::<()>()).abort_handle());
        silent.admit(tokio::spawn(pending::<()>()).abort_handle());
        yield_now().await;
        assert!(connections.pop_front().unwrap().is_finished());
        assert!(!asking.is_finished() && connections.iter().all(|connection| !connection.is_finished()));
    }

    /// The clock of the test moves only if something waits for it.
    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_does_not_delay_the_end() {
        let (mut callbacks, authorization) = callbacks("http://127.0.0.1/callback").await;
        callbacks.serve(&authorization);
        let stream = TcpStream::connect(callbacks.address()).await.unwrap();
        // It is accepted.
        for _ in 0..100 {
            yield_now().await;
        }
        let begun = Instant::now();
        callbacks.finish(true).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(stream);
    }

    #[tokio::test]
    async fn both_families_of_localhost_have_the_same_port() {
        let (callbacks, _) = callbacks("http://localhost:0/callback").await;
        let ports: Vec<_> = callbacks.listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port != 0 && *port == callbacks.address().port()), "{ports:?}");
    }
}
