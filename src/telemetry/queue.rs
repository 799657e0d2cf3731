//! A bounded queue before standard error, and a thread that writes.
//!
//! A write to standard error blocks while its reader (the log driver of a container, a paused terminal) does not read. A waiting
//! worker serves no requests, so a full disk elsewhere would stop the API. If the queue is full, a line is dropped. The number of
//! dropped lines is logged as soon as lines can be written again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing_subscriber::fmt::MakeWriter;

use super::repeats::{Repeats, Verdict};

/// Maximum number of lines. A line has some hundred bytes, and a full queue about a megabyte.
const CAPACITY: usize = 4096;

/// How long [`Queue::flush`] waits for the reader.
const PATIENCE: Duration = Duration::from_secs(1);

/// Accepts whole lines, and never waits.
#[derive(Clone)]
pub(super) struct Queue {
    sender: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

enum Item {
    Line(Vec<u8>),
    /// The sender is dropped when all lines before it are written.
    Flush(SyncSender<()>),
}

// === impl Queue ===

impl Queue {
    pub(super) fn start(out: impl Write + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(CAPACITY);
        let dropped = Arc::<AtomicU64>::default();
        let queue = Self { sender, dropped: Arc::clone(&dropped) };
        // Without the thread, nothing is logged, and the proxy runs.
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&receiver, &dropped, out));
        queue
    }

    /// Waits until all lines so far are written, at most one second.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(0);
        let deadline = Instant::now() + PATIENCE;
        let mut item = Item::Flush(done);
        while let Err(TrySendError::Full(back)) = self.sender.try_send(item) {
            if Instant::now() >= deadline {
                return;
            }
            item = back;
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn write_lines(receiver: &Receiver<Item>, dropped: &AtomicU64, mut out: impl Write) {
    let mut repeats = Repeats::default();
    // A failed write cannot be reported: standard error is closed, or its disk is full.
    for item in receiver {
        match item {
            Item::Line(line) => {
                if let Verdict::Write { suppressed } = repeats.judge(&line, Instant::now()) {
                    if suppressed > 0 {
                        notice(
                            &mut out,
                            "the next line was logged more often than it was written",
                            "suppressed",
                            suppressed,
                        );
                    }
                    let _ = out.write_all(&line);
                }
            }
            Item::Flush(done) => {
                let _ = out.flush();
                drop(done);
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            notice(&mut out, "log lines were dropped: standard error is read too slowly", "lost", lost);
        }
    }
}

/// A line about the log itself. It is JSON in both formats: people can read that too.
fn notice(out: &mut impl Write, message: &str, field: &str, count: u64) {
    let now = Timestamp::now();
    let _ = writeln!(out, r#"{{"timestamp":"{now:.3}","level":"WARN","message":"{message}","{field}":{count}}}"#);
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Item::Line(line.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Queue {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    /// A reader that does not read until `until` gets a message.
    struct Stuck {
        until: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Ends for good once the sender is dropped.
            let _ = self.until.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_loses_lines_and_holds_nobody_up() {
        let (go, until) = channel::<()>();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let queue = Queue::start(Stuck { until, written: Arc::clone(&written) });
        // One line may be in the writer's hands.
        for n in 0..CAPACITY + 11 {
            (&queue).write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        let lost = queue.dropped.load(Ordering::Relaxed);
        assert!((10..=11).contains(&lost), "{lost}");

        drop(go);
        queue.flush();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("line 0\n"));
        assert!(text.contains(&format!("line {}\n", CAPACITY - 1)));
        assert!(text.contains(&format!("\"lost\":{lost}}}\n")), "{}", text.lines().last().unwrap());
    }
}
