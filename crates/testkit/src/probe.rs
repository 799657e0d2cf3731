//! Probes with a new connection each, like the kubelet's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::schedule::waits;

/// The time for the response to a probe, without waits for a processor.
pub const PROMPT: Duration = Duration::from_secs(1);

/// A bound for a test that fails, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// The status of a response, and the time that it took.
pub type Probed = std::io::Result<(u16, Duration)>;

/// Sends one probe.
///
/// The time does not include waits of this thread and of the main thread of process `pid` for a processor. Those depend on what else
/// the machine does.
pub fn probe(address: SocketAddr, pid: u32, path: &str, fields: &str) -> Probed {
    let (began, before) = (Instant::now(), waits(pid));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = String::from_utf8_lossy(&head[9..]).parse().unwrap();
    Ok((status, began.elapsed().saturating_sub(waits(pid).saturating_sub(before))))
}

/// Sends probes continuously.
pub struct Prober {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Probed>>>,
}

impl Prober {
    pub fn start(address: SocketAddr, pid: u32, path: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut probes = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    probes.push(probe(address, pid, path, ""));
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                probes
            }
        });
        Self { over, thread: Some(thread) }
    }

    /// The result of each probe since the start.
    pub fn end(mut self) -> Vec<Probed> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
