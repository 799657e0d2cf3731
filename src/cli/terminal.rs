//! Asks a person at a terminal: a line, or a secret that is not shown.

mod input;
mod keys;
mod raw;

use std::io::{self, IsTerminal, Stdin, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::serve::Stop;
use crate::secret::Secret;

pub(super) use self::input::Input;
pub(super) use self::keys::Key;

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
        let mut input = Input::answer()?;
        prompt(question)?;
        let key = tokio::select! {
            key = input.next() => key,
            _ = self.stop.received() => Key::Interrupt,
        };
        drop(input);
        writeln!(io::stderr())?;
        match key {
            Key::Line(secret) => Ok(Secret::new(secret.trim())),
            Key::TooLong => Err(Unanswered::TooLong),
            Key::NotText => Err(Unanswered::NotText),
            Key::Interrupt => Err(Unanswered::Interrupted),
            Key::End => Err(Unanswered::Ended),
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
