use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::UnixStream;

use super::*;

#[tokio::test]
async fn four_connections_are_shared_by_two_workers() {
    let proxy = Fixture::new(limits());
    let mut clients = Vec::new();
    let mut workers = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.connect().await;
        workers.push(ask(&mut client, "/worker").await.chars().last().unwrap());
        clients.push(client);
    }
    workers.sort_unstable();
    assert_eq!(workers, ['0', '0', '1', '1']);
    assert_eq!(proxy.running().connections().count(), 4);
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let mut proxy = Fixture::new(Limits { max_connections: 1, ..limits() });
    let mut first = proxy.connect_and_ask().await;
    let mut second = proxy.connect().await;
    send(&mut second, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // Enough time for the server to accept the connection, if it would.
    for _ in 0..100 {
        ask(&mut first, "/").await;
    }
    for _ in 0..101 {
        assert_eq!(proxy.event().await, Event::Arrived);
    }
    assert!(proxy.events.try_recv().is_err());
    assert_eq!(proxy.running().connections().count(), 1);

    drop(first);
    assert!(response(&mut second).await.ends_with("ok"));
}

#[tokio::test]
async fn a_raised_limit_lets_the_waiting_in() {
    let proxy = Fixture::new(Limits { max_connections: 1, ..limits() });
    let _first = proxy.connect_and_ask().await;
    let mut second = proxy.connect().await;
    send(&mut second, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.running().set_limits(Limits { max_connections: 2, ..limits() });
    assert!(response(&mut second).await.ends_with("ok"));
}

#[tokio::test]
async fn changed_limits_are_those_of_new_connections() {
    let proxy = Fixture::new(limits());
    let mut old = proxy.connect_and_ask().await;
    proxy.running().set_limits(Limits { idle_timeout: Duration::from_millis(50), ..limits() });
    let mut new = proxy.connect_and_ask().await;
    time_until_closed(&mut new).await;
    assert!(ask(&mut old, "/").await.ends_with("ok"));
}

/// A worker that batches events has a timer slack of 1 ns instead of the usual 50 µs.
#[tokio::test]
async fn events_are_batched_unless_the_configuration_says_no() {
    for (batches, expected) in [(true, true), (false, false)] {
        let listen = [ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())];
        let mut server = Server::bind_with(&listen, 0o660, None, limits()).unwrap();
        server.event_batching = batches;
        let (seen, slack) = std::sync::mpsc::channel();
        let make = move || {
            seen.send(rustix::thread::current_timer_slack().unwrap()).unwrap();
            Answers(App::new().0)
        };
        let _running = server.start(NonZeroUsize::MIN, make).unwrap();
        assert_eq!(slack.recv().unwrap() == 1, expected);
    }
}

#[tokio::test]
async fn a_unix_socket_serves_beside_tcp_and_is_removed_by_the_drain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.sock");
    let listen = [ListenAddress::Unix(path.clone()), ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())];
    let server = Server::bind_with(&listen, 0o600, None, limits()).unwrap();
    let ListenAddress::Tcp(address) = server.local_addresses()[1] else { panic!() };
    let (app, _events) = App::new();
    let running = server.start(NonZeroUsize::new(2).unwrap(), service(app)).unwrap();

    for _ in 0..2 {
        let mut unix = UnixStream::connect(&path).await.unwrap();
        assert!(ask(&mut unix, "/").await.ends_with("ok"));
        let mut tcp = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut tcp, "/").await.ends_with("ok"));
    }
    within(running.drain(Duration::from_secs(10))).await;
    assert!(!path.exists());
}

#[test]
fn the_server_outlives_a_lack_of_file_descriptors() {
    // A separate process: the limit belongs to the process, and other tests need theirs.
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "downstream::tests::accept::without_file_descriptors"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<_> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{lines:#?}");
    let warnings = lines.iter().filter(|line| line.contains("cannot accept connections")).count();
    assert_eq!(warnings, 1, "{lines:#?}");
}

#[tokio::test]
#[ignore = "lowers the limit of its process: the_server_outlives_a_lack_of_file_descriptors runs it"]
async fn without_file_descriptors() {
    tracing_subscriber::fmt().with_writer(std::io::stdout).with_max_level(tracing::Level::WARN).init();
    let proxy = Fixture::new(limits());
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).unwrap();
    let mut open = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        open.push(file);
    }
    for _ in 0..3 {
        // One descriptor for the client, none for the server.
        open.pop();
        let mut client = proxy.connect().await;
        send(&mut client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(proxy.running().connections().count(), 0);
        open.pop();
        assert!(response(&mut client).await.ends_with("ok"));
        drop(client);
        within(proxy.running().connections().at_most(|| 0)).await;
        while let Ok(file) = std::fs::File::open("/dev/null") {
            open.push(file);
        }
    }
}
