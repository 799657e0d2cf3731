//! HTTP/1 by the byte.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::ledger::Deed;
use super::{End, STALL, Upstream, answer, parse};

const WEIGHTS: &[(Deed, usize)] = &[
    (Deed::Answer, 150),
    (Deed::Vanish, 12),
    (Deed::CutHead, 6),
    (Deed::CutBody, 6),
    (Deed::TearBody, 4),
    (Deed::Stall, 4),
    (Deed::StallHead, 3),
    (Deed::StallBody, 4),
    (Deed::Nonsense, 5),
];

struct Wire {
    tcp: TcpStream,
    unread: BytesMut,
}

/// A request's head.
struct Head {
    id: u64,
    length: usize,
}

pub async fn serve(tcp: TcpStream, upstream: Upstream) {
    let mut wire = Wire { tcp, unread: BytesMut::new() };
    let mut reused = false;
    // Now and then before a request can come.
    if upstream.below(50) == 0 {
        upstream.ledger.lost();
        return wire.end(upstream.end(), &upstream).await;
    }
    while let Some(head) = wire.head().await {
        let deed = upstream.draw(WEIGHTS);
        let entry = upstream.ledger.begin(head.id, deed, reused);
        if deed == Deed::Vanish && upstream.coin() {
            return wire.end(upstream.end(), &upstream).await;
        }
        if wire.body(head.length).await.is_none() {
            return;
        }
        // What fails may have been done all the same.
        if matches!(deed, Deed::Answer | Deed::CutBody | Deed::TearBody | Deed::StallBody) || upstream.coin() {
            upstream.ledger.apply(entry);
        }
        let last = deed == Deed::Answer && upstream.below(20) == 0;
        let text = message(head.id, last);
        let body = text.find("\r\n\r\n").unwrap() + 4;
        let half = body + (text.len() - body) / 2;
        match deed {
            Deed::Answer => wire.send(&text).await,
            Deed::CutHead => wire.send(&text[..body / 2]).await,
            Deed::CutBody | Deed::TearBody => wire.send(&text[..half]).await,
            Deed::StallHead => wire.send(&text[..body / 2]).await,
            Deed::StallBody => wire.send(&text[..half]).await,
            Deed::Nonsense => wire.send("NONSENSE\r\n\r\n").await,
            _ => {}
        }
        match deed {
            Deed::Answer => {}
            Deed::Stall | Deed::StallHead | Deed::StallBody => return wire.gone().await,
            Deed::TearBody => return wire.end(End::Reset, &upstream).await,
            Deed::Vanish | Deed::CutHead => return wire.end(upstream.end(), &upstream).await,
            _ => return wire.end(End::Fin, &upstream).await,
        }
        upstream.ledger.done(entry);
        reused = true;
        // An idle connection goes just when it may be used again.
        if last || upstream.below(8) == 0 {
            sleep(Duration::from_millis(upstream.below(30) as u64)).await;
            upstream.ledger.strike(&[entry]);
            return wire.end(upstream.end(), &upstream).await;
        }
    }
}

/// An answer, by its length or in chunks.
fn message(id: u64, last: bool) -> String {
    let (body, close) = (answer(id), if last { "Connection: close\r\n" } else { "" });
    if id.is_multiple_of(2) {
        return format!("HTTP/1.1 200 OK\r\n{close}Content-Length: {}\r\n\r\n{body}", body.len());
    }
    format!("HTTP/1.1 200 OK\r\n{close}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

impl Wire {
    async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.unread.split_to(end + 4).to_vec()).unwrap();
                let (id, _) = parse(head.split(' ').nth(1)?);
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
                });
                return Some(Head { id, length: length.unwrap_or(0) });
            }
            self.more().await?;
        }
    }

    async fn body(&mut self, length: usize) -> Option<()> {
        let mut left = length;
        loop {
            let taken = left.min(self.unread.len());
            self.unread.advance(taken);
            left -= taken;
            if left == 0 {
                return Some(());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        self.tcp.read_buf(&mut self.unread).await.ok().filter(|count| *count > 0).map(drop)
    }

    /// An error is for the reading side to find.
    async fn send(&mut self, text: &str) {
        let _ = self.tcp.write_all(text.as_bytes()).await;
    }

    async fn end(mut self, how: End, upstream: &Upstream) {
        if how == End::Reset {
            self.tcp.set_zero_linger().unwrap();
            // Before it happens, so that nothing is lost that is not accounted for; and after.
            upstream.ledger.lost();
            drop(self);
            return upstream.ledger.lost();
        }
        let _ = self.tcp.shutdown().await;
        let meanwhile = async {
            while let Some(head) = self.head().await {
                upstream.ledger.begin(head.id, Deed::Late, true);
                if self.body(head.length).await.is_none() {
                    return;
                }
            }
        };
        let _ = timeout(STALL, meanwhile).await;
    }

    /// Waits until the other side gives up.
    async fn gone(mut self) {
        let _ = timeout(STALL, async { while self.more().await.is_some() {} }).await;
    }
}
