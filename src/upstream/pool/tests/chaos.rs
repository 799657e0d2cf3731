//! Every request ends, and no connection is left over, whatever happens to requests and connections.

use tokio::task::JoinSet;

use super::server::{Frames, HEADERS, Raw};
use super::*;

/// Pseudo-random numbers that are the same in each run.
#[derive(Clone)]
struct Numbers(Rc<Cell<u64>>);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed)))
    }

    fn below(&self, limit: u64) -> u64 {
        // Knuth's MMIX generator. Its high bits are the random ones.
        let next = self.0.get().wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0.set(next);
        (next >> 33) % limit
    }
}

async fn torment(server: Server, http: UpstreamHttp, seed: u64) {
    let numbers = Numbers::new(seed);
    let (pool, open) = pool_with_age(&server, http, Duration::from_millis(200));
    let mut all = JoinSet::new();
    for _ in 0..300 {
        let (pool, numbers) = (Rc::clone(&pool), numbers.clone());
        all.spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(numbers.below(300))).await;
            let patience = Duration::from_millis(if numbers.below(4) == 0 { numbers.below(10) } else { 5_000 });
            match tokio::time::timeout(patience, pool.send(get("/"))).await {
                Ok(Ok(response)) if numbers.below(4) > 0 => {
                    let _ = response.into_body().collect().await;
                }
                // This drops the body, the failure, or the request in flight.
                Ok(_) => {}
                Err(_) => assert!(patience < Duration::from_secs(1), "a request got no outcome (seed {seed})"),
            }
        });
    }
    within(all.join_all()).await;
    pool.shared.borrow().iter().for_each(|conn| assert_eq!(conn.open(), 0, "seed {seed}"));
    assert!(pool.queue.next().is_none());
    until(|| !pool.queue.is_opening()).await;
    pool.drain();
    until(|| open_connections(&open) == 0 && pool.alive.get() == 0 && !pool.reaping.get()).await;
}

#[tokio::test(flavor = "local")]
async fn http1() {
    for seed in 0..3 {
        let numbers = Numbers::new(seed + 100);
        let server = Server::start(move |stream, _| {
            let numbers = numbers.clone();
            async move {
                let mut raw = Raw(stream);
                while raw.head().await.is_some() {
                    tokio::time::sleep(Duration::from_millis(numbers.below(5))).await;
                    match numbers.below(8) {
                        0 => return,
                        1 => return raw.write("HTTP/1.1 200 OK\r\nContent-").await,
                        2 => return raw.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut").await,
                        3 => return raw.answer("", "last").await,
                        4 => raw.answer("Keep-Alive: timeout=2\r\n", "hurry").await,
                        _ => raw.answer("", "ok").await,
                    }
                }
            }
        })
        .await;
        torment(server, UpstreamHttp::Http1, seed).await;
    }
}

#[tokio::test(flavor = "local")]
async fn http2() {
    for seed in 0..3 {
        let numbers = Numbers::new(seed + 100);
        let server = Server::start(move |stream, _| {
            let numbers = numbers.clone();
            async move {
                let mut frames = Frames(stream);
                frames.preface().await;
                frames.limit(3).await;
                while let Some(stream) = frames.await_frame(HEADERS).await {
                    tokio::time::sleep(Duration::from_millis(numbers.below(5))).await;
                    match numbers.below(16) {
                        0 => return,
                        1 => frames.reset(stream, 7).await,
                        2 => frames.reset(stream, 8).await,
                        3 => return frames.goaway(u8::try_from(stream.min(250)).unwrap() - 1, 0).await,
                        4 if stream < 250 => {
                            frames.goaway(u8::try_from(stream).unwrap(), 0).await;
                            return frames.answer(stream).await;
                        }
                        _ => frames.answer(stream).await,
                    }
                }
            }
        })
        .await;
        torment(server, UpstreamHttp::Http2, seed).await;
    }
}
