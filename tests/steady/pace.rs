//! Requests at a steady rate (an open loop). Each is timed from the moment when it was due, so a pause counts for every request
//! that it delays.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use testkit::connection::{Connection, Protocol, connect, get};

/// The longest time for a response. A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests in flight, until told to stop.
pub struct Pace {
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<Vec<Timed>>,
    opened: Arc<AtomicUsize>,
}

/// When a request was due, and how long it took. `None`: it failed.
pub struct Timed {
    pub due: Instant,
    pub took: Option<Duration>,
}

/// Connections with nothing in flight.
#[derive(Clone)]
struct Idle {
    address: SocketAddr,
    clients: Arc<Mutex<Vec<(Protocol, Connection)>>>,
    opened: Arc<AtomicUsize>,
}

impl Pace {
    pub fn start(address: SocketAddr, path: &'static str, per_second: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let opened = Arc::new(AtomicUsize::new(0));
        let idle = Idle { address, clients: Arc::default(), opened: Arc::clone(&opened) };
        // A separate thread, so that other work of the test does not count as the proxy's latency.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(ask(idle, path, per_second, stopped))
        });
        Self { stop, thread, opened }
    }

    /// The number of its connections. It closes none.
    pub fn connections(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Waits for the last response and closes the connections.
    pub async fn stop(self) -> Vec<Timed> {
        let _ = self.stop.send(true);
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap()
    }
}

async fn ask(idle: Idle, path: &'static str, per_second: u32, mut stopped: watch::Receiver<bool>) -> Vec<Timed> {
    let mut all = JoinSet::new();
    let start = Instant::now();
    for number in 0.. {
        let due = start + Duration::from_secs(1) * number / per_second;
        tokio::select! {
            () = sleep_until(due) => {}
            _ = stopped.changed() => break,
        }
        // Every fourth request uses HTTP/2.
        let protocol = if number % 4 == 0 { Protocol::Http2 } else { Protocol::Http1 };
        let idle = idle.clone();
        all.spawn(async move {
            let answered = timeout(PATIENCE, idle.ask(protocol, path)).await.unwrap_or(false);
            Timed { due, took: answered.then(|| due.elapsed()) }
        });
    }
    all.join_all().await
}

impl Idle {
    async fn ask(&self, protocol: Protocol, path: &str) -> bool {
        let taken = {
            let mut clients = self.clients.lock().unwrap();
            clients.iter().position(|(speaks, _)| *speaks == protocol).map(|index| clients.swap_remove(index))
        };
        let mut client = match taken {
            Some((_, client)) => client,
            None => {
                self.opened.fetch_add(1, Ordering::Relaxed);
                Connection::over(connect(self.address, None).await, protocol, false).await
            }
        };
        let Ok(response) = client.send(get(path)).await else { return false };
        let whole = testkit::connection::read(response).await;
        self.clients.lock().unwrap().push((protocol, client));
        whole.status == 200
    }
}

/// A percentile.
pub fn quantile(timed: &[Timed], percent: usize) -> Duration {
    let mut took: Vec<Duration> = timed.iter().filter_map(|timed| timed.took).collect();
    took.sort();
    let rank = (took.len() * percent).div_ceil(100);
    took[rank.clamp(1, took.len()) - 1]
}
