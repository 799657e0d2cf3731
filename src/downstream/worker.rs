//! A worker: one thread, with a runtime of its own.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender};

use super::accept::Acceptor;
use super::connection;
use super::drain::Draining;
use super::load::Place;
use super::moderation::Moderation;
use super::stream::Detached;
use super::{Service, Settings, WorkerContext};

/// What the connections of one worker share.
pub(super) struct Worker<S> {
    pub(super) service: S,
    pub(super) settings: Arc<Settings>,
    pub(super) draining: Rc<Draining>,
    pub(super) moderation: Arc<Moderation>,
}

/// What a worker is told. It ends when nobody is left to tell it anything.
pub(super) enum Command {
    Serve(Detached, Place),
    Drain,
}

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
    /// Held until the thread's end.
    pub(super) alive: Sender<Infallible>,
}

// === impl Thread ===

impl<F> Thread<F> {
    pub(super) fn run<S: Service>(self)
    where
        F: Fn(&WorkerContext) -> S,
    {
        let Self { context, make, settings, mut commands, accept, started, alive } = self;
        let moderation = Arc::default();
        let runtime = match runtime(&moderation) {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        runtime.block_on(async {
            let worker = Rc::new(Worker { service: make(&context), settings, draining: Rc::default(), moderation });
            let serve = {
                let worker = worker.clone();
                move |stream, place| drop(tokio::task::spawn_local(connection::serve(stream, place, worker.clone())))
            };
            match accept.map(|accept| accept.register(serve.clone())).transpose() {
                Ok(None) => {}
                Ok(Some(accept)) => drop(tokio::task::spawn_local(accept)),
                Err(error) => return drop(started.send(Err(error))),
            }
            let _ = started.send(Ok(()));
            while let Some(command) = commands.recv().await {
                match command {
                    Command::Serve(stream, place) => match stream.attach() {
                        Ok(stream) => serve(stream, place),
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

fn runtime(moderation: &Arc<Moderation>) -> io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    moderation.install(&mut builder);
    builder.enable_io().enable_time().build_local(LocalOptions::default())
}
