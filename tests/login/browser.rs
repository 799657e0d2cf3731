//! The person's browser: one request a connection, and redirects that are followed by hand.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

/// A response.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: String,
}

pub async fn open(url: &Url) -> Page {
    let host = url.host_str().unwrap().trim_matches(['[', ']']);
    let mut stream = TcpStream::connect((host, url.port().unwrap())).await.unwrap();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let request = format!(
        "GET {}{query} HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nConnection: close\r\n\r\n",
        url.path(),
        url.authority()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    let response = String::from_utf8(response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {response:?}"));
    Page { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

/// Where the server sends the browser.
pub async fn redirect(url: &Url) -> Url {
    let page = open(url).await;
    assert_eq!(page.status, 302, "{page:?}");
    let location = page.head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location").then(|| value.parse().unwrap())
    });
    location.unwrap()
}
