//! Standard input, read by a thread of its own that can be ended at any time.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::keys::{Key, Keys};
use super::terminal::Raw;

/// What comes from standard input. Dropped, it discards the rest of a paste and restores the terminal.
#[derive(Debug)]
pub(super) struct Input {
    keys: Option<mpsc::UnboundedReceiver<Key>>,
    reader: Option<Reader>,
    /// Restored after the reader has ended.
    terminal: Option<Raw>,
}

#[derive(Debug)]
struct Reader {
    thread: JoinHandle<()>,
    stop: OwnedFd,
}

/// The rest of a paste comes without such a pause.
const QUIET: Duration = Duration::from_millis(100);
/// And is over after this.
const DRAIN: Duration = Duration::from_secs(1);

// === impl Input ===

impl Input {
    pub(super) fn open() -> Self {
        let terminal = Raw::enter();
        // A terminal that must not be touched is not read.
        if terminal.is_none() && io::IsTerminal::is_terminal(&io::stdin()) {
            return Self::none();
        }
        let (sender, keys) = mpsc::unbounded_channel();
        let reader = Reader::start(Keys::new(terminal.is_some()), sender).ok();
        Self { keys: Some(keys), reader, terminal }
    }

    /// Nothing ever comes.
    pub(super) fn none() -> Self {
        Self { keys: None, reader: None, terminal: None }
    }

    /// Whether a person can paste.
    pub(super) fn is_open(&self) -> bool {
        self.terminal.is_some()
    }

    /// Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Key {
        if let Some(keys) = &mut self.keys {
            if let Some(key) = keys.recv().await {
                return key;
            }
            self.keys = None;
        }
        std::future::pending().await
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(Reader { thread, stop }) = self.reader.take() {
            let _ = write(&stop, &1_u64.to_ne_bytes());
            let _ = thread.join();
        }
        self.terminal = None;
    }
}

// === impl Reader ===

impl Reader {
    fn start(keys: Keys, sender: mpsc::UnboundedSender<Key>) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let thread = thread::Builder::new().name("stdin".into()).spawn(move || run(keys, &sender, &stopped))?;
        Ok(Self { thread, stop })
    }
}

fn run(mut keys: Keys, sender: &mpsc::UnboundedSender<Key>, stop: &OwnedFd) {
    let stdin = io::stdin();
    let mut chunk = Zeroizing::new([0_u8; 4096]);
    loop {
        let mut both = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut both, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => break,
        }
        let [input, stopped] = both.map(|fd| !fd.revents().is_empty());
        if stopped {
            return drain(&mut keys, &mut chunk);
        }
        if !input {
            continue;
        }
        match read(&stdin, &mut *chunk) {
            Ok(0) => break,
            Ok(count) => keys.feed(chunk.get(..count).unwrap_or_default(), |key| drop(sender.send(key))),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    keys.end(|key| drop(sender.send(key)));
}

/// Reads the rest of a paste that has begun, so that no shell gets it.
fn drain(keys: &mut Keys, chunk: &mut Zeroizing<[u8; 4096]>) {
    let stdin = io::stdin();
    let until = Instant::now() + DRAIN;
    while keys.is_within() && Instant::now() < until {
        let Ok(quiet) = Timespec::try_from(QUIET) else { return };
        let mut input = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut input, Some(&quiet)) {
            Ok(0) | Err(_) => return,
            Ok(_) => match read(&stdin, &mut **chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => keys.feed(chunk.get(..count).unwrap_or_default(), drop),
            },
        }
    }
}
