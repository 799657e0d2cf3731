//! Clients that send one request after the other.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use testkit::{Client, request};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// What the clients of one replica received since they were last asked.
#[derive(Debug, Default)]
pub struct Seen {
    pub answered: u64,
    /// Any other response, or a lost connection.
    pub failed: Vec<String>,
}

/// The client of one replica. It ends when dropped.
pub struct Load {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Load {
    pub fn on(address: SocketAddr) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                loop {
                    if TcpStream::connect(address).await.is_ok() {
                        converse(address, &seen).await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        Self { seen, task }
    }

    /// What was received since the last call.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(address: SocketAddr, seen: &Mutex<Seen>) {
    let mut client = Client::http1(address).await;
    loop {
        let answer = client.send(request(Method::GET, "/api/v2/version")).await;
        {
            let mut seen = seen.lock().unwrap();
            match answer {
                Ok(answer) if answer.status == StatusCode::OK => seen.answered += 1,
                Ok(answer) => seen.failed.push(answer.status.to_string()),
                Err(error) => {
                    seen.failed.push(error.to_string());
                    return;
                }
            }
        }
        // Limits the load: the test needs steady clients, not fast ones.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
