//! A program at a terminal, and the person in front of it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::site::PATIENCE;

/// A program at a terminal.
pub struct Session {
    pub child: Child,
    keyboard: File,
    terminal: File,
    /// The modes of the terminal before the program started.
    pub before: LocalModes,
    pub screen: watch::Receiver<String>,
    /// How much of the screen was looked at.
    seen: usize,
}

impl Session {
    pub fn start(mut command: Command) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let before = tcgetattr(&terminal).unwrap().local_modes;
        let stream = || Stdio::from(OwnedFd::from(terminal.try_clone().unwrap()));
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        // It holds copies of the terminal.
        drop(command);
        let keyboard = File::from(keyboard);
        let mut output = keyboard.try_clone().unwrap();
        let (sender, screen) = watch::channel(String::new());
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // An error: no process has the terminal any more.
            while let Ok(count) = output.read(&mut chunk) {
                sender.send_modify(|screen| *screen += &String::from_utf8_lossy(&chunk[..count]));
            }
        });
        Self { child, keyboard, terminal, before, screen, seen: 0 }
    }

    /// As a shell would start it: the terminal is the controlling one of its session, and Ctrl-C becomes a signal.
    pub fn start_in_foreground(command: &Command) -> Self {
        let inner = command.as_std();
        let mut outer = Command::new("setsid");
        outer.arg("--ctty").arg(inner.get_program()).args(inner.get_args()).env_clear().kill_on_drop(true);
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = inner.get_current_dir() {
            outer.current_dir(folder);
        }
        Self::start(outer)
    }

    /// Waits until the screen shows this, after what was waited for before.
    pub async fn shows(&mut self, text: &str) {
        let (seen, mut screen) = (self.seen, self.screen.clone());
        let found = timeout(PATIENCE, screen.wait_for(|screen| screen[seen..].contains(text))).await;
        match found {
            Ok(Ok(screen)) => self.seen = seen + screen[seen..].find(text).unwrap() + text.len(),
            _ => panic!("the terminal never showed {text:?}:\n{}", *self.screen.borrow()),
        }
    }

    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the question, then answers it.
    pub async fn answers(&mut self, question: &str, answer: &str) {
        self.shows(question).await;
        self.types(&format!("{answer}\n"));
    }

    pub fn modes(&self) -> LocalModes {
        tcgetattr(&self.terminal).unwrap().local_modes
    }

    pub async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("the program did not end").unwrap()
    }
}
