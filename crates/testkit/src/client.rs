//! A client without a token, on one HTTP/1.1 or HTTP/2 connection. It reads each response to its end.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

pub enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

pub fn request(method: Method, path: &str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(path).body(Full::default()).unwrap()
}

impl Client {
    pub async fn http1(address: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub async fn http2(address: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let response = match self {
            Self::Http1(sender) => {
                request.headers_mut().entry("host").or_insert_with(|| "localhost".parse().unwrap());
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                let path = request.uri().path_and_query().unwrap().clone();
                *request.uri_mut() = format!("http://localhost{path}").parse().unwrap();
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (parts, body) = response.into_parts();
        let whole = body.collect().await?;
        let trailers = whole.trailers().cloned();
        Ok(Answer { status: parts.status, headers: parts.headers, body: whole.to_bytes(), trailers })
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(request(Method::GET, path)).await.unwrap()
    }

    /// Sends requests until a response is not 200. Returns how many were, and the other response.
    pub async fn get_until_refused(&mut self, path: &str) -> (usize, Answer) {
        let mut good = 0;
        loop {
            let answer = self.get(path).await;
            if answer.status != StatusCode::OK {
                return (good, answer);
            }
            good += 1;
            tokio::task::yield_now().await;
        }
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder().method(Method::POST).uri(path).body(Full::new(body.into())).unwrap();
        self.send(request).await.unwrap()
    }
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The first value of a field. Empty if the response has none.
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The last part of a problem document's type. Empty if the response is not the proxy's own.
    pub fn problem(&self) -> String {
        if self.headers.get("content-type").is_none_or(|kind| kind != "application/problem+json") {
            return String::new();
        }
        let document = self.json();
        document["type"].as_str().unwrap().trim_start_matches("urn:bearer-proxy:").to_owned()
    }
}
