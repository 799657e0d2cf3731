//! The event stream of the page.

use tokio::time::Instant;

use super::*;
use crate::admin::events::MOST;
use crate::descriptors::ADMIN_CONNECTIONS;

/// An open stream. HTTP/1.0 has no chunks, so its body is the events.
struct Stream {
    socket: TcpStream,
    unread: String,
}

impl Stream {
    async fn open(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut stream = Self { socket, unread: String::new() };
        let head = stream.read_until("\r\n\r\n").await.unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.0 200"), "{head}");
        for field in ["content-type: text/event-stream\r\n", "cache-control: no-store\r\n"] {
            assert!(head.contains(field), "{head}");
        }
        stream
    }

    /// The next event; `None`: the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        let event = self.read_until("\n\n").await?;
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        Some((name.to_owned(), json(data)))
    }

    async fn read_until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.unread.find(end) {
                return Some(self.unread.drain(..at + end.len()).collect());
            }
            let mut bytes = [0; 4096];
            match self.socket.read(&mut bytes).await.ok()? {
                0 => return None,
                count => self.unread += std::str::from_utf8(&bytes[..count]).unwrap(),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_the_whole_document_and_goes_on_with_samples_and_changes() {
    let (admin, drain) = admin(valid(), None, None);
    tokio::spawn(Arc::clone(&admin).keep_history());
    let running = serve(Scope::Admin, Arc::clone(&admin), drain);
    let mut stream = Stream::open(running.address).await;
    let (name, page) = stream.next().await.unwrap();
    assert_eq!(name, "page");
    assert_eq!((&page["interval_ms"], &page["samples"]), (&10_000.into(), &serde_json::json!([])));
    assert_eq!((&page["status"]["generation"], &page["status"]["state"]), (&3.into(), &"valid".into()));
    assert_eq!(page["upstream"], "https://api.passolution.eu");
    assert_eq!((&page["store"]["kind"], &page["store"]["shared"]), (&"file".into(), &false.into()));
    assert_eq!((&page["login"]["offered"], &page["login"]["why_not"]), (&false.into(), &"no-key".into()));
    assert_eq!(page["login"]["redirect_uri"], "http://127.0.0.1/callback");
    for list in ["refreshes", "problems"] {
        assert_eq!(page[list], serde_json::json!([]), "{list}");
    }

    // Nothing has changed, so the next event is the sample.
    let (name, sample) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), &sample["requests"]["2xx"], &sample["p50_ms"]), ("sample", &0.into(), &Value::Null));

    admin.reconfigure(Settings::of_tests(Some("key")));
    let (name, page) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), &page["login"]["offered"], page.get("samples")), ("page", &true.into(), None));

    let mut second = raw_events(running.address, "Authorization: Bearer key\r\n").await;
    let mut text = String::new();
    while !text.contains("\n\n") {
        text.push(char::from(second.read_u8().await.unwrap()));
    }
    assert!(text.contains(r#""samples":[{"at":"#), "{text}");
}

async fn raw_events(address: SocketAddr, fields: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("GET /events HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn there_are_at_most_eight_streams() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let mut streams = Vec::new();
    for _ in 0..MOST {
        streams.push(Stream::open(running.address).await);
    }
    // A stream would not end.
    assert_eq!(ask(running.address, "HEAD /events", "").await.0, 503);
    let (status, head, body) = ask(running.address, "GET /events", "").await;
    assert_eq!((status, json(&body)["type"].as_str()), (503, Some("urn:bearer-proxy:too-many-streams")));
    assert!(head.contains("retry-after: 5"), "{head}");
    // The place of one that was closed is free as soon as its end is seen.
    streams.pop();
    let reopened = async {
        while ask(running.address, "HEAD /events", "").await.0 == 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, reopened).await.unwrap();
}

/// A stream counts as an idle connection: it is closed for a new one.
#[tokio::test]
async fn a_stream_makes_room_for_a_new_connection() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let mut stream = Stream::open(running.address).await;
    stream.next().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..ADMIN_CONNECTIONS {
        others.push(TcpStream::connect(running.address).await.unwrap());
    }
    let ended = tokio::time::timeout(SOON, async { while stream.next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "the stream still occupies its connection");
    assert_eq!(ask(running.address, "GET /livez", "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_by_itself_before_its_connection_is_too_old() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let began = Instant::now();
    let mut stream = raw_events(running.address, "").await;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("connection: close\r\n"), "{text}");
    // The last chunk: the body is complete.
    assert!(text.ends_with("\r\n0\r\n\r\n"), "{text}");
    let lasted = began.elapsed();
    assert!(lasted >= Duration::from_secs(280) && lasted < Duration::from_secs(300), "{lasted:?}");
}

/// Not after the grace of responses in flight. The clock moves only if everything waits for it.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_listener_ends_streams_at_once() {
    let running = start(Scope::Admin, valid(), None, None).await;
    let mut stream = Stream::open(running.address).await;
    stream.next().await.unwrap();
    let began = Instant::now();
    running.stop.send(true).unwrap();
    assert_eq!(stream.next().await, None);
    running.task.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_stream_begins_while_the_proxy_drains() {
    let running = start(Scope::Admin, View { draining: true, ..valid() }, None, None).await;
    let (status, head, body) = ask(running.address, "GET /events", "").await;
    assert_eq!((status, json(&body)["type"].as_str()), (503, Some("urn:bearer-proxy:draining")));
    assert_eq!(json(&body)["grant"]["draining"], true);
    assert!(head.contains("retry-after: 1"), "{head}");
}
