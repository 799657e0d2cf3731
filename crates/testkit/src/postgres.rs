//! A PostgreSQL server for the tests. `initdb` creates it in a temporary directory. Dropping the handle stops and removes it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server. It accepts every client unless the test configures it otherwise.
pub struct Postgres {
    folder: TempDir,
    /// The user that it runs as if root runs the tests: PostgreSQL refuses to run as root.
    user: Option<User>,
    options: Vec<String>,
    port: u16,
    running: Option<Running>,
}

/// A shell that stops the server when its standard input closes, also if the tests are killed.
struct Running {
    shell: Child,
    stdin: Option<ChildStdin>,
}

struct User {
    name: &'static str,
    uid: u32,
    gid: u32,
}

const MISSING: &str = "no PostgreSQL server to test with: install it (Debian, Ubuntu: apt-get install postgresql; \
    Fedora: dnf install postgresql-server; macOS: brew install postgresql)";
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

// === impl Postgres ===

impl Postgres {
    /// One server for all tests that run at the same time. It ends with the last of them.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub fn start() -> Self {
        Self::start_with(|_| Vec::new(), &[])
    }

    /// `prepare` may write files into the server's directory, and returns settings (`ssl=on`). `initdb` has more arguments for it.
    pub fn start_with(prepare: impl FnOnce(&Path) -> Vec<String>, initdb: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the server");
        let user = User::to_run_as();
        let options = prepare(folder.path());
        let mut server = Self { folder, user, options, port: 0, running: None };
        for entry in fs::read_dir(server.folder.path()).expect("the server's folder") {
            server.give(&entry.expect("an entry").path());
        }
        server.give(server.folder.path());
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--username=tester", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(server.data())
            .args(initdb)
            .stdin(Stdio::null())
            .output()
            .expect(MISSING);
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        for _ in 0..5 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("the server does not start: {}", server.log());
    }

    /// `postgres://tester@127.0.0.1:…/postgres`
    pub fn url(&self) -> String {
        format!("postgres://tester@127.0.0.1:{}/postgres", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server: no checkpoint, no message to its clients.
    pub fn kill(&mut self) {
        let pid = self.pid().expect("the server runs");
        let killed = Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
        assert!(killed.success());
        self.stop();
    }

    /// Starts it again, on the same port and with the same data.
    pub fn restart(&mut self) {
        let until = Instant::now() + LIMIT;
        // The processes of the killed server hold resources until the last of them has ended.
        while !self.launch() {
            assert!(Instant::now() < until, "the server does not start again: {}", self.log());
            pause();
        }
    }

    /// Whether the server started. If not, it has ended.
    fn launch(&mut self) -> bool {
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
        // A new file, because processes of a killed server may still write to the old one.
        let _ = fs::remove_file(self.folder.path().join("log"));
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("port={}", self.port)]);
        command.args(["-c", "max_connections=300", "-c", "shared_buffers=16MB", "-c", "fsync=off"]);
        command.args(["-c", "log_min_messages=fatal"]);
        for option in &self.options {
            command.args(["-c", option]);
        }
        // Repeated, because a server that is starting ignores the first signal.
        let script = r#"exec 3<&0; "$@" </dev/null 3<&- & server=$!; read _ <&3
            while kill -INT $server 2>&-; do sleep 0.1; done; wait $server"#;
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sh");
        let stdin = shell.stdin.take();
        self.running = Some(Running { shell, stdin });
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            if self.is_ready() {
                return true;
            }
            if self.log().contains("FATAL") {
                break;
            }
            pause();
        }
        self.stop();
        false
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.stdin.take());
            let _ = running.shell.wait();
        }
    }

    fn is_ready(&self) -> bool {
        let status = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        status.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    }

    fn pid(&self) -> Option<String> {
        let status = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        status.lines().next().map(str::to_owned)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn give(&self, path: &Path) {
        if let Some(user) = &self.user {
            chown(path, Some(user.uid), Some(user.gid)).expect("chown");
        }
    }

    fn command(&self, program: &str) -> Command {
        self.run(&find(program))
    }

    /// A program that runs as the server's user.
    pub fn run(&self, program: &Path) -> Command {
        match &self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={}", user.name), &format!("--regid={}", user.gid), "--clear-groups"]);
                command.arg(program);
                command
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// On the path, or in Debian's directory with the highest version.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    let mut installed: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(program)))
        .filter(|file| file.is_file())
        .collect();
    installed.sort();
    on_path.or(installed.pop()).and_then(|file| fs::canonicalize(file).ok()).expect(MISSING)
}

/// The server reports its state in files only.
#[allow(clippy::disallowed_methods, reason = "a test's thread, and no worker's")]
fn pause() {
    std::thread::sleep(POLL);
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

// === impl User ===

impl User {
    fn to_run_as() -> Option<Self> {
        let id = |flag: &str, name: &str| -> Option<u32> {
            let output = Command::new("id").args([flag, name]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        let me = Command::new("id").arg("-u").output().expect("id");
        if String::from_utf8_lossy(&me.stdout).trim() != "0" {
            return None;
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some(Self { name, uid: id("-u", name)?, gid: id("-g", name)? }))
    }
}
