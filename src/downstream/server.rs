//! The server: bind, start, change, drain.

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
use super::service::Service;
use super::settings::Settings;
use super::tls::{Tls, TlsError};
use super::worker::{self, WorkerHandle};
use crate::config::{Config, ListenAddress};
use crate::supervise::{Restarts, Task};

/// A server that is bound to its addresses and does not serve yet.
pub struct Server {
    listeners: Vec<Listener>,
    settings: Arc<Settings>,
    connections: Connections,
    restarts: Restarts,
    pub(super) event_batching: bool,
}

/// A server that serves until [`Running::drain`]. If it is dropped, it stops at once.
pub struct Running {
    settings: Arc<Settings>,
    connections: Connections,
    acceptor: oneshot::Sender<accept::Close>,
    workers: Vec<WorkerHandle>,
    /// The thread of a worker, or the accept loop, has died for good.
    died: mpsc::UnboundedReceiver<Task>,
    /// Ends with the thread of the last worker.
    ended: mpsc::Receiver<Infallible>,
}

/// Why the server could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The thread or the runtime of a worker could not be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker {index}: {error}; allow this process more threads and file descriptors")]
pub struct StartError {
    index: usize,
    error: io::Error,
}

// === impl Server ===

impl Server {
    /// Binds every address of `listen` and loads the certificates. From now on, clients can connect. They wait in the accept queue until
    /// [`Server::start`].
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        // Certificates first: a wrong one must not cost a running instance its unix socket.
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let server = Self::bind_with(&config.listen, config.listen_mode, tls, Limits::new(config))?;
        Ok(Self { event_batching: config.runtime.event_batching, ..server })
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
        Ok(Self { listeners, settings, connections, restarts, event_batching: true })
    }

    /// The addresses, with the port that the system chose for port 0.
    pub fn local_addresses(&self) -> Vec<ListenAddress> {
        self.listeners.iter().map(|listener| listener.address().clone()).collect()
    }

    /// Counts restarts of tasks here.
    pub fn counted_by(self, restarts: Restarts) -> Self {
        Self { restarts, ..self }
    }

    /// The number of connections, now and later.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Starts the workers and accepts. `make` is called once in the thread of each worker, inside its runtime. All calls have returned
    /// when this function returns.
    pub fn start<S: Service>(
        self,
        workers: NonZeroUsize,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Result<Running, StartError> {
        let Self { listeners, settings, connections, restarts, event_batching } = self;
        let make = Arc::new(make);
        let balancer = Balancer::new(connections.clone(), workers);
        let (alive, ended) = mpsc::channel(1);
        let (die, died) = mpsc::unbounded_channel();
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..workers.get()).map(|_| mpsc::unbounded_channel()).unzip();
        let (acceptor, close) = oneshot::channel();
        let mut accept = Some(accept::Acceptor::new(listeners, settings.clone(), balancer, senders.clone(), close));

        let mut threads = Vec::with_capacity(workers.get());
        for (index, (sender, commands)) in senders.into_iter().zip(receivers.drain(..)).enumerate() {
            let (started, ready) = sync_channel(1);
            let thread = worker::Thread {
                make: make.clone(),
                event_batching,
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
    /// Changes the limits of new connections. Open connections keep the limits with which they began.
    pub fn set_limits(&self, limits: Limits) {
        self.settings.limits.store(Arc::new(limits));
        // More connections may now be allowed.
        self.connections.wake();
    }

    /// Changes the certificates for new connections. An open connection takes no new request if its client certificate is no longer
    /// accepted. A server that was bound without TLS ignores this call: it needs a restart.
    pub fn set_tls(&self, tls: Tls) {
        if let Some(current) = &self.settings.tls {
            current.store(Arc::new(tls));
            self.settings.tls_changed.notify_waiters();
        }
    }

    #[cfg(test)]
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Returns when the thread of a worker, or the accept loop, has died and cannot be restarted.
    pub async fn died(&mut self) -> Task {
        match self.died.recv().await {
            Some(task) => task,
            None => std::future::pending().await,
        }
    }

    /// Ends the server: closes the listeners, lets requests in flight finish within `grace`, and cuts the rest. All threads have ended
    /// when this function returns.
    ///
    /// Later HTTP/1 responses carry `Connection: close`. HTTP/2 connections get a GOAWAY. An idle HTTP/1 connection is closed at once,
    /// unless it was answered within the last half second: its next request may be on its way.
    #[cfg(test)]
    pub async fn drain(self, grace: Duration) -> Drained {
        self.drain_or_cut(grace, std::future::pending()).await
    }

    /// Drains, and cuts the requests in flight when `cut` is ready.
    pub async fn drain_or_cut(self, grace: Duration, cut: impl Future<Output = ()>) -> Drained {
        let Self { connections, acceptor, workers, mut ended, .. } = self;
        let (close, closed) = oneshot::channel();
        if acceptor.send(close).is_ok() {
            // From now on, the number of connections only falls.
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
