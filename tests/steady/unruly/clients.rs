//! Clients that ask without end, each request with a number of its own, and note how each ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout};

use super::answer;
use testkit::body::{TestBody, empty, full, pattern};
use testkit::connection::{Connection, Protocol, connect, request};
use testkit::random::Random;

/// No request lasts longer: two connects, two waits for a head, one for a body, a second each, and what a busy machine adds.
pub const LIMIT: Duration = Duration::from_secs(15);

/// More than `upstream.replay_limit`: it can't be sent again.
const LARGE: usize = 400_000;

#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub id: u64,
    pub is_post: bool,
    pub size: usize,
    pub began: Instant,
    pub ended: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The upstream's answer, by the byte.
    Answer,
    /// The proxy's own: status, type, error of `Proxy-Status`.
    Problem(u16, String, String),
    /// The answer ended before its end.
    Cut,
    /// Nothing within the limit.
    Hang,
    /// Anything else.
    Strange(String),
}

/// Numbers for all clients.
#[derive(Clone)]
pub struct Clients {
    pub address: SocketAddr,
    pub ids: Arc<AtomicU64>,
    pub chance: Arc<Mutex<Random>>,
}

impl Asked {
    pub fn is_large(&self) -> bool {
        self.size >= LARGE
    }
}

impl Clients {
    /// Asks until `end`, over one connection at a time.
    pub async fn ask(self, protocol: Protocol, end: Instant) -> Vec<(Asked, Outcome)> {
        let mut all = Vec::new();
        let mut client = None;
        while Instant::now() < end {
            let mut connected = match client.take() {
                Some(client) => client,
                None => Connection::over(connect(self.address, None).await, protocol, false).await,
            };
            // HTTP/2 several at once.
            let count = if protocol == Protocol::Http2 { 1 + self.below(6) } else { 1 };
            let mut begun = Vec::new();
            for _ in 0..count {
                let (id, is_post, size) = self.draw();
                let began = Instant::now();
                let body: TestBody = if is_post { full(pattern(size)) } else { empty() };
                let method = if is_post { Method::POST } else { Method::GET };
                let sent = connected.begin(request(method, &format!("/{id}?{size}"), body)).await;
                begun.push(async move {
                    let outcome = timeout(LIMIT, async { outcome(id, sent.await).await }).await;
                    let asked = Asked { id, is_post, size, began, ended: Instant::now() };
                    (asked, outcome.unwrap_or(Outcome::Hang))
                });
            }
            let ended = join_all(begun).await;
            // HTTP/1 ends its connection with an answer that is cut.
            let goes_on = protocol == Protocol::Http2 || ended.iter().all(|(_, outcome)| *outcome == Outcome::Answer);
            client = goes_on.then_some(connected);
            all.extend(ended);
            sleep(Duration::from_millis(self.below(40) as u64)).await;
        }
        all
    }

    fn draw(&self) -> (u64, bool, usize) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let is_post = self.below(2) == 0;
        let size = if is_post { [20, 3_000, 60_000, LARGE][self.below(16).saturating_sub(12)] } else { 0 };
        (id, is_post, size)
    }

    fn below(&self, end: usize) -> usize {
        self.chance.lock().unwrap().below(end)
    }
}

async fn outcome(id: u64, sent: Result<Response<Incoming>, hyper::Error>) -> Outcome {
    let Ok(response) = sent else { return Outcome::Cut };
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(|whole| whole.to_bytes()) else { return Outcome::Cut };
    let field = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    if head.status == 200 && body == answer(id) {
        return Outcome::Answer;
    }
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    match document["type"].as_str().and_then(|kind| kind.strip_prefix("urn:bearer-proxy:")) {
        Some(kind) if field("content-type") == "application/problem+json" => {
            let error = field("proxy-status").replace("bearer-proxy; error=", "");
            Outcome::Problem(head.status.as_u16(), kind.to_owned(), error)
        }
        _ => Outcome::Strange(format!("{} with {} bytes, {:?}", head.status, body.len(), head.headers)),
    }
}
