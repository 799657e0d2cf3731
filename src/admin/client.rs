//! Asks the admin listener of a running proxy: for the commands.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::{AdminConfig, ListenAddress};
use crate::secret::Secret;

/// A status document is a kilobyte, all metrics some ten.
const MAX_ANSWER: usize = 1024 * 1024;

/// Where to ask, with the key. Each question is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    address: ListenAddress,
    key: Option<Secret>,
}

/// What the listener said.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no proxy runs at {address} ({error})")]
    NotRunning { address: String, error: io::Error },
    #[error("{address} could not be reached: {error}")]
    Unreachable { address: String, error: io::Error },
    #[error("{address} did not answer within {after:?}")]
    Timeout { address: String, after: Duration },
    /// Something else listens there, or another version.
    #[error("admin.listen is no bearer-proxy's: {what}")]
    Broken { what: String },
    #[error("admin.key can't be sent: it holds a character that an HTTP field value must not")]
    Key,
}

// === impl Client ===

impl Client {
    pub fn new(config: &AdminConfig) -> Self {
        Self { address: reachable(&config.listen), key: config.key.clone() }
    }

    pub async fn get(&self, path: &'static str, within: Duration) -> Result<Answer, ClientError> {
        self.ask(Method::GET, path, within).await
    }

    pub async fn post(&self, path: &'static str, within: Duration) -> Result<Answer, ClientError> {
        self.ask(Method::POST, path, within).await
    }

    async fn ask(&self, method: Method, path: &'static str, within: Duration) -> Result<Answer, ClientError> {
        match timeout(within, self.exchange(method, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Timeout { address: self.place(), after: within }),
        }
    }

    async fn exchange(&self, method: Method, path: &'static str) -> Result<Answer, ClientError> {
        match &self.address {
            ListenAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(|error| self.no_connection(error))?;
                self.send(stream, method, path, &address.to_string()).await
            }
            ListenAddress::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| self.no_connection(error))?;
                self.send(stream, method, path, "localhost").await
            }
        }
    }

    async fn send<S>(&self, stream: S, method: Method, path: &'static str, host: &str) -> Result<Answer, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |error: &dyn std::error::Error| ClientError::Broken { what: error.to_string() };
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static(path);
        request.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(|error| broken(&error))?);
        if let Some(key) = &self.key {
            let value = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| ClientError::Key)?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // Its errors reach the request too.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|error| broken(&*error))?;
        Ok(Answer { status, body: body.to_bytes() })
    }

    fn no_connection(&self, error: io::Error) -> ClientError {
        let address = self.place();
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ClientError::NotRunning { address, error },
            _ => ClientError::Unreachable { address, error },
        }
    }

    fn place(&self) -> String {
        match &self.address {
            ListenAddress::Tcp(address) => address.to_string(),
            ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

// === impl Answer ===

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::Broken { what: format!("its answer can't be understood ({error})") })
    }

    /// What a problem document (RFC 9457) says.
    pub fn detail(&self) -> String {
        let problem = serde_json::from_slice::<serde_json::Value>(&self.body).unwrap_or_default();
        match problem["detail"].as_str() {
            Some(detail) => detail.replace(char::is_control, " "),
            None => "an answer that is not a bearer-proxy's".to_owned(),
        }
    }
}

/// An address to connect to: a listener on all addresses is reached on the loopback.
fn reachable(listen: &ListenAddress) -> ListenAddress {
    match listen {
        ListenAddress::Tcp(address) if address.ip().is_unspecified() => {
            let loopback = match address.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            ListenAddress::Tcp(SocketAddr::new(loopback, address.port()))
        }
        other => other.clone(),
    }
}
