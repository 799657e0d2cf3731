//! A proxy that runs next to `login` adopts the grant within a second.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use simulator::{Options, Simulator};

use crate::program::Setup;
use crate::{Stdin, browser};

#[tokio::test]
async fn within_a_second() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Setup::new(&simulator);
    let mut proxy = setup.command(&["serve"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(proxy.stderr.take().unwrap());
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let address = loop {
        let line: serde_json::Value = serde_json::from_str(&lines.recv().await.unwrap()).unwrap();
        let fields = line.get("fields").unwrap_or(&line).clone();
        if fields["message"] == "listening" {
            break fields["address"].as_str().unwrap().to_owned();
        }
    };
    let url = format!("http://{address}/api/v2/version").parse().unwrap();

    let mut login = setup.login(Stdin::Closed, &[]);
    let back = browser::redirect(&login.url().await).await;
    assert_eq!(browser::open(&back).await.status, 200);
    let began = Instant::now();
    assert_eq!(login.ended().await.code, 0);
    // Without a grant, requests are refused at once. The store is looked at each second; the rest of the bound is this machine's.
    while browser::open(&url).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}
