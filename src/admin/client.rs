//! Sends requests to the admin listener of a running proxy, for the commands.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::{AdminConfig, ListenAddress};
use crate::outbound::client::{self, RequestError};
use crate::secret::Secret;

/// A status document has about 1 KiB, and all metrics about 10 KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// The admin listener's address and key. Each request has a connection of its own.
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
    NotRunning { address: String, error: String },
    #[error("{address} could not be reached: {error}")]
    Unreachable { address: String, error: String },
    #[error("{address} did not answer within {after:?}")]
    Timeout { address: String, after: Duration },
    /// Something else listens there, or another version.
    #[error("the answer at admin.listen is not from a bearer-proxy: {what}; correct admin.listen")]
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
        let broken = |error: &dyn std::error::Error| ClientError::Broken { what: error.to_string() };
        let (http, host) = match &self.address {
            ListenAddress::Tcp(address) => (client::Client::direct(), address.to_string()),
            ListenAddress::Unix(socket) => (client::Client::unix(socket), "localhost".to_owned()),
        };
        let http = http.map_err(|error| broken(&error))?;
        let url = Url::parse(&format!("http://{host}{path}")).map_err(|error| broken(&error))?;
        let mut request = http.request(method, url);
        if let Some(key) = &self.key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| ClientError::Key)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        match http.send(request, MAX_ANSWER, within).await {
            Ok(client::Response { status, body, .. }) => Ok(Answer { status, body }),
            Err(RequestError::TimedOut(after)) => Err(ClientError::Timeout { address: self.place(), after }),
            Err(RequestError::Connect { kind, said: error, .. }) => Err(self.no_connection(kind, error)),
            Err(RequestError::Broken(what)) => Err(ClientError::Broken { what }),
        }
    }

    fn no_connection(&self, kind: io::ErrorKind, error: String) -> ClientError {
        let address = self.place();
        match kind {
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
