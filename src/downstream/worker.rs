//! A worker: one thread, with a runtime of its own.

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
use super::service::{Service, WorkerContext};
use super::settings::Settings;
use crate::fault;
use crate::supervise::{Died, Restarts, Task, supervise_local};

/// A worker from outside.
pub(super) struct WorkerHandle {
    pub(super) commands: UnboundedSender<Command>,
    pub(super) thread: JoinHandle<()>,
}

/// What a worker's thread is started with.
pub(super) struct Thread<F> {
    pub(super) context: WorkerContext,
    pub(super) make: Arc<F>,
    pub(super) settings: Arc<Settings>,
    pub(super) commands: UnboundedReceiver<Command>,
    /// In one worker, the accept loop.
    pub(super) accept: Option<Acceptor>,
    /// Told once, when the service is made.
    pub(super) started: SyncSender<io::Result<()>>,
    /// Told when the thread, or the accept loop, has died for good.
    pub(super) died: UnboundedSender<Task>,
    pub(super) restarts: Restarts,
    /// Held until the thread's end.
    pub(super) alive: Sender<Infallible>,
}

/// Tells of a thread that panics: its connections and its runtime are gone with it.
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
        F: Fn(&WorkerContext) -> S,
    {
        let Self { context, make, settings, mut commands, accept, started, died, restarts, alive } = self;
        let _last_word = LastWord(died.clone());
        let event_batching = Arc::default();
        let runtime = match runtime(&event_batching) {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        runtime.block_on(async {
            let worker = Rc::new(ConnectionContext {
                service: make(&context),
                settings,
                draining: Rc::default(),
                event_batching,
            });
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
        // Drops what is still in flight, and does not wait for blocking tasks: a name that is being resolved, for one.
        runtime.shutdown_background();
        drop(alive);
    }
}

fn runtime(event_batching: &Arc<EventBatching>) -> io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    event_batching.install(&mut builder);
    builder.enable_io().enable_time().build_local(LocalOptions::default())
}
