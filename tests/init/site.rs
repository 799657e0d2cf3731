//! A simulated server, a directory for `init`, and the program as one of two users.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use simulator::{CLIENT_ID, CLIENT_SECRET, Options, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A bound for tests that fail, not a measure.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A user that owns nothing else.
const OTHER: u32 = 61_234;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The user of the tests. Root, where the tests run as root.
    Own,
    /// Another user. Only root can act as one.
    Other,
}

pub struct Site {
    pub simulator: Simulator,
    folder: TempDir,
    program: PathBuf,
    user: User,
}

#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

/// A `serve` that listens. It is killed when it is dropped.
pub struct Serving {
    pub address: SocketAddr,
    _child: Child,
}

impl User {
    /// Those that this process can act as.
    #[allow(clippy::print_stdout, reason = "a test that did not run says so")]
    pub fn all() -> Vec<Self> {
        if rustix::process::geteuid().is_root() {
            return vec![Self::Own, Self::Other];
        }
        println!("not run as another user: only root can act as one");
        vec![Self::Own]
    }

    /// The words before a command that this user runs.
    pub fn wrapper(self) -> Vec<String> {
        match self {
            Self::Own => Vec::new(),
            Self::Other => acting_as(OTHER, OTHER),
        }
    }

    /// The user that owns the secret and the state.
    pub fn owner(self) -> u32 {
        match self {
            Self::Own if rustix::process::geteuid().is_root() => 65532,
            Self::Own => rustix::process::geteuid().as_raw(),
            Self::Other => OTHER,
        }
    }
}

pub fn acting_as(uid: u32, gid: u32) -> Vec<String> {
    let (uid, gid) = (uid.to_string(), gid.to_string());
    ["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "--"].map(str::to_owned).to_vec()
}

impl Site {
    pub async fn new(user: User) -> Self {
        Self::with(user, Options::league8()).await
    }

    pub async fn with(user: User, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Cargo's own directory may be closed to the other user.
        let program = folder.path().join("program");
        // A child that another test forks must not inherit the file open for writing: the program could not run (ETXTBSY).
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_bearer-proxy")).arg(&program).status().await.unwrap();
        assert!(copied.success());
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        let secret = home.join("given-secret");
        fs::write(&secret, format!("{CLIENT_SECRET}\n")).unwrap();
        if user == User::Other {
            for path in [&home, &secret] {
                chown(path, Some(OTHER), Some(OTHER)).unwrap();
            }
        }
        let simulator = Simulator::start(options).await.unwrap();
        Self { simulator, folder, program, user }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Where the user may make files.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// For what a shell must find by name.
    pub fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    pub fn user(&self) -> User {
        self.user
    }

    /// What `init` writes.
    pub fn dir(&self) -> PathBuf {
        self.home().join("bearer-proxy")
    }

    /// The flags of a grant, for this server.
    pub fn flags(&self, grant: &str, more: &[&str]) -> Vec<String> {
        let secret = self.home().join("given-secret").display().to_string();
        let (api, token_url, dir) =
            (self.simulator.origin(), self.simulator.token_url(), self.dir().display().to_string());
        let flags = [
            ["init", "--profile=passolution", "--dir", &dir],
            ["--upstream-url", &api, "--token-url", &token_url],
            ["--client-id", CLIENT_ID, "--client-secret-file", &secret],
            ["--grant", grant, "--request-path", "/api/v2/countries"],
        ];
        flags.as_flattened().iter().chain(more).map(|flag| (*flag).to_owned()).collect()
    }

    pub fn command<S: AsRef<str>>(&self, arguments: &[S]) -> Command {
        let program = self.program.display().to_string();
        let mut command = self.words(&[&*program]);
        command.args(arguments.iter().map(AsRef::as_ref));
        command
    }

    /// Words that the user runs in their home.
    pub fn words(&self, words: &[&str]) -> Command {
        let words: Vec<_> =
            self.user.wrapper().into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.home());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).kill_on_drop(true);
        command
    }

    pub async fn run<S: AsRef<str>>(&self, arguments: &[S], input: &str) -> Ran {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that fails early does not read it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the program did not end").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs `init` and demands a first 200.
    pub async fn init(&self, grant: &str, more: &[&str], input: &str) -> Ran {
        let ran = self.run(&self.flags(grant, more), input).await;
        assert!(ran.status.success(), "{ran:?}");
        assert!(ran.out.starts_with("GET /api/v2/countries: 200 OK\n"), "{ran:?}");
        ran
    }

    /// The files of a directory, and below: name, mode, owner.
    pub fn files(&self) -> BTreeMap<String, (u32, u32)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.dir()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let stat = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(self.dir()).unwrap().display().to_string();
                found.insert(name, (stat.mode() & 0o7777, stat.uid()));
                if stat.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }
}

impl Ran {
    /// No output holds the client secret, nor a token that the server has issued.
    pub fn is_without_secrets(&self, tokens: &[&str]) {
        for secret in tokens.iter().chain(&[CLIENT_SECRET]) {
            assert!(!self.out.contains(secret) && !self.err.contains(secret), "{self:?}");
        }
    }
}

impl Serving {
    /// Starts the words with this environment. They run `serve`, which is told to listen on free ports.
    pub async fn start(words: &[String], environment: &[(String, String)]) -> Self {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.envs(environment.iter().cloned()).env("BEARER_PROXY_LISTEN", "127.0.0.1:0");
        command.env("BEARER_PROXY_ADMIN__LISTEN", "127.0.0.1:0").env("BEARER_PROXY_LOG__FORMAT", "json");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        loop {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("the program did not listen").unwrap();
            let line = line.unwrap_or_else(|| panic!("{words:?} ended:\n{log}"));
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            log += &format!("{line}\n");
            if event["message"] == "listening" {
                let address = event["address"].as_str().unwrap().parse().unwrap();
                // A pipe that nobody reads would stop the program's log.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Self { address, _child: child };
            }
        }
    }

    pub async fn get(&self, path: &str) -> http::StatusCode {
        get(self.address, path).await.status()
    }
}

pub async fn get(address: SocketAddr, path: &str) -> http::Response<bytes::Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path).header("host", "127.0.0.1").body(Empty::<bytes::Bytes>::new()).unwrap();
    let (parts, body) = client.send_request(request).await.unwrap().into_parts();
    http::Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}
