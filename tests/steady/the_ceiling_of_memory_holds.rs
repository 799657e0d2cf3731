//! The documented ceiling of memory holds against hostile clients, and so does each part of its sum.
//!
//! The parts are incomplete heads, queued heads of thousands of fields, bodies kept for replays, uploads that the upstream does not
//! read, and downloads that the client does not read. The last row combines them. The clients demand more than the limits admit, so
//! the test measures the limits. After everything has stalled, the peak is what the proxy holds, and what it took to get there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::pattern::Sending;
use crate::scale::{figure, pick, turn};
use testkit::body::{TestBody, pattern};
use testkit::connection::{Connection, Protocol, Stream, connect, get, request};
use testkit::memory::{Memory, mib};
use testkit::origin::Origin;
use testkit::stage::before;
use testkit::{Proxy, allow_open_files};

const CONNECTIONS: u64 = 64;
const IN_FLIGHT: u64 = 32;
/// Bytes.
const REPLAY_BUDGET: u64 = 8 * MIB;
const MIB: u64 = 1024 * 1024;

/// The documented values for HTTP/2 clients without TLS.
const CONNECTION: u64 = MIB;
const HEAD: u64 = MIB;
const ANSWER: u64 = MIB * 16 / 10;
const BODY: u64 = MIB * 11 / 10;
const CEILING: u64 = 10 * MIB + REPLAY_BUDGET + CONNECTIONS * CONNECTION + IN_FLIGHT * (ANSWER + BODY + 2 * HEAD);
const FORMULA: &str = "ceiling = 10 MiB + replay_budget + max_connections × c + max_in_flight × (2.7 MiB + 2 × h)";

/// The same for HTTP/1.1 clients.
const CONNECTION_HTTP1: u64 = MIB / 4;
const HEAD_HTTP1: u64 = MIB / 4;

/// What a client tries to make the proxy hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greed {
    /// HTTP/1.1: a head that does not end.
    Heads,
    /// A head of thousands of fields.
    Fields,
    /// A head of few fields that are large.
    Bytes,
    Uploads,
    /// An upload with a head of thousands of fields.
    Laden,
    /// Bodies that fit `upstream.replay_limit`.
    Kept,
    Downloads,
}

/// What clients keep open.
#[derive(Default)]
struct Clients {
    raw: Vec<Box<dyn Stream>>,
    hyper: Vec<Connection>,
    sent: JoinSet<Option<http::Response<Incoming>>>,
}

#[tokio::test]
async fn the_ceiling_of_memory_holds() {
    use Greed::{Bytes, Downloads, Fields, Heads, Kept, Laden, Uploads};
    use Protocol::{Http1, Http2};
    let _turn = turn().await;
    allow_open_files(4000);
    let waiting = 2 * IN_FLIGHT;
    // Downloads take all slots in flight. The waiting requests are as large as possible.
    let all: &[Greed] = &[Downloads, Laden];
    let rows: &[(Protocol, &[Greed], u64)] = &[
        (Http1, &[Fields], waiting * HEAD),
        (Http1, &[Downloads], IN_FLIGHT * ANSWER),
        (Http1, all, CEILING),
        (Http1, &[Heads], CONNECTIONS * CONNECTION_HTTP1),
        (Http1, &[Bytes], waiting * HEAD_HTTP1),
        (Http1, &[Uploads], CONNECTIONS * CONNECTION + IN_FLIGHT * BODY),
        (Http1, &[Kept], CONNECTIONS * CONNECTION + IN_FLIGHT * BODY + REPLAY_BUDGET),
        (Http2, &[Downloads], IN_FLIGHT * ANSWER),
        (Http2, &[Uploads], CONNECTIONS * CONNECTION + IN_FLIGHT * BODY),
        (Http2, all, CEILING),
    ];
    let mut most = 0;
    for (up, greeds, limit) in &rows[..pick(3, rows.len())] {
        let (proxy, _origin) = proxy(*up).await;
        let memory = Memory::of(proxy.pid());
        let idle = memory.resident();
        let mut clients = Clients::default();
        for _ in 0..CONNECTIONS {
            clients.connect(proxy.address(), greeds).await;
        }
        for greed in *greeds {
            clients.ask(*greed).await;
            sleep(Duration::from_millis(500)).await;
        }
        let peak = settled(memory).await;
        let what = format!("{greeds:?} to {up:?}");
        eprintln!("{what}: {} idle, {} peak, {} at most", mib(idle), mib(peak), mib(limit / 1024));
        // The whole ceiling includes the program's own memory.
        let held = if *limit == CEILING { peak } else { peak - idle };
        assert!(held * 1024 <= *limit, "{what}: {} held, not {}", mib(held), mib(limit / 1024));
        assert!(held * 1024 >= limit / 10, "{what}: {} held: these clients try nothing", mib(held));
        most = most.max(peak);
    }
    figure(&format!("greedy: {} of {}", mib(most), mib(CEILING / 1024)), "the peak, of the ceiling");
}

#[test]
fn the_readme_has_this_formula() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/limits.md")).unwrap();
    assert!(page.contains(FORMULA), "docs/reference/limits.md does not contain: {FORMULA}");
}

/// The peak, after a second without growth. Polls, because memory has no events.
async fn settled(memory: Memory) -> u64 {
    let mut peak = 0;
    for _ in 0..20 {
        sleep(Duration::from_secs(1)).await;
        if memory.peak() == std::mem::replace(&mut peak, memory.peak()) {
            break;
        }
    }
    peak
}

async fn proxy(up: Protocol) -> (Proxy, Option<Origin>) {
    let (url, origin) = match up {
        Protocol::Http1 => (stalling().await, None),
        Protocol::Http2 => {
            let origin = Origin::start(up, None).await;
            origin.on("*", |arrived| async move {
                let _unread = arrived;
                std::future::pending().await
            });
            origin
                .on("/download", |_| async { Ok(Response::new(Sending::new(1 << 30, Arc::default()).boxed_unsync())) });
            (origin.url(), Some(origin))
        }
    };
    let proxy = before(&url)
        .await
        .set("UPSTREAM__HTTP", if up == Protocol::Http2 { "2" } else { "1" })
        .set("GUARD__MAX_CONNECTIONS", CONNECTIONS)
        .set("UPSTREAM__MAX_IN_FLIGHT", IN_FLIGHT)
        .set("UPSTREAM__REPLAY_BUDGET", REPLAY_BUDGET)
        .set("UPSTREAM__QUEUE_TIMEOUT", "1m")
        .set("LOG__REQUESTS", "none")
        .start()
        .await;
    proxy.ready().await;
    (proxy, origin)
}

/// A raw upstream: a library would refuse so many fields.
async fn stalling() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(stall(tcp));
        }
    });
    url
}

/// Reads the start of a request. Answers a download with an endless body, and nothing else.
async fn stall(mut tcp: TcpStream) {
    let mut head = [0; 12];
    if tcp.read_exact(&mut head).await.is_err() {
        return;
    }
    if &head == b"GET /downloa" {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        let piece = pattern(64 * 1024);
        while tcp.write_all(&piece).await.is_ok() {}
    }
    std::future::pending::<()>().await;
}

impl Clients {
    async fn connect(&mut self, address: SocketAddr, greeds: &[Greed]) {
        let mut stream = connect(address, None).await;
        if greeds == [Greed::Heads] {
            let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(120_000));
            stream.write_all(head.as_bytes()).await.unwrap();
            return self.raw.push(stream);
        }
        self.hyper.push(Connection::over(stream, Protocol::Http2, false).await);
    }

    async fn ask(&mut self, greed: Greed) {
        for (number, client) in self.hyper.iter_mut().enumerate() {
            for request in greed.requests(number) {
                let answer = client.begin(request).await;
                // The response is kept and not read.
                self.sent.spawn(async move { answer.await.ok() });
            }
        }
    }
}

impl Greed {
    /// The requests of client `number`.
    fn requests(self, number: usize) -> Vec<Request<TestBody>> {
        let upload = |size| request(Method::POST, "/upload", Sending::new(size, Arc::default()).boxed_unsync());
        let some = |count, make: &dyn Fn() -> Request<TestBody>| (0..count).map(|_| make()).collect();
        match self {
            Self::Heads => Vec::new(),
            Self::Fields => some(4, &|| with_fields(get("/fields"), 2800, 0)),
            Self::Bytes => some(4, &|| with_fields(get("/fields"), 15, 4000)),
            Self::Laden => some(1, &|| with_fields(upload(64 << 20), 2800, 0)),
            Self::Uploads => some(6, &|| upload(64 << 20)),
            Self::Kept => some(4, &|| upload(250_000)),
            // Every second client, so that other requests are in flight too.
            Self::Downloads => some(if number.is_multiple_of(2) { 1 } else { 0 }, &|| get("/download")),
        }
    }
}

fn with_fields(mut request: Request<TestBody>, count: usize, size: usize) -> Request<TestBody> {
    let value = HeaderValue::from_str(&"x".repeat(size)).unwrap();
    for number in 0..count {
        let name = HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        request.headers_mut().insert(name, value.clone());
    }
    request
}
