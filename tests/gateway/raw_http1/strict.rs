//! A strict HTTP/1.1 upstream. It records every request that is not well-formed as a violation.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::table::escape;

pub struct Strict {
    address: SocketAddr,
    seen: Seen,
}

#[derive(Clone, Default)]
struct Seen {
    /// Answer requests: method, target, and body if there is one.
    requests: Arc<Mutex<Vec<String>>>,
    violations: Arc<Mutex<Vec<String>>>,
}

/// How a message's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(usize),
}

struct Head {
    /// Method and target.
    line: String,
    target: String,
    framing: Framing,
    close: bool,
}

type Violation = String;

impl Strict {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        tokio::spawn({
            let seen = seen.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(serve(stream, seen.clone()));
                }
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.requests.lock().unwrap())
    }

    /// All violations.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The violations since the last call.
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.seen.violations.lock().unwrap())
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.seen.violations.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Seen) {
    let mut unread = BytesMut::new();
    loop {
        match exchange(&mut stream, &mut unread, &seen).await {
            Ok(Some(close)) if !close => {}
            // A truncated request does not count.
            Ok(_) => return,
            Err(violation) => return seen.violations.lock().unwrap().push(violation),
        }
    }
}

/// Whether the connection ends. `None`: it ended before a complete request.
async fn exchange(stream: &mut TcpStream, unread: &mut BytesMut, seen: &Seen) -> Result<Option<bool>, Violation> {
    let end = loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 2;
        }
        if !more(stream, unread).await {
            return Ok(None);
        }
    };
    let text = unread.split_to(end);
    unread.advance(2);
    let mut head = Head::parse(&text).map_err(|what| format!("{what}: {}", text.escape_ascii()))?;
    let body = match head.framing {
        Framing::Length(length) => {
            while unread.len() < length {
                if !more(stream, unread).await {
                    return Ok(None);
                }
            }
            unread.split_to(length).to_vec()
        }
        Framing::Chunked => match chunks(stream, unread).await? {
            Some(body) => body,
            None => return Ok(None),
        },
    };
    let mut request = head.line.into_bytes();
    if !body.is_empty() {
        request.push(b' ');
        request.extend(body);
    }
    seen.requests.lock().unwrap().push(escape(&request));
    // The field shows which request this response belongs to.
    head.target.truncate(64);
    let close = if head.close { "Connection: close\r\n" } else { "" };
    let answer = format!("HTTP/1.1 200 OK\r\nX-Target: {}\r\n{close}Content-Length: 0\r\n\r\n", head.target);
    let _ = stream.write_all(answer.as_bytes()).await;
    Ok(Some(head.close))
}

async fn more(stream: &mut TcpStream, unread: &mut BytesMut) -> bool {
    stream.read_buf(unread).await.is_ok_and(|count| count > 0)
}

/// RFC 9112 §7.1, without extensions, which no sender needs.
async fn chunks(stream: &mut TcpStream, unread: &mut BytesMut) -> Result<Option<Vec<u8>>, Violation> {
    let mut body = Vec::new();
    let mut trailers = false;
    loop {
        let Some(end) = unread.windows(2).position(|window| window == b"\r\n") else {
            if more(stream, unread).await {
                continue;
            }
            return Ok(None);
        };
        let line = unread.split_to(end);
        unread.advance(2);
        let line = std::str::from_utf8(&line).map_err(|_| "a chunk's line is no text".to_owned())?;
        if trailers {
            match line {
                "" => return Ok(Some(body)),
                line => check_field(line)?,
            }
            continue;
        }
        if line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("a chunk of size {line:?}"));
        }
        let size = usize::from_str_radix(line, 16).map_err(|_| format!("a chunk of size {line:?}"))?;
        if size == 0 {
            trailers = true;
            continue;
        }
        while unread.len() < size + 2 {
            if !more(stream, unread).await {
                return Ok(None);
            }
        }
        body.extend_from_slice(&unread.split_to(size));
        if unread.split_to(2)[..] != *b"\r\n" {
            return Err("a chunk without its end".to_owned());
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// RFC 9112 §5, RFC 9110 §5.5.
fn check_field(line: &str) -> Result<(), Violation> {
    match line.split_once(':') {
        Some((name, value)) if is_token(name) => {
            let sound = value.chars().all(|character| character == '\t' || !character.is_control());
            if sound { Ok(()) } else { Err(format!("the field {line:?}")) }
        }
        _ => Err(format!("the field {line:?}")),
    }
}

impl Head {
    /// Answer lines.
    fn parse(text: &[u8]) -> Result<Self, Violation> {
        // Obsolete text is allowed.
        let text: String = text.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.strip_suffix("\r\n").unwrap().split("\r\n");
        let first = lines.next().unwrap();
        let parts: Vec<&str> = first.split(' ').collect();
        let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("the line {first:?}")) };
        let visible = target.chars().all(|character| character.is_ascii_graphic() && character != '#');
        if !is_token(method) || !target.starts_with('/') || !visible {
            return Err(format!("the line {first:?}"));
        }
        let mut fields = Vec::new();
        for line in lines {
            check_field(&line.replace(|character: char| !character.is_ascii(), "?"))?;
            let (name, value) = line.split_once(':').unwrap();
            fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])));
        }
        let values = |wanted: &str| -> Vec<&str> {
            fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect()
        };
        for single in ["host", "authorization", "via"] {
            if values(single).len() != 1 {
                return Err(format!("{} fields {single}", values(single).len()));
            }
        }
        let framing = match (&values("content-length")[..], &values("transfer-encoding")[..]) {
            ([], []) => Framing::Length(0),
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                Framing::Length(length.parse().map_err(|_| format!("the length {length}"))?)
            }
            ([], ["chunked"]) => Framing::Chunked,
            (lengths, codings) => return Err(format!("lengths {lengths:?} and codings {codings:?}")),
        };
        for (name, _) in &fields {
            let dashed = name.replace('_', "-");
            if name.contains('_') && ["content-length", "transfer-encoding"].contains(&dashed.as_str()) {
                return Err(format!("a field {name}"));
            }
        }
        let close = values("connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
        Ok(Self { line: format!("{method} {target}"), target: target.to_owned(), framing, close })
    }
}
