//! Asks a person at a terminal: a line, or a secret that is not shown.

use std::io::{self, IsTerminal, Stdin, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios};
use rustix::termios::{tcflush, tcgetattr, tcsetattr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zeroize::Zeroizing;

use super::serve::Stop;
use crate::secret::Secret;

/// The terminal of a person: standard input and standard error.
pub(super) struct Terminal {
    input: AsyncFd<Stdin>,
    /// A signal ends a question in order: the terminal gets its modes back.
    stop: Stop,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("interrupted")]
    Interrupted,
    #[error("standard input ended before the answer")]
    Ended,
    #[error("the answer has more than 64 KiB")]
    TooLong,
    #[error("the answer is not text in UTF-8")]
    NotText,
    #[error("the terminal could not be read: {0}")]
    Io(#[from] io::Error),
}

/// The modes that the terminal gets back when this is dropped.
struct Modes(Termios);

/// What a key means while a secret is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Enter,
    Interrupt,
    /// Ctrl-D.
    End,
    Backspace,
    /// Ctrl-U.
    Clear,
    Text(u8),
}

const MAX_ANSWER: usize = 64 * 1024;

/// Whether a person can be asked.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

// === impl Terminal ===

impl Terminal {
    /// Needs a runtime.
    #[allow(
        deprecated,
        reason = "its successor is unsafe, and asks for a descriptor that stays open: standard input does"
    )]
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { input: AsyncFd::with_interest(io::stdin(), Interest::READABLE)?, stop: Stop::new()? })
    }

    /// One line, without its end.
    pub(super) async fn line(&mut self, question: &str) -> Result<String, Unanswered> {
        prompt(question)?;
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut chunk = [0; 4096];
            match self.read(&mut chunk).await? {
                0 => return Err(Unanswered::Ended),
                count => line.extend(chunk.iter().take(count)),
            }
            if line.len() > MAX_ANSWER {
                return Err(Unanswered::TooLong);
            }
        }
        let line = String::from_utf8(line).map_err(|_| Unanswered::NotText)?;
        Ok(line.trim().to_owned())
    }

    /// One line that the terminal does not show. It may be longer than the 4,095 bytes of a line that the kernel gathers.
    pub(super) async fn secret(&mut self, question: &str) -> Result<Secret, Unanswered> {
        // Before the question, so that an early answer is not echoed.
        let modes = Modes::raw()?;
        prompt(question)?;
        // A buffer that grows leaves copies of the secret behind.
        let mut secret = Zeroizing::new(Vec::with_capacity(MAX_ANSWER + 1));
        let read = self.read_secret(&mut secret).await;
        drop(modes);
        writeln!(io::stderr())?;
        read?;
        let secret = std::str::from_utf8(&secret).map_err(|_| Unanswered::NotText)?;
        Ok(Secret::new(secret.trim()))
    }

    async fn read_secret(&mut self, secret: &mut Vec<u8>) -> Result<(), Unanswered> {
        loop {
            let mut chunk = Zeroizing::new([0; 1024]);
            let count = self.read(&mut *chunk).await?;
            if count == 0 {
                return Err(Unanswered::Ended);
            }
            for byte in chunk.iter().take(count) {
                match Key::from(*byte) {
                    Key::Enter => return Ok(()),
                    Key::Interrupt => return Err(Unanswered::Interrupted),
                    Key::End if secret.is_empty() => return Err(Unanswered::Ended),
                    Key::End => {}
                    Key::Backspace => drop(secret.pop()),
                    Key::Clear => secret.clear(),
                    Key::Text(_) if secret.len() == MAX_ANSWER => return Err(Unanswered::TooLong),
                    Key::Text(byte) => secret.push(byte),
                }
            }
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unanswered> {
        loop {
            let mut ready = tokio::select! {
                ready = self.input.readable() => ready?,
                _ = self.stop.received() => {
                    let _ = writeln!(io::stderr());
                    return Err(Unanswered::Interrupted);
                }
            };
            // The descriptor stays a blocking one, because the shell shares it: this asks before each read whether it would block.
            if !has_input(ready.get_inner())? {
                ready.clear_ready();
                continue;
            }
            match rustix::io::read(ready.get_inner(), &mut *buffer) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}

fn has_input(stdin: &Stdin) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(stdin, PollFlags::IN)], Some(&now)) {
        Ok(ready) => Ok(ready > 0),
        // The read is then interrupted too, or does not block.
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn prompt(question: &str) -> io::Result<()> {
    let mut stderr = io::stderr();
    write!(stderr, "{question} ")?;
    stderr.flush()
}

// === impl Modes ===

impl Modes {
    /// Without echo, and byte by byte: Ctrl-C arrives as a byte and not as a signal.
    fn raw() -> io::Result<Self> {
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        let stdin = io::stdin();
        // The rest of a pasted secret must not reach the shell.
        let _ = tcflush(stdin.as_fd(), QueueSelector::IFlush);
        let _ = tcsetattr(stdin.as_fd(), OptionalActions::Now, &self.0);
    }
}

// === impl Key ===

impl From<u8> for Key {
    fn from(byte: u8) -> Self {
        match byte {
            b'\r' | b'\n' => Self::Enter,
            0x03 => Self::Interrupt,
            0x04 => Self::End,
            0x08 | 0x7f => Self::Backspace,
            0x15 => Self::Clear,
            byte => Self::Text(byte),
        }
    }
}
