//! A raw connection, for what no library sends or shows.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Answer;
use crate::connection::Stream;
use crate::within;

pub struct Raw {
    stream: Box<dyn Stream>,
    unread: BytesMut,
}

impl Raw {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, unread: BytesMut::new() }
    }

    /// Ignores errors. The reading side finds them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Reads up to and including `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        within(async {
            loop {
                let found = self.unread.windows(end.len()).position(|window| window == end.as_bytes());
                if let Some(start) = found {
                    return text(&self.unread.split_to(start + end.len()));
                }
                let read = self.stream.read_buf(&mut self.unread).await;
                assert!(read.is_ok_and(|count| count > 0), "ended before {end:?}: {:?}", text(&self.unread));
            }
        })
        .await
    }

    /// Reads the head of a message and the empty line.
    pub async fn read_head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    /// Like [`Self::read_head`]. `None`: the peer has closed its side.
    pub async fn try_read_head(&mut self) -> Option<String> {
        loop {
            if let Some(start) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                return Some(text(&self.unread.split_to(start + 4)));
            }
            self.stream.read_buf(&mut self.unread).await.ok().filter(|count| *count > 0)?;
        }
    }

    pub async fn read_exact(&mut self, count: usize) -> Bytes {
        within(async {
            while self.unread.len() < count {
                let read = self.stream.read_buf(&mut self.unread).await;
                assert!(read.is_ok_and(|count| count > 0), "ended within {count} bytes: {:?}", text(&self.unread));
            }
            self.unread.split_to(count).freeze()
        })
        .await
    }

    /// Reads until the peer closes or resets the connection.
    pub async fn read_to_end(&mut self) -> Bytes {
        within(async {
            while self.stream.read_buf(&mut self.unread).await.is_ok_and(|count| count > 0) {}
            self.unread.split().freeze()
        })
        .await
    }

    /// Reads a response of known length.
    pub async fn read_answer(&mut self) -> Answer {
        let text = self.read_head().await;
        let mut lines = text.trim_end().lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let length = headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        let body = self.read_exact(length).await;
        Answer { status: status.unwrap_or_else(|| panic!("no status: {text}")), headers, body, trailers: None }
    }

    /// Skips a final response. Returns its status and the field `x-target`. `None`: there are no more responses.
    pub async fn read_status(&mut self) -> Option<(u16, String)> {
        loop {
            let head = self.try_read_head().await?;
            let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
            let field = |name: &str| {
                let lower = head.to_ascii_lowercase();
                let start = lower.find(&format!("\r\n{name}: "))? + name.len() + 4;
                Some(lower[start..].split('\r').next()?.to_owned())
            };
            if (100..200).contains(&status) {
                continue;
            }
            let length = field("content-length").map_or(0, |length| length.parse().unwrap());
            while self.unread.len() < length {
                self.stream.read_buf(&mut self.unread).await.ok().filter(|count| *count > 0)?;
            }
            self.unread.advance(length);
            return Some((status, field("x-target").unwrap_or_default()));
        }
    }

    /// Closes this side. The peer may still send.
    pub async fn shutdown(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
