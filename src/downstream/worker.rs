//! A worker: one thread with its own runtime.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender};

use super::accept::Acceptor;
use super::command::Command;
use super::connection;
use super::context::ConnectionContext;
use super::event_batching::EventBatching;
use super::service::Service;
use super::settings::Settings;
use crate::fault;
use crate::supervise::{Died, Restarts, Task, supervise_local};

/// A worker, for the server.
pub(super) struct WorkerHandle {
    pub(super) commands: UnboundedSender<Command>,
    pub(super) thread: JoinHandle<()>,
}

/// What the thread of a worker needs to start.
pub(super) struct Thread<F> {
    pub(super) make: Arc<F>,
    /// `runtime.event_batching`
    pub(super) event_batching: bool,
    pub(super) settings: Arc<Settings>,
    pub(super) commands: UnboundedReceiver<Command>,
    /// The accept loop, in one worker.
    pub(super) accept: Option<Acceptor>,
    /// Gets one message when the service is made.
    pub(super) started: SyncSender<io::Result<()>>,
    /// Gets a message when the thread or the accept loop has died for good.
    pub(super) died: UnboundedSender<Task>,
    pub(super) restarts: Restarts,
    /// Held until the end of the thread.
    pub(super) alive: Sender<Infallible>,
}

/// Reports a panic of the thread: its connections and its runtime are lost.
struct LastWord(UnboundedSender<Task>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Task::Worker);
        }
    }
}

// === impl Thread ===

impl<F> Thread<F> {
    pub(super) fn run<S: Service>(self)
    where
        F: Fn() -> S,
    {
        let Self { make, event_batching: batches, settings, mut commands, accept, started, died, restarts, alive } =
            self;
        let _last_word = LastWord(died.clone());
        let event_batching = Arc::default();
        let runtime = match runtime(batches.then_some(&event_batching)) {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        runtime.block_on(async {
            let worker =
                Rc::new(ConnectionContext { service: make(), settings, draining: Rc::default(), event_batching });
            let serve = {
                let worker = worker.clone();
                move |stream, permit| drop(tokio::task::spawn_local(connection::serve(stream, permit, worker.clone())))
            };
            match accept.map(|accept| accept.register(serve.clone())).transpose() {
                Ok(None) => {}
                Ok(Some(accept)) => {
                    let accept = Rc::new(Mutex::new(accept));
                    drop(tokio::task::spawn_local(async move {
                        let start = || {
                            let accept = Rc::clone(&accept);
                            async move { accept.lock().await.run().await }
                        };
                        if let Err(Died(task)) = supervise_local(Task::Accept, &restarts, start).await {
                            let _ = died.send(task);
                        }
                    }));
                }
                Err(error) => return drop(started.send(Err(error))),
            }
            let _ = started.send(Ok(()));
            while let Some(command) = commands.recv().await {
                fault::task("worker");
                match command {
                    Command::Serve(stream, permit) => match stream.attach() {
                        Ok(stream) => serve(stream, permit),
                        Err(error) => tracing::debug!(%error, "a connection was lost"),
                    },
                    Command::Drain => worker.draining.begin(),
                }
            }
        });
        // Drops the requests in flight, and does not wait for blocking tasks, such as a DNS lookup.
        runtime.shutdown_background();
        drop(alive);
    }
}

fn runtime(event_batching: Option<&Arc<EventBatching>>) -> io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    if let Some(event_batching) = event_batching {
        event_batching.install(&mut builder);
    }
    builder.enable_io().enable_time().build_local(LocalOptions::default())
}
