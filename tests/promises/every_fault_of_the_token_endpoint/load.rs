//! Clients that send requests while the token endpoint fails.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use testkit::Client;

/// A client that sends one request after another. The upstream must answer each.
pub struct Load {
    task: JoinHandle<()>,
    answered: watch::Receiver<(u64, u64)>,
    stop: watch::Sender<bool>,
}

impl Load {
    pub fn start(address: SocketAddr) -> Self {
        let (count, answered) = watch::channel((0, 0));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut client = Client::http1(address).await;
            while !*stopped.borrow() {
                let good = client.get("/api/v2/version").await.status == StatusCode::OK;
                count.send_modify(|(ok, bad)| if good { *ok += 1 } else { *bad += 1 });
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { task, answered, stop }
    }

    /// Waits for the response to a request that is sent after this call.
    pub async fn more(&mut self) {
        let (ok, bad) = *self.answered.borrow_and_update();
        self.answered.wait_for(|(now_ok, now_bad)| now_ok + now_bad >= ok + bad + 2).await.unwrap();
    }

    pub async fn end(self, what: &str) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        let (_, bad) = *self.answered.borrow();
        assert_eq!(bad, 0, "{what}: requests were harmed");
    }
}
