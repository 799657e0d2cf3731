//! `demo --once` takes less than 15 s, and its summary agrees with the server's ledger. The command that `demo` prints works.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use testkit::{Client, output, program};

#[tokio::test]
async fn once_shows_every_step_and_ends() {
    let began = Instant::now();
    let mut command = Command::new(program());
    command.args(["demo", "--once"]).env_clear();
    let (status, out, err) = output(command).await;
    assert!(status.success(), "{out}\n{err}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(out.contains("all 6 steps ok"), "{out}");
    assert!(!out.contains("FAIL"), "{out}");
}

#[tokio::test]
async fn it_goes_on_and_the_printed_line_works() {
    let mut command = Command::new(program());
    command
        .arg("demo")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().expect("the demo ended");
        if let Some((_, rest)) = line.split_once("curl http://")
            && let Some((address, "api/v2/countries")) = rest.trim().split_once('/')
        {
            break address.parse().unwrap();
        }
    };
    let answer = Client::http1(address).await.get("/api/v2/countries").await;
    assert_eq!(answer.status, http::StatusCode::OK);
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
