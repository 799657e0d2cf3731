use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use super::*;

/// The allocator of the program: another one would count its own fragmentation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 2000;

/// Maximum resident memory of a connection between requests, in KiB.
const BUDGET: usize = 16;

/// Resident memory of a process, in KiB.
fn resident(process: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn an_idle_connection_costs_less_than_its_budget() {
    // A separate process, so that the memory of the clients is not counted.
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "downstream::tests::memory::serve_until_standard_input_ends"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = output
        .find_map(|line| line.unwrap().split_once("listening on ").map(|(_, address)| address.to_owned()))
        .unwrap();

    // The first connections also allocate memory that later ones share.
    let mut clients = Vec::new();
    let mut before = 0;
    for index in 0..CONNECTIONS + 100 {
        if index == 100 {
            before = resident(&server);
        }
        let mut client = within(TcpStream::connect(&address)).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nuser-agent: test\r\naccept: */*\r\n\r\n");
        send(&mut client, request).await;
        assert!(response(&mut client).await.ends_with("ok"));
        clients.push(client);
    }
    let each = (resident(&server) - before) as f64 / CONNECTIONS as f64;
    println!("{each:.1} KiB for each of {CONNECTIONS} idle connections");
    drop(server.stdin.take());
    output.for_each(drop);
    server.wait().unwrap();
    assert!(each < BUDGET as f64, "{each:.1} KiB");
}

#[tokio::test]
#[ignore = "the process that an_idle_connection_costs_less_than_its_budget measures"]
async fn serve_until_standard_input_ends() {
    let proxy = Fixture::new(Limits { max_connections: 20_000, ..limits() });
    println!("listening on {}", proxy.address);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}
