//! An upstream that misbehaves at random and records what it did to each request.

pub mod clients;
pub mod http1;
pub mod http2;
pub mod judge;
pub mod ledger;
mod tap;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;

use ledger::{Deed, Ledger};
use testkit::connection::Protocol;
use testkit::random::Random;

/// Longer than any limit of the proxy in these tests.
pub const STALL: Duration = Duration::from_secs(4);

/// The state that all connections of one upstream share.
#[derive(Clone)]
pub struct Upstream {
    pub ledger: Ledger,
    chance: Arc<Mutex<Random>>,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A close, as for an idle connection. The upstream still sees what arrives meanwhile.
    Fin,
    /// A reset. Data under way in either direction is lost.
    Reset,
}

impl Upstream {
    pub async fn start(protocol: Protocol, chance: Arc<Mutex<Random>>) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Self { ledger: Ledger::default(), chance };
        let serving = upstream.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let upstream = serving.clone();
                match protocol {
                    Protocol::Http1 => tokio::spawn(http1::serve(tcp, upstream)),
                    Protocol::Http2 => tokio::spawn(http2::serve(tcp, upstream)),
                };
            }
        });
        (upstream, address)
    }

    /// A random choice by weight.
    fn draw(&self, weights: &[(Deed, usize)]) -> Deed {
        let sum = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = self.below(sum);
        for (deed, weight) in weights {
            match left.checked_sub(*weight) {
                Some(less) => left = less,
                None => return *deed,
            }
        }
        Deed::Answer
    }

    pub fn below(&self, end: usize) -> usize {
        self.chance.lock().unwrap().below(end)
    }

    fn coin(&self) -> bool {
        self.below(2) == 0
    }

    fn end(&self) -> End {
        if self.coin() { End::Fin } else { End::Reset }
    }
}

/// The body of the response to this request: from a few bytes to a hundred kilobytes.
pub fn answer(id: u64) -> String {
    format!("{id} ").repeat([1, 40, 15_000][(id % 3) as usize])
}

/// The number in a path, and the size of the request's body: `/17?3000`.
fn parse(target: &str) -> (u64, usize) {
    let (id, size) = target.trim_start_matches('/').split_once('?').unwrap();
    (id.parse().unwrap(), size.parse().unwrap())
}
