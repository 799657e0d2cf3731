//! The accept loop: one for all listeners, in worker 0's runtime.

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

/// Between attempts while the system has no file descriptor or memory left for another connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The worker that the accept loop runs in.
pub(super) const HERE: usize = 0;

/// Deals connections out to the workers.
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    settings: Arc<Settings>,
    balancer: Balancer,
    workers: Vec<UnboundedSender<Command>>,
    close: oneshot::Receiver<Close>,
}

/// Asks the accept loop to end: to close the listeners, tell the workers to drain, and then answer.
pub(super) type Close = oneshot::Sender<()>;

/// The same in its worker's runtime. It outlives the task that runs it.
pub(super) struct AcceptLoop<F> {
    listening: Listening,
    settings: Arc<Settings>,
    balancer: Balancer,
    workers: Vec<UnboundedSender<Command>>,
    close: oneshot::Receiver<Close>,
    /// Serves a connection in this worker.
    here: F,
}

/// The listeners, as part of a runtime.
struct Listening {
    listeners: Vec<Accepting>,
    /// The one to look at first, so that a busy one does not starve the others.
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

    /// Registers the listeners with the runtime that this is called in. `here` serves a connection in this worker.
    pub(super) fn register<F: Fn(Stream, ConnectionPermit)>(self, here: F) -> io::Result<AcceptLoop<F>> {
        let Self { listeners, settings, balancer, workers, close } = self;
        let listeners = listeners.into_iter().map(Listener::register).collect::<Result<_, _>>()?;
        let listening = Listening { listeners, next: 0 };
        Ok(AcceptLoop { listening, settings, balancer, workers, close, here })
    }
}

// === impl AcceptLoop ===

impl<F: Fn(Stream, ConnectionPermit)> AcceptLoop<F> {
    /// Accepts until told to close. Where its task dies, another one goes on with it.
    pub(super) async fn run(&mut self) {
        let connections = self.balancer.connections().clone();
        let closed = loop {
            let (settings, listening) = (&self.settings, &mut self.listening);
            let accepted = async {
                // The place first: a connection that is over the limit waits in the kernel's queue, not in this process.
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
        // Dropped without a word, the server ends without a drain.
        let Ok(closed) = closed else { return };
        // Who waits in the queue has connected as far as it knows, and may have sent a request: to close now would reset it.
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
        // Behind the last connection in each worker's queue.
        for worker in &self.workers {
            let _ = worker.send(Command::Drain);
        }
        let _ = closed.send(());
    }

    fn deal(&mut self, stream: Stream) {
        match self.balancer.assign() {
            (HERE, permit) => (self.here)(stream, permit),
            (worker, permit) => match stream.detach() {
                // Nobody receives it if the worker has panicked; then it is dropped, and so closed.
                Ok(stream) => drop(self.workers[worker].send(Command::Serve(stream, permit))),
                Err(error) => tracing::debug!(%error, "a connection was lost"),
            },
        }
    }
}

// === impl Listening ===

impl Listening {
    /// The next connection of any listener. Errors are waited out.
    async fn accept(&mut self) -> Stream {
        loop {
            match std::future::poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(stream) => return stream,
                // The client went away while it was in the queue.
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

/// Says nothing of the connections behind it (`accept(2)`, "Error handling").
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
