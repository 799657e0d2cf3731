//! Standard input, read by a thread of its own that can be ended at any time. A terminal is in raw mode meanwhile.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::keys::{Key, Keys};
use super::raw::Raw;

/// What comes from standard input. Dropped, it discards the rest of a paste and restores the terminal.
#[derive(Debug)]
pub(in crate::cli) struct Input {
    keys: Option<mpsc::Receiver<Key>>,
    reader: Option<Reader>,
    /// Restored after the reader has ended.
    terminal: Option<Raw>,
}

#[derive(Debug)]
struct Reader {
    thread: JoinHandle<()>,
    stop: OwnedFd,
}

/// A full queue stops the reader, because a pipe can deliver faster than the login reads.
const MAX_KEYS: usize = 16;
/// A pause of this length ends a paste, and a line on a terminal.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Time limit for discarding the rest of a paste.
const DRAIN: Duration = Duration::from_secs(1);

// === impl Input ===

impl Input {
    pub(in crate::cli) fn open() -> Self {
        let terminal = Raw::enter();
        // A background process must not read its terminal.
        if terminal.is_none() && io::IsTerminal::is_terminal(&io::stdin()) {
            return Self::none();
        }
        let (sender, keys) = mpsc::channel(MAX_KEYS);
        let reader = Reader::start(Keys::new(terminal.is_some()), sender).ok();
        Self { keys: Some(keys), reader, terminal }
    }

    /// For one answer of a person.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub(super) fn answer() -> io::Result<Self> {
        let terminal = Raw::enter().ok_or_else(|| io::Error::other("this process runs in its background"))?;
        let (sender, keys) = mpsc::channel(MAX_KEYS);
        let reader = Reader::start(Keys::answer(), sender)?;
        Ok(Self { keys: Some(keys), reader: Some(reader), terminal: Some(terminal) })
    }

    /// Nothing ever comes.
    pub(in crate::cli) fn none() -> Self {
        Self { keys: None, reader: None, terminal: None }
    }

    /// Whether a person can paste.
    pub(in crate::cli) fn is_open(&self) -> bool {
        self.terminal.is_some()
    }

    /// Loses nothing when it is dropped.
    pub(in crate::cli) async fn next(&mut self) -> Key {
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
        // Before the join: a reader that waits for room in the queue then continues.
        self.keys = None;
        if let Some(Reader { thread, stop }) = self.reader.take() {
            let _ = write(&stop, &1_u64.to_ne_bytes());
            let _ = thread.join();
        }
        self.terminal = None;
    }
}

// === impl Reader ===

impl Reader {
    fn start(keys: Keys, sender: mpsc::Sender<Key>) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let thread = thread::Builder::new().name("stdin".into()).spawn(move || run(keys, &sender, &stopped))?;
        Ok(Self { thread, stop })
    }
}

fn run(mut keys: Keys, sender: &mpsc::Sender<Key>, stop: &OwnedFd) {
    let stdin = io::stdin();
    let mut chunk = Zeroizing::new([0_u8; 4096]);
    loop {
        let mut both = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut both, keys.is_settling().then_some(&QUIET)) {
            Ok(0) => {
                keys.pause(|key| drop(sender.blocking_send(key)));
                continue;
            }
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
            Ok(count) => keys.feed(chunk.get(..count).unwrap_or_default(), |key| drop(sender.blocking_send(key))),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => break,
        }
    }
    keys.end(|key| drop(sender.blocking_send(key)));
}

/// Reads the rest of a paste that has begun, so that no shell gets it.
fn drain(keys: &mut Keys, chunk: &mut Zeroizing<[u8; 4096]>) {
    let stdin = io::stdin();
    let until = Instant::now() + DRAIN;
    while keys.is_within() && Instant::now() < until {
        let mut input = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut input, Some(&QUIET)) {
            Ok(0) | Err(_) => return,
            Ok(_) => match read(&stdin, &mut **chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => keys.feed(chunk.get(..count).unwrap_or_default(), drop),
            },
        }
    }
}
