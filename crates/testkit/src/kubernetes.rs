//! A real API server on a real etcd, without nodes. `KUBE_APISERVER` names the program; `.ci/kube-apiserver` builds one.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use rcgen::KeyPair;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::Answer;
use crate::authority::Authority;
use crate::body::full;
use crate::connection::{Connection, Protocol, connect, request};

/// An API server with its etcd. Both end with the handle, or with the tests.
pub struct Cluster {
    folder: TempDir,
    authority: Authority,
    programs: Mutex<Programs>,
    port: u16,
    etcd_port: u16,
    peer_port: u16,
    /// For names that no other test has.
    count: AtomicU64,
    /// Removes the directories when the tests end: a static value is never dropped.
    _janitor: ChildStdin,
}

#[derive(Default)]
struct Programs {
    etcd: Option<Running>,
    api: Option<Running>,
}

/// A program under a shell that kills it when its standard input closes, also if the tests are killed.
struct Running {
    shell: Child,
    stdin: Option<ChildStdin>,
    pid: Pid,
}

/// A service account, and the directory that the kubelet would mount for it.
pub struct Account {
    pub namespace: String,
    pub name: String,
    folder: PathBuf,
}

const ADMIN: &str = "admin-token";
const LIMIT: Duration = Duration::from_secs(60);
const POLICY: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";

static SHARED: OnceCell<Option<Cluster>> = OnceCell::const_new();

// === impl Cluster ===

impl Cluster {
    /// One cluster for all tests of a process. It ends with the process. `None`: no program to run.
    pub async fn shared() -> Option<&'static Self> {
        SHARED.get_or_init(Self::start).await.as_ref()
    }

    /// `None`, after a message: `KUBE_APISERVER` names no program.
    pub async fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("KUBE_APISERVER").map(PathBuf::from) else {
            eprintln!("not run: KUBE_APISERVER names no kube-apiserver (.ci/kube-apiserver builds one)");
            return None;
        };
        assert!(program.is_file(), "KUBE_APISERVER: {} does not exist", program.display());
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("sa.key", &key.serialize_pem());
        write("sa.pub", &key.public_key_pem());
        write("tokens.csv", &format!("{ADMIN},admin,1,\"system:masters\"\n"));
        write("audit.yaml", POLICY);
        let authority = Authority::new();
        authority.server_files(&["localhost", "127.0.0.1"]);
        let [port, etcd_port, peer_port] = free_ports();
        let count = AtomicU64::new(0);
        let janitor = janitor(&[folder.path(), authority.ca_file().parent().unwrap()]);
        let programs = Mutex::default();
        let cluster = Self { folder, authority, programs, port, etcd_port, peer_port, count, _janitor: janitor };
        cluster.start_etcd();
        cluster.start_api_server();
        cluster.ready().await;
        Some(cluster)
    }

    pub fn start_etcd(&self) {
        let (client, peer) = (local(self.etcd_port), local(self.peer_port));
        let mut etcd = Command::new("etcd");
        etcd.arg("--data-dir").arg(self.folder.path().join("etcd"));
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"]);
        self.programs.lock().unwrap().etcd = Some(Running::start(&etcd, &self.log("etcd.log")));
    }

    pub fn start_api_server(&self) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let ca = self.authority.ca_file();
        let certificate = ca.with_file_name("server.pem").display().to_string();
        let key = ca.with_file_name("server.key").display().to_string();
        let mut api = Command::new(std::env::var_os("KUBE_APISERVER").unwrap());
        for (name, value) in [
            ("etcd-servers", local(self.etcd_port)),
            ("bind-address", "127.0.0.1".to_owned()),
            ("advertise-address", "127.0.0.1".to_owned()),
            ("secure-port", self.port.to_string()),
            ("cert-dir", path("certificates")),
            ("tls-cert-file", certificate),
            ("tls-private-key-file", key),
            ("token-auth-file", path("tokens.csv")),
            ("service-account-issuer", "https://kubernetes.example".to_owned()),
            ("service-account-signing-key-file", path("sa.key")),
            ("service-account-key-file", path("sa.pub")),
            ("authorization-mode", "RBAC".to_owned()),
            ("service-cluster-ip-range", "10.0.0.0/24".to_owned()),
            // No controller makes the accounts that it wants.
            ("disable-admission-plugins", "ServiceAccount".to_owned()),
            ("audit-policy-file", path("audit.yaml")),
            ("audit-log-path", path("audit.log")),
            ("profiling", "false".to_owned()),
        ] {
            api.arg(format!("--{name}={value}"));
        }
        self.programs.lock().unwrap().api = Some(Running::start(&api, &self.log("api-server.log")));
    }

    /// Waits until the API server is ready.
    pub async fn ready(&self) {
        let until = Instant::now() + LIMIT;
        while !self.is_ready().await {
            assert!(Instant::now() < until, "the API server does not start: {}", self.last_log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        if tokio::net::TcpStream::connect(self.address()).await.is_err() {
            return false;
        }
        // The start of RBAC's own roles is among these checks.
        matches!(self.try_call(Method::GET, "/readyz", None).await, Some(answer) if answer.status == StatusCode::OK)
    }

    pub fn kill_etcd(&self) {
        drop(self.programs.lock().unwrap().etcd.take());
    }

    pub fn kill_api_server(&self) {
        drop(self.programs.lock().unwrap().api.take());
    }

    pub fn signal_api_server(&self, signal: Signal) {
        let programs = self.programs.lock().unwrap();
        kill_process(programs.api.as_ref().expect("it runs").pid, signal).unwrap();
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A number that no other test has.
    pub fn unique(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a call as administrator.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let answer = self.try_call(method, path, body).await.expect("an answer of the API server");
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    /// The same, and fails if the API server refuses.
    pub async fn must(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn try_call(&self, method: Method, path: &str, body: Option<&Value>) -> Option<Answer> {
        let stream = connect(self.address(), Some(self.authority.connector(&["http/1.1"]))).await;
        let mut connection = Connection::over(stream, Protocol::Http1, true).await;
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let mut request = request(method, path, full(body.map(Value::to_string).unwrap_or_default()));
        request.headers_mut().insert("authorization", format!("Bearer {ADMIN}").parse().unwrap());
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        let response = tokio::time::timeout(LIMIT, connection.send(request)).await.ok()?.ok()?;
        Some(crate::connection::read(response).await)
    }

    /// A new namespace.
    pub async fn namespace(&self) -> String {
        let name = format!("test-{}", self.unique());
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.must(Method::POST, "/api/v1/namespaces", Some(&object)).await;
        name
    }

    /// A new service account in the namespace, with these rules and a token.
    pub async fn account(&self, namespace: &str, rules: &Value) -> Account {
        let name = format!("account-{}", self.unique());
        let metadata = json!({ "name": name, "namespace": namespace });
        let object = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
        self.must(Method::POST, &format!("/api/v1/namespaces/{namespace}/serviceaccounts"), Some(&object)).await;
        let folder = self.folder.path().join(&name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(self.authority.ca_file(), folder.join("ca.crt")).unwrap();
        std::fs::write(folder.join("namespace"), namespace).unwrap();
        let account = Account { namespace: namespace.to_owned(), name, folder };
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        let version = "rbac.authorization.k8s.io/v1";
        let role = json!({ "apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules });
        self.must(Method::POST, &format!("{rbac}/roles"), Some(&role)).await;
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account.name },
            "subjects": [{ "kind": "ServiceAccount", "name": account.name, "namespace": namespace }],
        });
        self.must(Method::POST, &format!("{rbac}/rolebindings"), Some(&binding)).await;
        self.renew_token(&account, Duration::from_secs(3600)).await;
        account
    }

    /// Replaces the rules of the account.
    pub async fn grant(&self, account: &Account, rules: &Value) {
        let Account { namespace, name, .. } = account;
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/{name}");
        self.must(Method::PATCH, &path, Some(&json!({ "rules": rules }))).await;
    }

    /// Puts a new token in place, as the kubelet does: the file is replaced. The API server accepts no life below ten minutes.
    pub async fn renew_token(&self, account: &Account, life: Duration) {
        let Account { namespace, name, folder } = account;
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": life.as_secs() } });
        let answer = self.must(Method::POST, &path, Some(&request)).await;
        let temporary = folder.join("..token");
        std::fs::write(&temporary, answer["status"]["token"].as_str().unwrap()).unwrap();
        std::fs::rename(temporary, folder.join("token")).unwrap();
    }

    /// The audited requests of the account.
    pub fn audited(&self, account: &Account) -> Vec<Value> {
        let user = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
        let log = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["user"]["username"] == user.as_str()).collect()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn last_log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.log(name)).unwrap_or_default();
        let both = format!("{}\n{}", read("etcd.log"), read("api-server.log"));
        let lines: Vec<&str> = both.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

// === impl Account ===

impl Account {
    /// The directory with token, CA and namespace.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

// === impl Running ===

impl Running {
    fn start(command: &Command, log: &Path) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let script = r#"exec 3<&0; "$@" </dev/null 3<&- >&2 & program=$!; echo $program; read _ <&3
            kill -KILL $program 2>&-; wait $program"#;
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("sh");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        Self { stdin: shell.stdin.take(), shell, pid }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A stopped program cannot be waited for by its shell.
        let _ = kill_process(self.pid, Signal::CONT);
        drop(self.stdin.take());
        let _ = self.shell.wait();
    }
}

fn janitor(folders: &[&Path]) -> ChildStdin {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"read _; sleep 2; rm -rf "$@""#, "sh"]).args(folders);
    shell.stdin(Stdio::piped()).spawn().expect("sh").stdin.take().unwrap()
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Taken at the same time, so that they differ.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap().port())
}
