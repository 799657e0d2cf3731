//! A raw upstream. The test serves each connection; the upstream records the heads.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

pub struct Wire {
    address: SocketAddr,
    log: Log,
}

/// The heads that arrived on all connections, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Wire {
    /// `serve` gets each connection, with its number from 1 on.
    pub async fn start<F>(serve: impl Fn(TcpStream, usize, Log) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Log::default();
        tokio::spawn({
            let log = log.clone();
            async move {
                for number in 1.. {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(serve(stream, number, log.clone()));
                }
            }
        });
        Self { address, log }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Log {
    pub fn note(&self, head: &str) {
        self.0.lock().unwrap().push(head.to_owned());
    }

    /// The number of heads that begin with `start`.
    pub fn count(&self, start: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|head| head.starts_with(start)).count()
    }
}
