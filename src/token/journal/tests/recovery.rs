//! A process that finds a grant, and possibly the intent of a dead process, presents exactly that token or none. This holds for any
//! record, in the plan and on the wire.

use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::*;
use crate::config::{AmbiguousRetry, ClientAuth, Outbound, StoreConfig, StoreKindConfig, TokenEndpoint, TokenFormat};
use crate::token::RefreshToken;
use crate::token::store::{Binding, Store, records};

/// A token endpoint that never answers clearly, and what was presented to it.
struct Server {
    url: url::Url,
    presented: Arc<Mutex<Vec<String>>>,
}

/// What a process finds.
#[derive(Clone, Debug)]
struct Found {
    record: Record,
    policy: AmbiguousRetry,
    /// Whether the configuration names the server of the grant.
    is_ours: bool,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap();
        let presented = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&presented);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while stream.read_buf(&mut request).await.unwrap_or(0) > 0 {
                    let Some(body) = body(&request) else { continue };
                    let fields: serde_json::Value = serde_json::from_slice(body).unwrap();
                    seen.lock().unwrap().push(fields["refresh_token"].as_str().unwrap().to_owned());
                    let answer =
                        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                    break;
                }
            }
        });
        Self { url, presented }
    }

    fn journal(&self, found: &Found, store: Store) -> Journal {
        let config = TokenEndpoint {
            url: self.url.clone(),
            client_id: "7".into(),
            client_secret: None,
            format: TokenFormat::Json,
            client_auth: ClientAuth::Body,
            headers: http::HeaderMap::new(),
            redirect_uri_on_refresh: None,
            scope: None,
            scope_on_refresh: false,
            parameters: Vec::new(),
            request_timeout: Duration::from_secs(10),
            ambiguous_retry: found.policy,
        };
        Journal {
            store: PreparedStore::new(store),
            endpoint: Endpoint::new(config, &Outbound { ca_file: None, proxy: None }).unwrap(),
            settings: settings(found),
            clock: Clock::system(),
            metrics: TokenMetrics::default(),
            owner: "the new one".into(),
            stopping: Arc::default(),
        }
    }
}

/// Reads the whole body.
fn body(request: &[u8]) -> Option<&[u8]> {
    let end = request.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&request[..end]).unwrap().to_ascii_lowercase();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().unwrap();
    request[end + 4..].get(..length)
}

fn settings(found: &Found) -> Settings {
    let binding = match found.is_ours {
        true => found.record.binding.clone(),
        false => Binding {
            client_id: format!("{}, another", found.record.binding.client_id),
            ..found.record.binding.clone()
        },
    };
    Settings {
        kind: Kind::RefreshToken { initial: None },
        binding,
        request_timeout: Duration::from_secs(10),
        ambiguous_retry: found.policy,
        default_lifetime: Duration::from_secs(3600),
    }
}

/// Any record. Most have an intent for their own token, as after a process that died in a call.
fn found() -> impl Strategy<Value = Found> {
    let policies = [AmbiguousRetry::UntilClear, AmbiguousRetry::Once, AmbiguousRetry::Never];
    let policy = prop::sample::select(policies.to_vec());
    (records(), policy, prop::bool::weighted(0.8), prop::bool::weighted(0.3), prop::option::weighted(0.7, 1..4_u32))
        .prop_map(|(mut record, policy, is_ours, is_over, presented)| {
            // Three of ten need a login.
            record.needs_login = record.needs_login.filter(|_| is_over);
            if let (Some(token), Some(presented)) = (&record.refresh, presented) {
                let fingerprint = token.fingerprint();
                record.intent =
                    Some(Intent { owner: "gone".into(), at: jiff::Timestamp::UNIX_EPOCH, fingerprint, presented });
            }
            Found { record, policy, is_ours }
        })
}

/// The token that may be presented according to `oauth.ambiguous_retry`.
fn expected(found: &Found) -> Option<&RefreshToken> {
    let Found { record, policy, is_ours } = found;
    let token = record.refresh.as_ref()?;
    let intent = record.intent.as_ref().filter(|intent| intent.fingerprint == token.fingerprint());
    let ambiguous = intent.map_or(0, |intent| intent.presented);
    let allowed = match policy {
        AmbiguousRetry::UntilClear => true,
        AmbiguousRetry::Once => ambiguous < 2,
        AmbiguousRetry::Never => ambiguous == 0,
    };
    (*is_ours && record.needs_login.is_none() && allowed).then_some(token)
}

proptest! {
    #[test]
    fn a_plan_presents_the_committed_grants_token_or_none(found in found()) {
        match plan(&settings(&found), Some(&found.record)) {
            Plan::Present { token, .. } => prop_assert_eq!(token.as_ref(), expected(&found)),
            Plan::NeedsLogin(_) => prop_assert_eq!(None, expected(&found)),
        }
    }
}

/// The whole path: a file, a new process, a presentation, and a higher count in the intent.
async fn recovered(server: &Server, found: Found) {
    let folder = tempfile::tempdir().unwrap();
    let kind = StoreKindConfig::File { path: folder.path().join("grant.json") };
    let config = StoreConfig { kind, keys: Vec::new() };
    let open = async || Store::open(&config, None).await.unwrap();
    let written = open().await.write(Expect { version: None, fence: None }, &found.record).await.unwrap();
    assert!(matches!(written, Written::Done), "{written:?}");

    let journal = server.journal(&found, open().await);
    let known = Some(found.record.version());
    journal.rotate(known, TokenSource::Stored, Trigger::Startup, &Uncommitted::default()).await;
    let presented = std::mem::take(&mut *server.presented.lock().unwrap());
    let allowed = expected(&found);
    assert_eq!(presented, Vec::from_iter(allowed.map(|token| token.secret().expose().to_owned())));

    let after = open().await.load().await.unwrap().unwrap();
    let Record { generation, access, refresh, .. } = &found.record;
    assert_eq!((&after.generation, &after.access, &after.refresh), (generation, access, refresh), "the grant stays");
    match allowed {
        None => assert_eq!(after, found.record, "who presents nothing writes nothing"),
        Some(token) => {
            let intent = after.intent.unwrap();
            let before = found.record.intent.as_ref().filter(|intent| intent.fingerprint == token.fingerprint());
            let count = before.map_or(0, |intent| intent.presented).saturating_add(1);
            assert_eq!((intent.fingerprint, intent.presented), (token.fingerprint(), count));
        }
    }
}

#[test]
fn a_new_process_presents_the_committed_grants_token_or_none() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::start());
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&found(), |found| {
        runtime.block_on(recovered(&server, found));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
