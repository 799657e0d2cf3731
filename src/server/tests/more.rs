//! What the kernel may gather of an answer. How long it does is its own affair, and the machine's: what is not seen in one of some
//! attempts does not happen.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::*;

const ATTEMPTS: usize = 8;

/// Less than the kernel waits for more: 200 ms, or until a client acknowledges what came before, which may take it 40.
const AT_ONCE: Duration = Duration::from_millis(30);

/// One worker, so that its next answer comes after what it did before.
fn proxy() -> Fixture {
    Fixture::with(limits(), 1, None)
}

async fn asked(proxy: &Fixture, path: &str) -> TcpStream {
    let mut client = proxy.connect_and_ask().await;
    let mut other = proxy.connect_and_ask().await;
    send(&mut client, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    // By the third answer, what there is of this one has been written.
    for _ in 0..3 {
        assert!(ask(&mut other, "/").await.ends_with("ok"));
    }
    client
}

#[tokio::test]
async fn a_small_piece_waits_for_what_is_sure_to_follow() {
    let proxy = proxy();
    let mut waited = false;
    for _ in 0..ATTEMPTS {
        let mut client = asked(&proxy, "/halves").await;
        waited |=
            recv(&client, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_err_and(|error| error == Errno::AGAIN);
        proxy.open_gate();
        within(client.read_buf(&mut Vec::new())).await.unwrap();
    }
    assert!(waited);
}

#[tokio::test]
async fn it_does_not_wait_for_long() {
    let proxy = proxy();
    let mut client = asked(&proxy, "/halves").await;
    let mut received = Vec::new();
    while !received.ends_with(b"first") {
        within(client.read_buf(&mut received)).await.unwrap();
    }
    proxy.open_gate();
    within(client.read_buf(&mut received)).await.unwrap();
    assert!(received.ends_with(b"firstlast"));
}

#[tokio::test]
async fn the_end_of_an_answer_waits_for_nothing() {
    let proxy = proxy();
    let mut fastest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        let mut client = asked(&proxy, "/halves").await;
        let opened = Instant::now();
        proxy.open_gate();
        assert!(response(&mut client).await.ends_with("firstlast"));
        fastest = fastest.min(opened.elapsed());
        assert!(ask(&mut client, "/").await.ends_with("ok"));
    }
    assert!(fastest < AT_ONCE, "{fastest:?}");
}

#[tokio::test]
async fn an_answer_of_unknown_length_waits_for_nothing() {
    let proxy = proxy();
    let mut fastest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        let asked_at = Instant::now();
        let mut client = asked(&proxy, "/chunks").await;
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains("first") {
            within(client.read_buf(&mut received)).await.unwrap();
        }
        fastest = fastest.min(asked_at.elapsed());
        proxy.open_gate();
    }
    assert!(fastest < AT_ONCE, "{fastest:?}");
}
