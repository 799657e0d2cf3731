//! A person's browser at the admin listener: raw requests, with the fields that a browser adds.

use std::net::SocketAddr;

use http::HeaderMap;
use serde_json::Value;
use testkit::connection::connect;
use testkit::raw::Raw;
use testkit::within;

/// A response.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

/// The page asks its own server.
pub const OWN: &str = "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n";

/// Sends `line` with `fields` to a listener that the browser knows as `host`. Each field ends with a line break.
pub async fn ask(address: SocketAddr, host: &str, line: &str, fields: &str, body: &str) -> Page {
    let mut raw = Raw::new(connect(address, None).await);
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    raw.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}{length}\r\n{body}")).await;
    let answer = raw.read_answer().await;
    Page { status: answer.status.as_u16(), headers: answer.headers.clone(), body: answer.text() }
}

/// The events of the page.
pub struct Events(Raw);

impl Events {
    pub async fn open(address: SocketAddr, fields: &str) -> Self {
        let mut raw = Raw::new(connect(address, None).await);
        // HTTP/1.0 has no chunks.
        raw.send(format!("GET /events HTTP/1.0\r\nHost: {address}\r\n{OWN}{fields}\r\n")).await;
        let head = raw.read_head().await;
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        Self(raw)
    }

    pub async fn next(&mut self) -> (String, Value) {
        let event = self.0.read_until("\n\n").await;
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        (name.to_owned(), serde_json::from_str(data).unwrap())
    }

    /// The next document that is as wanted.
    pub async fn page(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        within(async {
            loop {
                let (name, page) = self.next().await;
                if name == "page" && wanted(&page) {
                    return page;
                }
            }
        })
        .await
    }

    /// What follows until the stream ends.
    pub async fn rest(mut self) -> String {
        String::from_utf8_lossy(&self.0.read_to_end().await).into_owned()
    }
}

impl Page {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The last part of a problem's type.
    pub fn problem(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().replace("urn:bearer-proxy:", "")
    }

    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
