//! A wire to the database that can be cut at a chosen step.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Passes bytes on until its plan says otherwise.
pub(super) struct Wire {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// What the client's bytes must hold for the cut; `None`: no cut.
    pub(super) at: Option<&'static str>,
    pub(super) cut: Cut,
    /// For how long new connections are then refused.
    pub(super) outage: Duration,
    refused_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The server never gets the bytes.
    Before,
    /// The server gets them and answers, and the client never gets the answer.
    After,
    /// From these bytes on, both directions are silent, and the connection stays open.
    Silence,
}

// === impl Wire ===

impl Wire {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan =
            Arc::new(Mutex::new(Plan { at: None, cut: Cut::Before, outage: Duration::ZERO, refused_until: None }));
        let shared = Arc::clone(&plan);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let refused = shared.lock().unwrap().refused_until.is_some_and(|until| until > Instant::now());
                if !refused {
                    tokio::spawn(carry(client, port, Arc::clone(&shared)));
                }
            }
        });
        Self { address, plan }
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://tester@{}/postgres", self.address)
    }

    /// Once, at the next bytes that hold `at`.
    pub(super) fn cut(&self, at: &'static str, cut: Cut, outage: Duration) {
        *self.plan.lock().unwrap() = Plan { at: Some(at), cut, outage, refused_until: None };
    }

    pub(super) fn was_cut(&self) -> bool {
        self.plan.lock().unwrap().at.is_none()
    }
}

async fn carry(mut client: TcpStream, port: u16, plan: Arc<Mutex<Plan>>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                match planned(&plan, &asked[..length]) {
                    None => server.write_all(&asked[..length]).await.unwrap(),
                    Some(Cut::Before) => return,
                    Some(Cut::After) => {
                        server.write_all(&asked[..length]).await.unwrap();
                        let _ = server.read(&mut answered).await;
                        return;
                    }
                    Some(Cut::Silence) => std::future::pending().await,
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn planned(plan: &Mutex<Plan>, bytes: &[u8]) -> Option<Cut> {
    let mut plan = plan.lock().unwrap();
    let at = plan.at?;
    if !bytes.windows(at.len()).any(|window| window == at.as_bytes()) {
        return None;
    }
    plan.at = None;
    plan.refused_until = Some(Instant::now() + plan.outage);
    Some(plan.cut)
}
