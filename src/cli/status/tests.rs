use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::cli::tests::{config, nobody, proxy, valid};
use crate::token::import::{Damaged, NewGrant};
use crate::token::journal::Settings;
use crate::token::live::View;
use crate::token::store::LastRefresh;
use crate::token::{Access, AccessToken, Generation, Lineage, RefreshOutcome, RefreshToken, Trigger};

const JSON: Options = Options { json: true, watch: false };
const TEXT: Options = Options { json: false, watch: false };

async fn stored(config: &Config, expires_at: Timestamp) {
    let store = Store::open(&config.store, None).await.unwrap();
    let token = AccessToken::parse("canary-access").unwrap();
    let access = Some(Access { token, obtained_at: Timestamp::UNIX_EPOCH, expires_at: Some(expires_at) });
    let lineage = Lineage::random().unwrap();
    let refresh = RefreshToken::parse("canary-refresh").unwrap();
    let grant = NewGrant { lineage, refresh, access, awaited: false };
    let settings = Settings::new(config, config.oauth.grant.endpoint().unwrap()).unwrap();
    grant.store(&store, &settings.binding, Damaged::Leave, Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn a_running_proxy_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _stop) = proxy(valid(), None, None).await;
    let config = config(folder.path(), &address.to_string(), &[]);
    let outcome = run(&config, &JSON).await.unwrap();
    let status: Status = serde_json::from_str(&outcome.text).unwrap();
    assert_eq!((status.state, status.generation, outcome.exit), (State::Valid, Generation(3), Exit::Done));
    let outcome = run(&config, &TEXT).await.unwrap();
    assert!(outcome.text.contains("proxy         running"), "{}", outcome.text);
}

#[tokio::test]
async fn without_a_proxy_the_store_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &nobody(), &[]);
    let outcome = run(&config, &JSON).await.unwrap();
    let status: Status = serde_json::from_str(&outcome.text).unwrap();
    assert_eq!((status.state, outcome.exit), (State::NeedsLogin, Exit::NeedsLogin));

    stored(&config, Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365)).await;
    let outcome = run(&config, &TEXT).await.unwrap();
    assert_eq!(outcome.exit, Exit::Done);
    assert!(outcome.text.starts_with("state         valid\n"), "{}", outcome.text);
    assert!(outcome.text.contains("source        the store: no proxy runs at 127.0.0.1:"), "{}", outcome.text);
    assert!(!outcome.text.contains("canary"), "{}", outcome.text);

    stored(&config, Timestamp::now()).await;
    assert_eq!(run(&config, &TEXT).await.unwrap().exit, Exit::Failed);
}

#[tokio::test]
async fn a_grant_that_needs_a_login_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let view = View { needs_login: Some("refused: log in again".into()), ..valid() };
    let (address, _stop) = proxy(view, None, None).await;
    let outcome = run(&config(folder.path(), &address.to_string(), &[]), &TEXT).await.unwrap();
    assert_eq!(outcome.exit, Exit::NeedsLogin);
    assert!(outcome.text.contains("to do         refused: log in again\n"), "{}", outcome.text);
}

#[tokio::test]
async fn what_lives_in_memory_is_known_to_the_proxy_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grant.json").display().to_string();
    let environment = [
        ("BEARER_PROXY_OAUTH__GRANT", "client_credentials"),
        ("BEARER_PROXY_OAUTH__CLIENT_ID", "7"),
        ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "s"),
        ("BEARER_PROXY_ADMIN__LISTEN", "off"),
    ];
    let config = Config::load(&crate::config::Sources::new(None, environment)).unwrap().config;
    let failure = run(&config, &TEXT).await.unwrap_err();
    assert!(failure.exit == Exit::Failed && failure.text.contains("memory"), "{failure}");
    assert!(!std::path::Path::new(&path).exists());
}

#[tokio::test]
async fn another_program_at_that_address_is_not_mistaken_for_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").await;
        }
    });
    let failure = run(&config(folder.path(), &address, &[]), &TEXT).await.unwrap_err();
    assert!(failure.text.starts_with("the answer at admin.listen is not from a bearer-proxy"), "{failure}");
}

#[test]
fn a_person_reads_times_as_distances_and_no_control_characters() {
    let now: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
    let status = Status {
        state: State::Expiring,
        grant: "refresh_token".into(),
        profile: "passolution".into(),
        generation: Generation(3),
        obtained_at: Some("2026-11-21T02:00:00Z".parse().unwrap()),
        expires_at: Some("2026-11-22T02:30:10Z".parse().unwrap()),
        refresh_at: Some("2026-11-22T02:00:00Z".parse().unwrap()),
        retry_at: None,
        retrying: None,
        refused_at: None,
        last_refresh: Some(LastRefresh {
            at: "2026-11-22T01:59:58Z".parse().unwrap(),
            trigger: Trigger::Scheduled,
            outcome: RefreshOutcome::Transient,
            duration_ms: 212,
            error: Some("HTTP 503\u{1b}[2J\nstate: valid".into()),
        }),
        persisted: false,
        store: "file".into(),
        draining: true,
        version: "0.1.0".into(),
        reason: None,
    };
    let expected = "\
state         expiring
grant         refresh_token, profile passolution, generation 3
obtained      2026-11-21T02:00:00Z (1d ago)
expires       2026-11-22T02:30:10Z (in 30m 10s)
refresh       2026-11-22T02:00:00Z (now)
last refresh  2026-11-22T01:59:58Z (2s ago), scheduled, transient, 212 ms: HTTP 503 [2J state: valid
store         file, which has not taken the newest token yet
proxy         running, version 0.1.0, draining
";
    assert_eq!(human(&status, true, now), expected);
}

#[test]
fn a_time_that_has_passed_is_not_in_the_future() {
    let now: Timestamp = "2026-11-22T02:00:00.100Z".parse().unwrap();
    for (at, expected) in [
        ("2026-11-22T01:59:59.900Z", "2026-11-22T01:59:59Z (1s ago)"),
        ("2026-11-22T02:00:00.050Z", "2026-11-22T02:00:00Z (now)"),
        ("2026-11-22T02:00:00.900Z", "2026-11-22T02:00:00Z (now)"),
        ("2026-11-22T02:00:01.000Z", "2026-11-22T02:00:01Z (in 1s)"),
    ] {
        assert_eq!(moment(at.parse().unwrap(), now), expected, "{at}");
    }
}

#[test]
fn a_span_has_its_two_largest_units() {
    for (seconds, expected) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (3_661, "1h 1m"),
        (86_400, "1d"),
        (31_536_000 - 1, "364d 23h"),
        (86_401, "1d 1s"),
    ] {
        assert_eq!(span(seconds), expected);
    }
}
