//! A terminal that neither echoes nor edits, until this is dropped.

use std::io::{self, IsTerminal, Stdin, Write};

use rustix::process::getpgrp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};

/// Standard input in raw mode.
#[derive(Debug)]
pub(super) struct Raw {
    stdin: Stdin,
    before: Termios,
    brackets: bool,
}

/// The terminal marks where a paste begins and ends.
const BRACKETS_ON: &[u8] = b"\x1b[?2004h";
const BRACKETS_OFF: &[u8] = b"\x1b[?2004l";

// === impl Raw ===

impl Raw {
    /// `None`: standard input is no terminal, or this process runs in its background and must not touch it.
    pub(super) fn enter() -> Option<Self> {
        let stdin = io::stdin();
        // Where the terminal is not the controlling one, there is no job control that could stop this process.
        let is_background = tcgetpgrp(&stdin).is_ok_and(|group| group != getpgrp());
        if !stdin.is_terminal() || is_background {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.local_modes -=
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::IXON | InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        let brackets = io::stderr().is_terminal();
        if brackets {
            let _ = io::stderr().write_all(BRACKETS_ON);
        }
        Some(Self { stdin, before, brackets })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if self.brackets {
            let _ = io::stderr().write_all(BRACKETS_OFF);
        }
        // Input that was not read is discarded: a shell would run it, or keep the code in its history.
        let _ = tcsetattr(&self.stdin, OptionalActions::Flush, &self.before);
    }
}
