//! The probes listener and the admin listener answer a probe within a second, whatever else occupies their connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use simulator::{Options, Simulator};
use tokio::task::spawn_blocking;

use testkit::{PROMPT, Proxy, probe};

/// More than the listener serves at once.
const HELD: usize = 160;
/// A bound for a test that fails, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Held {
    Silent,
    /// A head that does not end.
    Incomplete,
    /// Answered once, and kept open.
    Idle,
    /// Requests whose responses are not read.
    Unread,
}

const KINDS: [Held; 4] = [Held::Silent, Held::Incomplete, Held::Idle, Held::Unread];

#[tokio::test]
async fn probes_are_answered_beside_held_connections_of_every_kind() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy =
        Proxy::before(&simulator).set("PROBES__LISTEN", "127.0.0.1:0").set("ADMIN__KEY", "the-key").start().await;
    proxy.ready().await;
    for held in KINDS {
        // Without its key, the admin listener answers 401.
        for (listener, expected) in [(proxy.probes_address(), 200), (proxy.admin_address(), 401)] {
            let hold = move || (0..HELD).map(|_| held.connect(listener).unwrap()).collect::<Vec<_>>();
            let connections = spawn_blocking(hold).await.unwrap();
            for path in ["/livez", "/readyz", "/metrics", "/livez"] {
                let status = answered(&proxy, listener, path, "").await;
                assert_eq!(status, Some(expected), "{path} beside {held:?}");
            }
            let with_key = answered(&proxy, proxy.admin_address(), "/livez", "Authorization: Bearer the-key\r\n").await;
            assert_eq!(with_key, Some(200), "/livez of the admin listener, beside {held:?}");
            drop(connections);
        }
    }
    assert_eq!(proxy.refresh().await.status, 200);
    proxy.stop().await;
}

/// Clients that reconnect all the time do not keep probes out either.
#[tokio::test]
async fn probes_are_answered_beside_clients_that_come_again() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).set("PROBES__LISTEN", "127.0.0.1:0").start().await;
    proxy.ready().await;
    let probes = proxy.probes_address();
    let over = Arc::new(AtomicBool::new(false));
    let _end = SetOnDrop(over.clone());
    for held in KINDS {
        std::thread::spawn(come_again(held, probes, over.clone()));
    }
    for _ in 0..10 {
        assert_eq!(answered(&proxy, probes, "/livez", "").await, Some(200));
    }
    proxy.stop().await;
}

/// Whoever opens event streams of the page keeps out neither probes nor, for longer than they are held, the page.
#[tokio::test]
async fn probes_are_answered_beside_event_streams() {
    const STREAMS: usize = 200;
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).start().await;
    proxy.ready().await;
    let admin = proxy.admin_address();
    let open = move || {
        let mut stream = TcpStream::connect_timeout(&admin, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n").unwrap();
        stream
    };
    let mut streams = spawn_blocking(move || (0..STREAMS).map(|_| open()).collect::<Vec<_>>()).await.unwrap();
    for path in ["/livez", "/readyz", "/metrics", "/livez"] {
        assert_eq!(answered(&proxy, admin, path, "").await, Some(200), "{path}");
    }
    // A stream that is closed for another connection leaves its place.
    let status = |stream: &mut TcpStream| {
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok().map(|()| String::from_utf8_lossy(&head[9..]).into_owned())
    };
    let statuses: Vec<_> = streams.iter_mut().filter_map(status).collect();
    for expected in ["200", "503"] {
        assert!(statuses.iter().any(|status| status == expected), "no {expected}: {statuses:?}");
    }
    drop(streams);
    let opened_again = async {
        while answered(&proxy, admin, "/events", "").await != Some(200) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, opened_again).await.expect("closed streams leave their places");
    proxy.stop().await;
}

/// Ends the clients, even if the test fails.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens up to a hundred connections a second and holds the last [`HELD`] of them.
fn come_again(held: Held, address: SocketAddr, over: Arc<AtomicBool>) -> impl FnOnce() {
    move || {
        let mut connections = std::collections::VecDeque::new();
        while !over.load(Ordering::Relaxed) {
            connections.extend(held.connect(address));
            if connections.len() > HELD {
                connections.pop_front();
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

/// The status of the response; `None`: there was none in time.
async fn answered(proxy: &Proxy, address: SocketAddr, path: &'static str, fields: &'static str) -> Option<u16> {
    let pid = proxy.pid();
    let (status, time) = spawn_blocking(move || probe(address, pid, path, fields)).await.unwrap().ok()?;
    (time <= PROMPT).then_some(status)
}

impl Held {
    fn connect(self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n");
        // The proxy may already have closed this connection in favour of another.
        let _ = match self {
            Self::Silent => Ok(()),
            Self::Incomplete => stream.write_all(request.as_bytes()),
            Self::Idle => {
                stream.write_all(format!("{request}\r\n").as_bytes()).and_then(|()| stream.read_exact(&mut [0; 64]))
            }
            Self::Unread => stream.write_all(format!("{request}\r\n").repeat(20).as_bytes()),
        };
        Ok(stream)
    }
}
