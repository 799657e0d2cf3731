use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::*;
use crate::config::NoProxy;
use crate::secret::Secret;
use crate::upstream::testing::{Authority509, LIMIT, direct};

/// Answers each connection's first request with `answer`. Keeps the heads of the requests.
async fn server(answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).await.unwrap();
            seen.lock().await.push(String::from_utf8_lossy(&head[..count]).into_owned());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, heads)
}

async fn get(client: &Client, url: &str) -> Result<Response, RequestError> {
    client.send(client.request(Method::GET, url.parse().unwrap()), 64, LIMIT).await
}

fn outbound_through(port: u16, no_proxy: &str) -> Outbound {
    let credentials = Some(Secret::new("user:canary"));
    let no_proxy = NoProxy::parse(no_proxy).0;
    Outbound { proxy: Some(OutboundProxy { host: "127.0.0.1".into(), port, credentials, no_proxy }), ..direct() }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_nothing_is_sent_twice() {
    let (port, heads) = server("HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n").await;
    let client = Client::new(&direct()).unwrap();
    let response = get(&client, &format!("http://127.0.0.1:{port}/here")).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.headers["location"]), (302, &HeaderValue::from_static("/other")));
    assert!(heads.lock().await[0].contains("user-agent: bearer-proxy/"));

    let (port, lost) = server("").await;
    let error = get(&client, &format!("http://127.0.0.1:{port}/?secret=canary")).await.unwrap_err();
    assert!(matches!(&error, RequestError::Broken(_)) && !error.to_string().contains("canary"), "{error:?}");
    assert_eq!((heads.lock().await.len(), lost.lock().await.len()), (1, 1));
}

#[tokio::test]
async fn a_response_has_a_limit() {
    let (port, _) = server("HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123x").await;
    let error = get(&Client::direct().unwrap(), &format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert_eq!(error, RequestError::Broken("the response is larger than 64 bytes".into()));
}

#[tokio::test]
async fn the_rule_of_this_program_decides_about_the_proxy() {
    let (port, heads) = server("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let client = Client::new(&outbound_through(port, "inside.test")).unwrap();
    let error = get(&client, "https://outside.test/path").await.unwrap_err();
    assert!(matches!(error, RequestError::Connect { .. }), "{error:?}");
    let head = heads.lock().await.pop().unwrap();
    assert!(head.starts_with("CONNECT outside.test:443 HTTP/1.1\r\n"), "{head}");
    // user:canary
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpjyw5hcnk="), "{head}");

    for direct in ["https://inside.test/", "https://localhost:1/", "https://127.0.0.1:1/"] {
        assert!(get(&client, direct).await.is_err(), "{direct}");
    }
    assert!(heads.lock().await.is_empty());
}

#[tokio::test]
async fn a_server_is_trusted_by_this_programs_anchors_and_found_by_its_lookups() {
    let (authority, stranger) = (Authority509::new(), Authority509::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = authority.acceptor("localhost", &["http/1.1"]);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(tcp).await?;
                let _ = stream.read(&mut [0; 4096]).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
            });
        }
    });
    let url = format!("https://localhost:{port}/");
    let response = get(&Client::new(&authority.outbound()).unwrap(), &url).await.unwrap();
    assert_eq!(response.body, "ok");
    let error = get(&Client::new(&stranger.outbound()).unwrap(), &url).await.unwrap_err();
    assert!(error.to_string().contains("certificate is not trusted"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_by_the_system() {
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = get(&Client::direct().unwrap(), &format!("http://{refused}/")).await.unwrap_err();
    assert!(matches!(&error, RequestError::Connect { kind: io::ErrorKind::ConnectionRefused, .. }), "{error:?}");
    assert_eq!(error.to_string(), "Connection refused (os error 111)");
    let error = get(&Client::unix(Path::new("/nowhere/admin.sock")).unwrap(), "http://localhost/").await.unwrap_err();
    assert!(matches!(error, RequestError::Connect { kind: io::ErrorKind::NotFound, .. }), "{error:?}");
    let error = get(&Client::direct().unwrap(), "http://absent.invalid/").await.unwrap_err();
    assert!(matches!(error, RequestError::Connect { .. }) && !error.to_string().contains("absent"), "{error:?}");
}
