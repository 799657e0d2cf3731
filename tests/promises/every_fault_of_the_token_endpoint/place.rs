//! Token endpoints that cannot be reached.

use std::net::SocketAddr;
use std::sync::Arc;

use simulator::{Options, Simulator};
use testkit::authority::Authority;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Where `oauth.token_url` points.
#[derive(Clone, Copy, PartialEq)]
pub enum Place {
    Server,
    /// A port that refuses connections. After the failure, it forwards to the server.
    ClosedPort,
    UnknownName,
    /// A server with an untrusted certificate.
    Distrusted,
    /// A server that does not speak TLS.
    NotTls,
    /// The connection is reset in the handshake.
    ResetAtOnce,
}

/// The server at `oauth.token_url`.
pub struct Front {
    pub token_url: String,
    address: Option<SocketAddr>,
    _other: Option<Simulator>,
    _task: Option<JoinHandle<()>>,
}

impl Front {
    pub async fn of(place: Place, simulator: &Simulator) -> Self {
        let mut front = Self { token_url: simulator.token_url(), address: None, _other: None, _task: None };
        match place {
            Place::Server => {}
            Place::ClosedPort => {
                // The port is free again after the listener is dropped.
                let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
                front.token_url = format!("http://{address}/oauth/token");
                front.address = Some(address);
            }
            Place::UnknownName => front.token_url = "https://token-endpoint.invalid/oauth/token".into(),
            Place::Distrusted => {
                let tls = Arc::clone(Authority::new().acceptor(&["127.0.0.1"], &[]).config());
                let other = Simulator::start(Options { tls: Some(tls), ..Options::league8() }).await.unwrap();
                front.token_url = other.token_url();
                front._other = Some(other);
            }
            Place::NotTls => front.token_url = simulator.token_url().replace("http://", "https://"),
            Place::ResetAtOnce => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                front.token_url = format!("https://{}/oauth/token", listener.local_addr().unwrap());
                front._task = Some(tokio::spawn(async move {
                    while let Ok((mut stream, _)) = listener.accept().await {
                        let _ = stream.read_u8().await;
                        stream.set_zero_linger().unwrap();
                    }
                }));
            }
        }
        front
    }

    /// From now on, the port forwards to the server.
    pub async fn open(&self, simulator: &Simulator) {
        let Some(address) = self.address else { return };
        let listener = TcpListener::bind(address).await.unwrap();
        let server = simulator.address();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut to = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
            }
        });
    }
}
