//! The tool slowhttptest, which attacks a server with slow clients.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// A run of the tool.
pub struct SlowHttpTest {
    mode: &'static str,
    child: Child,
}

/// Panics with advice if the tool is missing.
pub async fn needed() {
    let found = Command::new("slowhttptest").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    assert!(found.is_ok(), "slowhttptest is missing: apt-get install slowhttptest");
}

impl SlowHttpTest {
    /// Opens connections in this mode (`-H`, `-B`, `-X`) to this path, 100 a second. They last until the server ends them, or for
    /// the given seconds.
    pub fn start(mode: &'static str, address: SocketAddr, path: &str, count: u32, seconds: u64) -> Self {
        // Its clients would be on other machines. A low priority keeps it from delaying the measured clients.
        let mut command = Command::new("nice");
        command
            .args(["-n", "19", "slowhttptest"])
            .args([mode, "-c", &count.to_string(), "-r", "100", "-l", &seconds.to_string()])
            .args(["-u", &format!("http://{address}{path}")])
            .args(options(mode))
            .stdin(Stdio::null())
            .stdout(if mode == "-X" { Stdio::null() } else { Stdio::piped() })
            .stderr(Stdio::null())
            .kill_on_drop(true);
        Self { mode, child: command.spawn().unwrap() }
    }

    /// The tool's output when it had no connection left.
    ///
    /// Not for `-X`, which continues to read the rest of ended connections at five bytes a second.
    pub async fn ended(mut self) -> String {
        let mut text = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_to_string(&mut text).await.unwrap();
        self.child.wait().await.unwrap();
        format!("{}: {}", self.mode, verdict(&text))
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// How many connections to or from this port the kernel has (`/proc/net/tcp`): what is closed and still holds data among them,
/// TIME-WAIT and the listener not.
pub fn connections(port: u16) -> usize {
    const TIME_WAIT: &str = "06";
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| ![TIME_WAIT, LISTEN].contains(&row[3]) && row[1..3].iter().any(|end| end.ends_with(&port)))
        .count()
}

fn options(mode: &str) -> &'static [&'static str] {
    match mode {
        // One line of a head each second. The head never ends.
        "-H" => &["-i", "1"],
        // One piece of a body, then nothing for longer than any limit.
        "-B" => &["-s", "8192", "-i", "200"],
        // Five bytes each second, with a small window.
        "-X" => &["-w", "512", "-y", "1024", "-n", "1", "-z", "5"],
        _ => panic!("no such mode: {mode}"),
    }
}

/// The line in which the tool says why it ended.
fn verdict(text: &str) -> String {
    let line = text.lines().rev().find(|line| line.contains("Exit status") || line.contains("exit status"));
    line.unwrap_or("it did not say").trim().to_owned()
}
