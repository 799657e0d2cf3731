//! One run of the program.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use simulator::{CLIENT_ID, CLIENT_SECRET, Simulator};
use tempfile::TempDir;
use tokio::sync::watch;
use url::Url;

use crate::Stdin;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_bearer-proxy");
/// A bound for tests that fail, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The environment of a run.
#[derive(Clone)]
pub struct Setup {
    environment: Vec<(String, String)>,
    folder: Arc<TempDir>,
}

/// A program that runs.
pub struct Login {
    child: Child,
    output: watch::Receiver<String>,
    /// Standard output, where it is no terminal.
    results: Option<std::process::ChildStdout>,
    keyboard: Option<Keyboard>,
    pub terminal: Option<OwnedFd>,
    before: Option<Termios>,
    began: Instant,
    /// Holds the store until the end.
    _setup: Setup,
}

enum Keyboard {
    Terminal(File),
    Pipe(std::process::ChildStdin),
}

/// How it ended.
pub struct Ended {
    pub code: i32,
    /// Standard error, then standard output.
    pub text: String,
    pub after: Duration,
    /// The modes of the terminal before and after, and how many bytes wait in it.
    pub terminal: Option<(Termios, Termios, u64)>,
}

impl Setup {
    pub fn new(simulator: &Simulator) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("grant.json").display().to_string();
        Self { environment: Vec::new(), folder: Arc::new(folder) }
            .set("LISTEN", "127.0.0.1:0")
            .set("ADMIN__LISTEN", "127.0.0.1:0")
            .set("LOG__FORMAT", "json")
            .set("UPSTREAM__URL", &simulator.origin())
            .set("OAUTH__AUTHORIZE_URL", &simulator.authorize_url())
            .set("OAUTH__TOKEN_URL", &simulator.token_url())
            .set("OAUTH__CLIENT_ID", CLIENT_ID)
            .set("OAUTH__CLIENT_SECRET", CLIENT_SECRET)
            .set("STORE__PATH", &store)
    }

    pub fn set(self, name: &str, value: &str) -> Self {
        self.raw(&format!("BEARER_PROXY_{name}"), value)
    }

    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn store(&self) -> PathBuf {
        self.folder().join("grant.json")
    }

    /// A grant that a failed login must leave alone.
    pub fn with_old_grant(self) -> Self {
        let mut child = self.command(&["import"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let grant =
            br#"{"access_token":"old-access-0123456789","refresh_token":"old-refresh-0123456789","expires_in":3600}"#;
        child.stdin.take().unwrap().write_all(grant).unwrap();
        assert!(child.wait().unwrap().success());
        self
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned());
        command
    }

    /// `login` with these options.
    pub fn login(&self, stdin: Stdin, options: &[&str]) -> Login {
        let arguments = [&["login"], options].concat();
        let began = Instant::now();
        match stdin {
            Stdin::Terminal => self.on_a_terminal(&arguments, began),
            Stdin::Pipe | Stdin::Closed => {
                let mut command = self.command(&arguments);
                command.stdin(if stdin == Stdin::Pipe { Stdio::piped() } else { Stdio::null() });
                let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                let keyboard = child.stdin.take().map(Keyboard::Pipe);
                let output = follow(child.stderr.take().unwrap());
                let results = child.stdout.take();
                Login { child, output, results, keyboard, terminal: None, before: None, began, _setup: self.clone() }
            }
        }
    }

    fn on_a_terminal(&self, arguments: &[&str], began: Instant) -> Login {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let terminal =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        // As a shell would start it: the terminal is the controlling one of its session.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(PROGRAM).args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("TERM", "xterm").envs(self.environment.iter().cloned());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let master = File::from(master);
        let output = follow(master.try_clone().unwrap());
        let keyboard = Some(Keyboard::Terminal(master));
        Login {
            child,
            output,
            results: None,
            keyboard,
            terminal: Some(terminal),
            before: Some(before),
            began,
            _setup: self.clone(),
        }
    }
}

/// Reads as the program writes. The channel closes at the end.
fn follow(mut from: impl Read + Send + 'static) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        // A terminal whose last user has gone answers EIO.
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            sender.send_modify(|text| text.push_str(&String::from_utf8_lossy(&chunk[..count])));
        }
    });
    receiver
}

impl Login {
    /// Waits until the program has printed this.
    pub async fn says(&mut self, wanted: &str) {
        let seen = self.output.wait_for(|text| text.contains(wanted));
        let was_said = tokio::time::timeout(PATIENCE, seen).await.is_ok_and(|seen| seen.is_ok());
        if !was_said {
            panic!("it never said {wanted:?}:\n{}", self.output.borrow().as_str());
        }
    }

    /// The URL that a person is asked to open.
    pub async fn url(&mut self) -> Url {
        // Its last parameter.
        self.says("&code_challenge_method=S256").await;
        let text = self.output.borrow().clone().replace('\r', "");
        let line = text.lines().find(|line| line.contains("/oauth/authorize?")).unwrap();
        let line = line.rsplit("\x1b\\").find(|part| part.contains("/oauth/authorize?")).unwrap();
        line.split('\x1b').next().unwrap().parse().unwrap()
    }

    /// Pastes a line: as a terminal does, or into the pipe.
    pub fn paste(&mut self, line: &str) {
        match &mut self.keyboard {
            Some(Keyboard::Terminal(_)) => self.keys(format!("\x1b[200~{line}\x1b[201~\r").as_bytes()),
            Some(Keyboard::Pipe(_)) => self.keys(format!("{line}\n").as_bytes()),
            None => panic!("standard input is closed"),
        }
    }

    pub fn keys(&mut self, bytes: &[u8]) {
        match self.keyboard.as_mut().unwrap() {
            Keyboard::Terminal(file) => file.write_all(bytes).unwrap(),
            Keyboard::Pipe(pipe) => pipe.write_all(bytes).unwrap(),
        }
    }

    /// Ends what is piped in.
    pub fn end_input(&mut self) {
        assert!(matches!(self.keyboard.take(), Some(Keyboard::Pipe(_))));
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub async fn ended(mut self) -> Ended {
        let until = Instant::now() + PATIENCE;
        // A child has no event that can be awaited next to the other threads of this test.
        while !self.has_ended() {
            assert!(Instant::now() < until, "it did not end:\n{}", self.output.borrow().as_str());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let after = self.began.elapsed();
        let code = self.child.wait().unwrap().code().expect("it ended by itself");
        let terminal = self.terminal.as_ref().map(|terminal| {
            let unread = rustix::io::ioctl_fionread(terminal.as_fd()).unwrap();
            (self.before.clone().unwrap(), tcgetattr(terminal).unwrap(), unread)
        });
        self.terminal = None;
        // All output has been read once the channel is closed.
        while self.output.changed().await.is_ok() {}
        let mut text = self.output.borrow().clone();
        if let Some(mut results) = self.results.take() {
            let mut out = String::new();
            results.read_to_string(&mut out).unwrap();
            text += &out;
        }
        Ended { code, text, after, terminal }
    }
}
