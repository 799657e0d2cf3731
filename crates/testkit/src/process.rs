//! The built program as a process, with its output.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use simulator::{CLIENT_ID, CLIENT_SECRET, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Answer, Client};

/// A bound for tests that fail, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// The built program. `PROGRAM` names another build, such as an old one, to see whether it keeps a promise too.
pub fn program() -> String {
    let variables = ["PROGRAM", "CARGO_BIN_EXE_bearer-proxy"];
    variables.into_iter().find_map(|name| std::env::var(name).ok()).expect("run by cargo, or with PROGRAM=…")
}

/// A program to start. Its environment is its only input.
#[derive(Clone)]
pub struct Setup {
    program: String,
    /// A command that runs the program, placed before it.
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
    /// Shared with the setups that start the program again.
    folder: Arc<TempDir>,
}

/// A program that was started and may not listen yet.
pub struct Started {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    setup: Setup,
}

pub struct Proxy {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    lines: watch::Receiver<Vec<String>>,
    setup: Option<Setup>,
}

impl Setup {
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((format!("BEARER_PROXY_{name}"), value.to_string()));
        self
    }

    /// A variable outside the program's configuration.
    pub fn raw(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn unset(mut self, name: &str) -> Self {
        self.environment.retain(|(key, _)| key != &format!("BEARER_PROXY_{name}"));
        self
    }

    /// Runs the program with this command. The command must become the program (`exec`).
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Another copy or build of the program.
    pub fn program(mut self, path: impl Into<String>) -> Self {
        self.program = path.into();
        self
    }

    fn value(&self, name: &str) -> Option<&str> {
        let name = format!("BEARER_PROXY_{name}");
        self.environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The same environment and directory.
    pub fn again(&self) -> Self {
        self.clone()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("grant.json")
    }

    /// The document in the store.
    pub fn document(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.store()).unwrap()).unwrap()
    }

    /// A command of the program in this environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned()).kill_on_drop(true);
        command
    }

    /// The exit code and output of a command.
    pub async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let (status, out, err) = output(self.command(arguments)).await;
        (status.code().unwrap(), out, err)
    }

    /// `import` with this input.
    pub async fn import(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut command = self.command(&[&["import"], arguments].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    pub async fn start(self) -> Proxy {
        self.spawn().listening().await
    }

    pub fn spawn(self) -> Started {
        let words: Vec<&str> = self.wrapper.iter().map(String::as_str).chain([&*self.program, "serve"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear().envs(self.environment.iter().cloned()).kill_on_drop(true);
        if !self.wrapper.is_empty() {
            command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut line = String::new();
            while stderr.read_line(&mut line).await.is_ok_and(|count| count > 0) {
                let text = std::mem::take(&mut line);
                sender.send_modify(|lines: &mut Vec<String>| lines.push(text.trim_end().to_owned()));
            }
        });
        Started { child, lines, setup: self }
    }
}

impl Started {
    pub async fn listening(mut self) -> Proxy {
        let (address, admin) = self.addresses().await;
        let Self { child, lines, setup } = self;
        Proxy { child, address, admin, lines, setup: Some(setup) }
    }

    /// The addresses of the two listeners, after the program has logged them.
    pub async fn addresses(&mut self) -> (SocketAddr, SocketAddr) {
        let lines = &mut self.lines;
        let addresses = async {
            loop {
                let found = {
                    let lines = lines.borrow_and_update();
                    (find(&lines, "listening"), find(&lines, "admin listening"))
                };
                if let (Some(address), Some(admin)) = found {
                    return (address, admin);
                }
                if lines.changed().await.is_err() {
                    panic!("the program ended at its start:\n{}", lines.borrow().join("\n"));
                }
            }
        };
        timeout(PATIENCE, addresses).await.expect("the program did not say where it listens")
    }
}

impl Started {
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the program runs")
    }

    /// Sends SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The address in the JSON log line with this message.
fn find(lines: &[String], message: &str) -> Option<SocketAddr> {
    lines.iter().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields").unwrap_or(&line);
        (fields["message"] == message).then(|| fields["address"].as_str()?.parse().ok())?
    })
}

impl Proxy {
    /// A proxy in front of this simulator, with its first client's credentials and an initial refresh token.
    pub fn before(simulator: &Simulator) -> Setup {
        let first = simulator.grant().refresh_token;
        Self::without_grant(simulator).set("OAUTH__REFRESH_TOKEN", first)
    }

    pub fn without_grant(simulator: &Simulator) -> Setup {
        Self::with_urls(&simulator.origin(), &simulator.token_url())
    }

    /// As [`Self::without_grant`], for a simulator that this thread cannot reach.
    pub fn with_urls(upstream: &str, token: &str) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("grant.json").display().to_string();
        let (wrapper, environment) = (Vec::new(), Vec::new());
        Setup { program: program(), wrapper, environment, folder: Arc::new(folder) }
            .set("LISTEN", "127.0.0.1:0")
            .set("ADMIN__LISTEN", "127.0.0.1:0")
            .set("LOG__FORMAT", "json")
            .set("UPSTREAM__URL", upstream)
            .set("OAUTH__TOKEN_URL", token)
            .set("OAUTH__CLIENT_ID", CLIENT_ID)
            .set("OAUTH__CLIENT_SECRET", CLIENT_SECRET)
            .set("STORE__PATH", store)
            .set("SHUTDOWN__GRACE", "5s")
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The address of the probes listener, if there is one.
    pub fn probes_address(&self) -> SocketAddr {
        find(&self.lines.borrow(), "probes listening").expect("a probes listener")
    }

    pub async fn http1(&self) -> Client {
        Client::http1(self.address).await
    }

    pub async fn http2(&self) -> Client {
        Client::http2(self.address).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.http1().await.get(path).await
    }

    pub async fn admin(&self, method: http::Method, path: &str) -> Answer {
        let mut request = crate::request(method, path);
        request.headers_mut().insert("host", self.admin.to_string().parse().unwrap());
        if let Some(key) = self.setup().value("ADMIN__KEY") {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        Client::http1(self.admin).await.send(request).await.unwrap()
    }

    pub async fn status(&self) -> Value {
        self.admin(http::Method::GET, "/status").await.json()
    }

    /// Waits until `wanted` accepts the status document. Polls, because the document has no events.
    pub async fn wait_for_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let poll = async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, poll).await {
            Ok(status) => status,
            Err(_) => panic!("never {what}: {}\n{}", self.status().await, self.log().join("\n")),
        }
    }

    pub async fn ready(&self) {
        self.wait_for_status("valid", |status| status["state"] == "valid").await;
    }

    /// Requests a refresh until one has happened. Within a second of the last refresh, the program returns the outcome of that one.
    pub async fn refresh(&self) -> Answer {
        let before = self.status().await["generation"].as_u64();
        loop {
            let answer = self.admin(http::Method::POST, "/refresh").await;
            if answer.status != http::StatusCode::OK || answer.json()["generation"].as_u64() != before {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Requests a refresh in a task. Its response may arrive after the program was asked to stop.
    pub fn begin_refresh(&self) -> JoinHandle<Result<Answer, hyper::Error>> {
        let admin = self.admin;
        let mut refresh = crate::request(http::Method::POST, "/refresh");
        refresh.headers_mut().insert("host", admin.to_string().parse().unwrap());
        tokio::spawn(async move { Client::http1(admin).await.send(refresh).await })
    }

    /// Waits until the second after the last refresh is over. The next request for a refresh then causes one.
    pub async fn rested(&self) {
        tokio::time::sleep(Duration::from_millis(1050)).await;
    }

    /// The value of a series, by its name with labels as printed. 0 if it is absent.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.admin(http::Method::GET, "/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub fn log(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits for a line of the JSON log that `wanted` accepts.
    pub async fn wait_for_log(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> String {
        let mut lines = self.lines.clone();
        let is_wanted = |line: &&String| serde_json::from_str(line).is_ok_and(|line| wanted(&line));
        let found = timeout(PATIENCE, lines.wait_for(|lines| lines.iter().any(|line| is_wanted(&line)))).await;
        match found {
            Ok(Ok(lines)) => lines.iter().find(is_wanted).unwrap().clone(),
            _ => panic!("no line tells of {what}:\n{}", self.log().join("\n")),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the program runs")
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("the program did not end").unwrap();
        // Its last lines may still be in the pipe. The reader ends with the output, unless another process holds the pipe.
        let rest = async { while self.lines.changed().await.is_ok() {} };
        let _ = timeout(Duration::from_secs(1), rest).await;
        status
    }

    /// Sends SIGTERM. Returns the setup, to start the program again.
    pub async fn stop(mut self) -> Setup {
        self.signal(rustix::process::Signal::TERM);
        let status = self.ended().await;
        assert!(status.success(), "{status}\n{}", self.log().join("\n"));
        self.setup.take().unwrap()
    }

    /// Sends SIGKILL. Returns the setup, to start the program again.
    pub async fn kill(mut self) -> Setup {
        self.child.kill().await.unwrap();
        self.setup.take().unwrap()
    }

    pub fn setup(&self) -> &Setup {
        self.setup.as_ref().unwrap()
    }

    /// The setup of commands that ask this process.
    pub fn commands(&self) -> Setup {
        self.setup().again().set("ADMIN__LISTEN", self.admin)
    }
}

/// The exit status of a process, and both of its outputs.
pub async fn output(mut command: Command) -> (ExitStatus, String, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let both = async { tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err)) };
    let _ = timeout(PATIENCE, both).await.expect("the program did not end");
    (child.wait().await.unwrap(), out, err)
}
