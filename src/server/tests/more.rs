//! What the kernel may keep of an answer until more of it follows. For how long is its own affair, and the machine's: what is not seen
//! in one of some attempts does not happen.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::*;

const ATTEMPTS: usize = 8;

/// Less than the kernel keeps anything: 200 ms, or until a client acknowledges what came before, which may take it 40.
const AT_ONCE: Duration = Duration::from_millis(30);

/// A client of one worker, and another one, whose answers show how far the worker is.
struct Clients {
    proxy: Fixture,
    client: TcpStream,
    other: TcpStream,
}

impl Clients {
    async fn new() -> Self {
        let proxy = Fixture::with(limits(), 1, None);
        let (client, other) = (proxy.connect_and_ask().await, proxy.connect_and_ask().await);
        Self { proxy, client, other }
    }

    async fn get(&mut self, path: &str) {
        send(&mut self.client, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    }

    /// Lets the next piece pass; what there is of it is written by the other's third answer.
    async fn next(&mut self) {
        self.proxy.open_gate();
        for _ in 0..3 {
            assert!(ask(&mut self.other, "/").await.ends_with("ok"));
        }
    }

    fn has_nothing(&self) -> bool {
        let there = recv(&self.client, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        there.is_err_and(|error| error == Errno::AGAIN)
    }

    /// Reads on up to this piece. How long that took.
    async fn read_to(&mut self, piece: &str) -> Duration {
        let start = Instant::now();
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains(piece) {
            assert_ne!(within(self.client.read_buf(&mut received)).await.unwrap(), 0);
        }
        start.elapsed()
    }
}

#[tokio::test]
async fn a_small_piece_waits_for_what_is_sure_to_follow() {
    let mut waited = false;
    for _ in 0..ATTEMPTS {
        let mut it = Clients::new().await;
        it.get("/thirds").await;
        it.read_to("first").await;
        it.next().await;
        waited |= it.has_nothing();
        it.next().await;
        it.read_to("middlelast").await;
    }
    assert!(waited);
}

#[tokio::test]
async fn it_does_not_wait_for_long() {
    let mut it = Clients::new().await;
    it.get("/thirds").await;
    it.next().await;
    it.read_to("firstmiddle").await;
    it.next().await;
    it.read_to("last").await;
}

#[tokio::test]
async fn a_head_and_an_end_wait_for_nothing() {
    let mut it = Clients::new().await;
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..ATTEMPTS {
        it.get("/thirds").await;
        let first = it.read_to("first").await;
        it.next().await;
        it.next().await;
        let last = it.read_to("last").await;
        fastest = [fastest[0].min(first), fastest[1].min(last)];
    }
    assert!(fastest.iter().all(|fastest| *fastest < AT_ONCE), "{fastest:?}");
}

#[tokio::test]
async fn an_answer_of_unknown_length_waits_for_nothing() {
    let mut it = Clients::new().await;
    let mut fastest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        it.get("/thirds-of-unknown-length").await;
        it.read_to("first").await;
        it.next().await;
        fastest = fastest.min(it.read_to("middle").await);
        it.next().await;
        it.read_to("\r\n0\r\n\r\n").await;
    }
    assert!(fastest < AT_ONCE, "{fastest:?}");
}
