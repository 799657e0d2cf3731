//! The server as its owner sees it: bind, start, change, drain.

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::accept;
use super::connections::{Balancer, Connections};
use super::drain::Drained;
use super::limits::Limits;
use super::listener::{ListenError, Listener};
use super::service::{Service, WorkerContext};
use super::settings::Settings;
use super::tls::{Tls, TlsError};
use super::worker::{self, WorkerHandle};
use crate::config::{Config, ListenAddress};
use crate::supervise::{Restarts, Task};

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

// === impl Server ===

impl Server {
    /// Binds every address of `listen` and loads the certificates. Clients can connect from here on; they wait in the accept
    /// queue until [`Server::start`].
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        // Certificates first: a wrong one should not have cost an old instance its unix socket.
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        Self::bind_with(&config.listen, config.listen_mode, tls, Limits::new(config))
    }

    pub(super) fn bind_with(
        addresses: &[ListenAddress],
        mode: u32,
        tls: Option<Tls>,
        limits: Limits,
    ) -> Result<Self, BindError> {
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
        let balancer = Balancer::new(connections.clone(), workers);
        let (alive, ended) = mpsc::channel(1);
        let (die, died) = mpsc::unbounded_channel();
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..workers.get()).map(|_| mpsc::unbounded_channel()).unzip();
        let (acceptor, close) = oneshot::channel();
        let mut accept = Some(accept::Acceptor::new(listeners, settings.clone(), balancer, senders.clone(), close));

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

    /// Ends the server: closes the listeners, lets what is in flight finish for as long as `grace`, and cuts the rest. All
    /// threads have ended when this returns.
    ///
    /// HTTP/1 responses that are still to come carry `Connection: close`; HTTP/2 connections get a GOAWAY. An idle HTTP/1
    /// connection is closed at once, unless it was answered within the last half second: its next request may be on its way.
    pub async fn drain(self, grace: Duration) -> Drained {
        self.drain_or_cut(grace, std::future::pending()).await
    }

    /// Drains, and cuts the requests in flight as soon as `cut` is ready.
    pub async fn drain_or_cut(self, grace: Duration, cut: impl Future<Output = ()>) -> Drained {
        let Self { connections, acceptor, workers, mut ended, .. } = self;
        let (close, closed) = oneshot::channel();
        if acceptor.send(close).is_ok() {
            // From here on the number of connections only falls.
            let _ = closed.await;
        }
        let aborted = tokio::select! {
            () = connections.at_most(|| 0) => 0,
            () = tokio::time::sleep(grace) => connections.count(),
            () = cut => connections.count(),
        };
        let (commands, threads): (Vec<_>, Vec<_>) =
            workers.into_iter().map(|worker| (worker.commands, worker.thread)).unzip();
        drop(commands);
        ended.recv().await;
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        Drained { aborted }
    }
}
