//! Unusual responses of token endpoints, through the program's own call, journal and store, over a real socket.
//!
//! Each row states the outcome of the refresh and the refresh token that the store holds afterwards. **No response that contains a
//! successor loses it.**

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test's own code, and its figures")]

mod bodies;
mod encodings;
mod framing;

use std::sync::Arc;
use std::time::Duration;

use bearer_proxy::internals::clock::Clock;
use bearer_proxy::internals::config::{
    AmbiguousRetry, ClientAuth, Outbound, StoreConfig, StoreKindConfig, TokenEndpoint, TokenFormat,
};
use bearer_proxy::internals::token::TokenMetrics;
use bearer_proxy::internals::token::endpoint::Endpoint;
use bearer_proxy::internals::token::journal::{
    Journal, Kind, PreparedStore, Renewed, Rotation, Settings, TokenSource, Uncommitted,
};
use bearer_proxy::internals::token::store::{Binding, Expect, Record, Store};
use bearer_proxy::internals::token::{Access, AccessToken, Generation, RefreshOutcome, RefreshToken, Trigger};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const NEW_ACCESS: &str = "new-access-0123456789";
const NEW_REFRESH: &str = "new-refresh-0123456789";
const OLD_ACCESS: &str = "old-access-0123456789";
const OLD_REFRESH: &str = "old-refresh-0123456789";

/// A response and its required outcome.
struct Row {
    name: String,
    /// All bytes that the server sends before it closes the connection.
    response: Vec<u8>,
    outcome: RefreshOutcome,
    /// The refresh token that the store must hold afterwards.
    stored: String,
    /// Whether the server keeps the connection open.
    stays_open: bool,
}

#[tokio::test]
async fn no_response_that_contains_a_successor_loses_it() {
    let rows: Vec<Row> = [bodies::rows(), framing::rows(), encodings::rows()].into_iter().flatten().collect();
    println!("{} responses", rows.len());
    assert!(rows.len() >= 200, "{}", rows.len());
    let wrong: Vec<String> = futures_util::stream::iter(rows.iter().map(judged))
        .buffer_unordered(8)
        .filter_map(|wrong| async { wrong })
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} of {} responses:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Returns what differs from the row. `None`: nothing.
async fn judged(row: &Row) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let address = served(row.response.clone(), row.stays_open).await;
    let journal = journal(&format!("http://{address}/token"), folder.path()).await;
    let rotation = journal.rotate(None, TokenSource::Stored, Trigger::Scheduled, &Uncommitted::default()).await;
    let (outcome, error) = match rotation {
        Rotation::Renewed(Renewed { failure: None, unpersisted: None, .. }) => (RefreshOutcome::Ok, String::new()),
        Rotation::Renewed(Renewed { failure: Some(failure), unpersisted: None, .. }) => {
            (failure.outcome, failure.error)
        }
        Rotation::Failed(failure, _) => (failure.outcome, failure.error),
        other => return Some(format!("{}: {other:?}", row.name)),
    };
    // As another process reads it.
    let stored = store(folder.path()).await.load().await.unwrap().unwrap();
    let refresh = stored.refresh.as_ref().unwrap().secret().expose();
    let access = stored.access.as_ref().unwrap().token.secret().expose();
    let new = outcome == RefreshOutcome::Ok;
    let generation = if new || row.stored != OLD_REFRESH { 4 } else { 3 };
    let wanted_access = if new { NEW_ACCESS } else { OLD_ACCESS };
    let leaks = [NEW_ACCESS, NEW_REFRESH, OLD_REFRESH].into_iter().any(|token| error.contains(token));
    let last = stored.last_refresh.as_ref().map(|last| last.outcome);
    let right = outcome == row.outcome
        && refresh == row.stored
        && access == wanted_access
        && stored.generation == Generation(generation)
        && last == Some(outcome)
        && (stored.needs_login.is_some() == (outcome == RefreshOutcome::Rejected))
        && !leaks;
    (!right).then(|| {
        format!(
            "{}: {outcome:?} {refresh} {access} generation {} ({error}); expected {:?} {} {wanted_access}",
            row.name, stored.generation, row.outcome, row.stored
        )
    })
}

/// A server that answers one request with these bytes.
async fn served(response: Vec<u8>, stays_open: bool) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.windows(9).any(|word| word == b"client_id") {
            if matches!(stream.read_buf(&mut read).await, Ok(0) | Err(_)) {
                return;
            }
        }
        // The client may have closed the connection.
        let _ = stream.write_all(&response).await;
        if stays_open {
            let _ = stream.read(&mut [0; 64]).await;
        }
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut [0; 64]).await;
    });
    address
}

async fn store(folder: &std::path::Path) -> Store {
    let kind = StoreKindConfig::File { path: folder.join("grant.json") };
    Store::open(&StoreConfig { kind, keys: Vec::new() }, None).await.unwrap()
}

async fn journal(url: &str, folder: &std::path::Path) -> Journal {
    let binding = Binding { token_url: url.into(), client_id: "7".into(), upstream_origin: "u".into() };
    let request_timeout = Duration::from_secs(5);
    let config = TokenEndpoint {
        url: url.parse().unwrap(),
        client_id: "7".into(),
        client_secret: None,
        format: TokenFormat::Form,
        client_auth: ClientAuth::Body,
        headers: http::HeaderMap::new(),
        redirect_uri_on_refresh: None,
        scope: None,
        scope_on_refresh: false,
        parameters: Vec::new(),
        request_timeout,
        ambiguous_retry: AmbiguousRetry::Once,
    };
    let now = jiff::Timestamp::now();
    let record = Record {
        generation: Generation(3),
        access: Some(Access {
            token: AccessToken::parse(OLD_ACCESS).unwrap(),
            obtained_at: now,
            // Expired, so the stored refresh token is presented.
            expires_at: Some(now),
        }),
        refresh: Some(RefreshToken::parse(OLD_REFRESH).unwrap()),
        ..Record::empty(binding.clone())
    };
    let store = store(folder).await;
    store.write(Expect { version: None, fence: None }, &record).await.unwrap();
    let settings = Settings {
        kind: Kind::RefreshToken { initial: None },
        binding,
        request_timeout,
        ambiguous_retry: AmbiguousRetry::Once,
        default_lifetime: Duration::from_secs(3600),
    };
    Journal {
        store: PreparedStore::new(store),
        endpoint: Endpoint::new(config, &Outbound { ca_file: None, proxy: None }).unwrap(),
        settings,
        clock: Clock::system(),
        metrics: TokenMetrics::default(),
        owner: "test".into(),
        stopping: Arc::default(),
    }
}

// === impl Row ===

impl Row {
    fn new(name: &str, outcome: RefreshOutcome, stored: &str, response: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), response: response.into(), outcome, stored: stored.to_owned(), stays_open: false }
    }
}

/// A complete response, as most servers send it.
fn http(status: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut response =
        format!("HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes();
    response.extend_from_slice(body);
    response
}

fn filled(text: &str) -> String {
    text.replace("@A", NEW_ACCESS).replace("@R", NEW_REFRESH).replace("@P", OLD_REFRESH)
}
