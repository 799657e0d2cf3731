//! DOWNSTREAM: listeners, workers, one connection each, and the drain.
//!
//! ```text
//! listener ─ accept (one loop, in worker 0) ─ the worker with the fewest connections ─ connection ─ service
//! ```
//!
//! Each worker is a thread with a runtime of its own; a connection stays in the worker it was given to, so nothing on the way
//! of a request is shared between threads. One accept loop deals connections out: with `SO_REUSEPORT` the kernel would deal by
//! hash, and the four long connections of a typical client could all land on one core.
//!
//! A connection costs one timer, whatever its number of requests: see `lifetime`.

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use arc_swap::ArcSwap;
use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::{Notify, mpsc, oneshot};

mod accept;
mod admission;
mod connection;
mod drain;
mod flight;
mod heads;
mod http2;
mod lifetime;
mod limits;
pub mod listener;
mod load;
mod moderation;
mod protocol;
mod socket;
mod stage;
mod stream;
pub mod tls;
mod transport;
mod worker;

pub use drain::Drained;
pub use heads::Ambiguity;
pub use limits::Limits;
pub use load::Connections;
pub use stream::Stream;

use crate::config::{Config, ListenAddress};
use crate::supervise::{Restarts, Task};
use listener::{ListenError, Listener};
use tls::{Tls, TlsError};
use worker::WorkerHandle;

/// Bound to its addresses, and not yet serving.
pub struct Server {
    listeners: Vec<Listener>,
    settings: Arc<Settings>,
    connections: Connections,
    restarts: Restarts,
}

/// Serving, until [`Running::drain`]. Dropped, it stops at once.
pub struct Running {
    settings: Arc<Settings>,
    connections: Connections,
    acceptor: oneshot::Sender<accept::Close>,
    workers: Vec<WorkerHandle>,
    /// A worker's thread, or the accept loop, has died for good.
    died: mpsc::UnboundedReceiver<Task>,
    /// Ends when the last worker's thread does.
    ended: mpsc::Receiver<Infallible>,
}

/// Which worker a service is made for.
#[derive(Clone, Copy, Debug)]
pub struct WorkerContext {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub workers: usize,
}

/// An extension of a response that refuses a client key: a connection that gets only these is ended.
#[derive(Clone, Copy, Debug)]
pub struct KeyRefused;

/// An extension of a response that is the proxy's own: a connection on which many of these stay unread is ended.
#[derive(Clone, Copy, Debug)]
pub struct OwnResponse;

/// What answers requests: a short name for its bounds.
///
/// It is cloned once for each connection, and stays in its worker. `poll_ready` is asked before each call; a service that is
/// always ready costs nothing there.
pub trait Service:
    tower::Service<Request<Incoming>, Response = Response<Self::Body>, Error = Infallible> + Clone + 'static
{
    type Body: Body<Data: Buf, Error: Into<BoxError>> + 'static;
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A worker's thread or runtime could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker {index}: {error}; allow this process more threads and file descriptors")]
pub struct StartError {
    index: usize,
    error: io::Error,
}

/// What each new connection reads, and a reload replaces.
struct Settings {
    limits: ArcSwap<Limits>,
    tls: Option<ArcSwap<Tls>>,
    /// Wakes connections that may have been accepted by what is no longer in `tls`.
    tls_changed: Arc<Notify>,
}

/// One for each core that this process may use: honours affinity and a cgroup's quota.
pub fn default_workers() -> NonZeroUsize {
    crate::descriptors::workers()
}

// === impl Server ===

impl Server {
    /// Binds every address of `listen` and loads the certificates. Clients can connect from here on; they wait in the accept
    /// queue until [`Server::start`].
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        // Certificates first: a wrong one should not have cost an old instance its unix socket.
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        Self::bind_with(&config.listen, config.listen_mode, tls, Limits::new(config))
    }

    fn bind_with(addresses: &[ListenAddress], mode: u32, tls: Option<Tls>, limits: Limits) -> Result<Self, BindError> {
        let listeners = addresses.iter().map(|address| Listener::bind(address, mode)).collect::<Result<_, _>>()?;
        let settings = Settings {
            limits: ArcSwap::from_pointee(limits),
            tls: tls.map(ArcSwap::from_pointee),
            tls_changed: Arc::default(),
        };
        let (settings, connections, restarts) = (Arc::new(settings), Connections::default(), Restarts::default());
        Ok(Self { listeners, settings, connections, restarts })
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn local_addresses(&self) -> Vec<ListenAddress> {
        self.listeners.iter().map(|listener| listener.address().clone()).collect()
    }

    /// Where restarts of its tasks are counted.
    pub fn counted_by(self, restarts: Restarts) -> Self {
        Self { restarts, ..self }
    }

    /// How many connections there are, now and later.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Starts the workers and accepts. `make` is called once in each worker's thread, inside its runtime, and all have
    /// returned when this does.
    pub fn start<S: Service>(
        self,
        workers: NonZeroUsize,
        make: impl Fn(&WorkerContext) -> S + Send + Sync + 'static,
    ) -> Result<Running, StartError> {
        let Self { listeners, settings, connections, restarts } = self;
        let make = Arc::new(make);
        let load = load::Load::new(connections.clone(), workers);
        let (alive, ended) = mpsc::channel(1);
        let (die, died) = mpsc::unbounded_channel();
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..workers.get()).map(|_| mpsc::unbounded_channel()).unzip();
        let (acceptor, close) = oneshot::channel();
        let mut accept = Some(accept::Acceptor::new(listeners, settings.clone(), load, senders.clone(), close));

        let mut threads = Vec::with_capacity(workers.get());
        for (index, (sender, commands)) in senders.into_iter().zip(receivers.drain(..)).enumerate() {
            let context = WorkerContext { index, workers: workers.get() };
            let (started, ready) = sync_channel(1);
            let thread = worker::Thread {
                context,
                make: make.clone(),
                settings: settings.clone(),
                commands,
                accept: accept.take(),
                started,
                died: die.clone(),
                restarts: restarts.clone(),
                alive: alive.clone(),
            };
            let fail = |error| StartError { index, error };
            let handle = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || thread.run())
                .map_err(fail)?;
            match ready.recv() {
                Ok(result) => result.map_err(fail)?,
                Err(_) => return Err(fail(io::Error::other("its service could not be made"))),
            }
            threads.push(WorkerHandle { commands: sender, thread: handle });
        }
        Ok(Running { settings, connections, acceptor, workers: threads, died, ended })
    }
}

// === impl Running ===

impl Running {
    /// From now on for new connections; those that are there keep the limits that they began with.
    pub fn set_limits(&self, limits: Limits) {
        self.settings.limits.store(Arc::new(limits));
        // More connections may be allowed now.
        self.connections.wake();
    }

    /// From now on for new connections. An open connection takes no new request if its client certificate is no longer accepted.
    /// Without effect on a server that was bound without TLS: that needs a restart.
    pub fn set_tls(&self, tls: Tls) {
        if let Some(current) = &self.settings.tls {
            current.store(Arc::new(tls));
            self.settings.tls_changed.notify_waiters();
        }
    }

    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Returns when a worker's thread, or the accept loop, has died and can't be started again.
    pub async fn died(&mut self) -> Task {
        match self.died.recv().await {
            Some(task) => task,
            None => std::future::pending().await,
        }
    }
}

// === impl Service ===

impl<S, B> Service for S
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: Body<Data: Buf, Error: Into<BoxError>> + 'static,
{
    type Body = B;
}

#[cfg(test)]
mod tests;
