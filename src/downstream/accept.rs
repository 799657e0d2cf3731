//! The accept loop: one for all listeners, in the runtime of worker 0.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::command::Command;
use super::connections::{Balancer, ConnectionPermit};
use super::listener::{Accepting, Listener};
use super::settings::Settings;
use super::stream::Stream;
use crate::descriptors;
use crate::fault;

/// Pause between two attempts while the system has no file descriptor or memory for another connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The worker that the accept loop runs in.
pub(super) const HERE: usize = 0;

/// Assigns connections to the workers.
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    settings: Arc<Settings>,
    balancer: Balancer,
    workers: Vec<UnboundedSender<Command>>,
    close: oneshot::Receiver<Close>,
}

/// Tells the accept loop to close the listeners and to let the workers drain. It then sends the reply.
pub(super) type Close = oneshot::Sender<()>;

/// The acceptor in the runtime of its worker. It outlives the task that runs it.
pub(super) struct AcceptLoop<F> {
    listening: Listening,
    settings: Arc<Settings>,
    balancer: Balancer,
    workers: Vec<UnboundedSender<Command>>,
    close: oneshot::Receiver<Close>,
    /// Serves a connection in this worker.
    here: F,
}

/// The listeners in a runtime.
struct Listening {
    listeners: Vec<Accepting>,
    /// The listener to poll first. It rotates, so that a busy listener does not starve the others.
    next: usize,
}

// === impl Acceptor ===

impl Acceptor {
    pub(super) fn new(
        listeners: Vec<Listener>,
        settings: Arc<Settings>,
        balancer: Balancer,
        workers: Vec<UnboundedSender<Command>>,
        close: oneshot::Receiver<Close>,
    ) -> Self {
        Self { listeners, settings, balancer, workers, close }
    }

    /// Registers the listeners with the current runtime. `here` serves a connection in this worker.
    pub(super) fn register<F: Fn(Stream, ConnectionPermit)>(self, here: F) -> io::Result<AcceptLoop<F>> {
        let Self { listeners, settings, balancer, workers, close } = self;
        let listeners = listeners.into_iter().map(Listener::register).collect::<Result<_, _>>()?;
        let listening = Listening { listeners, next: 0 };
        Ok(AcceptLoop { listening, settings, balancer, workers, close, here })
    }
}

// === impl AcceptLoop ===

impl<F: Fn(Stream, ConnectionPermit)> AcceptLoop<F> {
    /// Accepts until a [`Close`] arrives. If its task dies, the next task continues with the same loop.
    pub(super) async fn run(&mut self) {
        let connections = self.balancer.connections().clone();
        let closed = loop {
            let (settings, listening) = (&self.settings, &mut self.listening);
            let accepted = async {
                // Wait for a permit first: a connection over the limit waits in the kernel's queue, not in this process.
                let room = || settings.limits.load().max_connections.saturating_sub(1);
                connections.at_most(room).await;
                listening.accept().await
            };
            tokio::select! {
                biased;
                closed = &mut self.close => break closed,
                stream = accepted => self.deal(stream),
            }
            fault::task("accept");
        };
        // The server was dropped: it ends without a drain.
        let Ok(closed) = closed else { return };
        // A client in the queue considers itself connected and may have sent a request. Closing the listener now would reset it.
        for listener in std::mem::take(&mut self.listening.listeners) {
            let Ok(listener) = listener.deregister() else { continue };
            while connections.count() < self.settings.limits.load().max_connections {
                match listener.accept_waiting() {
                    Ok(stream) => self.deal(stream),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(_) => break,
                }
            }
        }
        // The command follows the last connection in the queue of each worker.
        for worker in &self.workers {
            let _ = worker.send(Command::Drain);
        }
        let _ = closed.send(());
    }

    fn deal(&mut self, stream: Stream) {
        match self.balancer.assign() {
            (HERE, permit) => (self.here)(stream, permit),
            (worker, permit) => match stream.detach() {
                // If the worker has panicked, its channel is closed. The connection is then dropped, which closes it.
                Ok(stream) => drop(self.workers[worker].send(Command::Serve(stream, permit))),
                Err(error) => tracing::debug!(%error, "a connection was lost"),
            },
        }
    }
}

// === impl Listening ===

impl Listening {
    /// The next connection of any listener. After an error it tries again.
    async fn accept(&mut self) -> Stream {
        loop {
            match std::future::poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(stream) => return stream,
                // The client left while it was in the queue.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    descriptors::warn_exhausted(&error, "cannot accept connections");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let count = self.listeners.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            if let Poll::Ready(result) = self.listeners[index].poll_accept(cx) {
                self.next = (index + 1) % count;
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }
}

/// The error concerns one connection, not the listener (`accept(2)`, "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::PermissionDenied
    )
}
