//! A reader follows the documents: a process runs their blocks in order, in an empty home, also as another user. Only URLs, paths
//! and placeholders are replaced. Each ends with a 200 from the API.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use simulator::{CLIENT_ID, CLIENT_SECRET, Options, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{blocks, read};
use testkit::{output, program};

/// A bound for a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends each `curl` with the status, so that the test can see it.
const PRELUDE: &str = "curl() { command curl -sS -w '\\n%{http_code}\\n' \"$@\"; }\n";

struct Reader {
    simulator: Simulator,
    home: TempDir,
    /// Another user than that of the tests.
    user: Option<u32>,
    /// `export` lines of earlier blocks: all blocks of a page belong to one shell.
    exports: String,
    /// The proxy, once a block has started it, and its address.
    proxy: Option<(Child, SocketAddr)>,
}

#[tokio::test]
async fn the_quick_start_with_a_refresh_token_ends_in_a_200() {
    for user in users() {
        let mut reader = Reader::new(user).await;
        let readme = read("README.md");
        reader.follow(section(&readme, "### I have a refresh token")).await;
        reader.follow(section(&readme, "## Does it work?")).await;
        let printed = reader.follow(section(&readme, "## Point your program at it")).await;
        assert!(printed.ends_with("\n200\n"), "{printed}");
    }
}

#[tokio::test]
async fn the_quick_start_with_client_credentials_ends_in_a_200() {
    for user in users() {
        let mut reader = Reader::new(user).await;
        let readme = read("README.md");
        reader.follow(section(&readme, "### Client credentials")).await;
        let printed = reader.follow(section(&readme, "## Point your program at it")).await;
        assert!(printed.ends_with("\n200\n"), "{printed}");
    }
}

#[tokio::test]
async fn the_tutorial_for_another_server_ends_in_a_200() {
    for user in users() {
        let mut reader = Reader::new(user).await;
        let printed = reader.follow(&read("docs/tutorials/another-server.md")).await;
        assert!(printed.ends_with("\n200\n"), "{printed}");
    }
}

#[tokio::test]
async fn the_tutorial_for_passolution_ends_in_a_200() {
    for user in users() {
        let mut reader = Reader::new(user).await;
        let printed = reader.follow(&read("docs/tutorials/passolution.md")).await;
        assert!(printed.ends_with("\n200\n"), "{printed}");
    }
}

#[tokio::test]
async fn the_guide_to_configure_by_hand_ends_in_a_200() {
    for user in users() {
        let mut reader = Reader::new(user).await;
        let guide = read("docs/guides/configure-by-hand.md");
        let (guide, _) = guide.split_once("\n## Differences between servers").unwrap();
        reader.configure(guide);
        let printed = reader.follow(guide).await;
        assert!(printed.ends_with("\n200\n"), "{printed}");
    }
}

#[tokio::test]
async fn the_guide_for_an_access_token_ends_in_a_200() {
    for user in users() {
        let mut reader = Reader::new(user).await;
        let guide = read("docs/guides/access-token.md");
        reader.configure(&guide);
        reader.follow(&guide).await;
        let printed = reader.run("curl http://127.0.0.1:8080/api/v2/countries").await;
        assert!(printed.ends_with("\n200\n"), "{printed}");
    }
}

// === impl Reader ===

impl Reader {
    /// A reader who has what the documents expect: the program, and the secret and a refresh token in files.
    async fn new(user: Option<u32>) -> Self {
        let simulator = Simulator::start(Options::league9()).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        write(&home.path().join("client-secret"), CLIENT_SECRET);
        write(&home.path().join("refresh-token.txt"), &simulator.grant().refresh_token);
        // The build directory may be closed to other users.
        std::fs::create_dir(home.path().join("bin")).unwrap();
        // A child that another test forks must not inherit the file open for writing: the program could not run (ETXTBSY).
        let copied = std::process::Command::new("cp").arg(program()).arg(home.path().join("bin/bearer-proxy")).status();
        assert!(copied.unwrap().success());
        let reader = Self { simulator, home, user, exports: String::new(), proxy: None };
        reader.own("client-secret");
        reader.own("refresh-token.txt");
        reader.own("");
        reader
    }

    /// Gives a file of the home to the user.
    fn own(&self, name: &str) {
        if self.user.is_some() {
            std::os::unix::fs::chown(self.home.path().join(name), self.user, self.user).unwrap();
        }
    }

    /// Writes the first configuration of a text to `config.toml`.
    fn configure(&self, text: &str) {
        let (_, block) = blocks(text, "toml").swap_remove(0);
        std::fs::write(self.home.path().join("config.toml"), self.adapted(&block)).unwrap();
        self.own("config.toml");
    }

    /// Runs all shell blocks of a text, and returns what the last one printed.
    async fn follow(&mut self, text: &str) -> String {
        let mut printed = String::new();
        for (_, block) in blocks(text, "sh") {
            printed = self.run(&block).await;
        }
        printed
    }

    async fn run(&mut self, block: &str) -> String {
        let block = self.adapted(block);
        let before = format!("{PRELUDE}{}", self.exports);
        self.exports.extend(block.lines().filter(|line| line.starts_with("export ")).map(|line| format!("{line}\n")));
        let (first, last) = block.trim_end().rsplit_once('\n').unwrap_or(("", block.trim_end()));
        if last.starts_with("bearer-proxy ") && last.ends_with(" serve") {
            // The program replaces the shell, so that the end of the test ends it.
            self.serve(&format!("{before}{first}\nexec {last}")).await;
            return String::new();
        }
        let (status, out, err) = output(self.shell(&format!("{before}{block}"))).await;
        assert!(status.success(), "{status}\n{block}\n{out}{err}");
        out
    }

    /// Runs a block whose last command does not end. A reader would open another shell.
    async fn serve(&mut self, script: &str) {
        let mut child = self.shell(script).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = async {
            let mut seen = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                let event = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
                let fields = event.get("fields").unwrap_or(&event);
                if fields["message"] == "listening" {
                    return fields["address"].as_str().unwrap().parse().unwrap();
                }
                seen += &line;
            }
            panic!("the proxy did not start: {seen}");
        };
        let address = timeout(PATIENCE, address).await.expect("the proxy did not say where it listens");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.proxy = Some((child, address));
    }

    fn shell(&self, script: &str) -> Command {
        let home = self.home.path();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut bash = match self.user {
            None => Command::new("bash"),
            Some(user) => {
                let mut setpriv = Command::new("setpriv");
                setpriv.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).args(["--clear-groups", "bash"]);
                setpriv
            }
        };
        bash.args(["-euo", "pipefail", "-c", script]).current_dir(home).env_clear().kill_on_drop(true);
        bash.env("HOME", home).env("PATH", format!("{}/bin:{path}", home.display()));
        // Other tests use the default ports.
        bash.env("BEARER_PROXY_LISTEN", "127.0.0.1:0").env("BEARER_PROXY_LOG__FORMAT", "json");
        bash.env("BEARER_PROXY_ADMIN__LISTEN", format!("unix:{}", home.join("admin.sock").display()));
        bash.env("BEARER_PROXY_UPSTREAM__URL", self.simulator.origin());
        if !self.is_static() {
            bash.env("BEARER_PROXY_OAUTH__TOKEN_URL", self.simulator.token_url());
        }
        bash
    }

    /// Without a token endpoint, its URL would have no effect, which causes a warning.
    fn is_static(&self) -> bool {
        std::fs::read_to_string(self.home.path().join("config.toml")).is_ok_and(|text| text.contains("\"static\""))
    }

    fn adapted(&self, text: &str) -> String {
        let home = self.home.path().display();
        // The profile passolution has URLs of its own; the flags replace them.
        let is_passolution = text.contains("--profile passolution");
        let urls = format!(" --upstream-url {} --token-url {}", self.simulator.origin(), self.simulator.token_url());
        let urls = if is_passolution { &urls } else { "" };
        let address = self.proxy.as_ref().map_or("127.0.0.1:8080".to_owned(), |(_, address)| address.to_string());
        text.replace("https://api.example/v1", &self.simulator.origin())
            .replace("https://api.example", &self.simulator.origin())
            .replace("https://login.example/oauth/token", &self.simulator.token_url())
            .replace("/etc/bearer-proxy", &home.to_string())
            .replace("/var/lib/bearer-proxy", &home.to_string())
            .replace("YOUR-CLIENT-ID", &format!("{CLIENT_ID}{urls}"))
            .replace("THE-ACCESS-TOKEN", &self.simulator.grant().access_token)
            .replace("127.0.0.1:8080/users", "127.0.0.1:8080/api/v2/version")
            .replace("127.0.0.1:8080", &address)
    }
}

/// The user of the tests and, if that is root, another one.
fn users() -> Vec<Option<u32>> {
    const NOBODY: u32 = 65534;
    if rustix::process::geteuid().is_root() { vec![None, Some(NOBODY)] } else { vec![None] }
}

/// A section of a page, with its subsections.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no such heading: {heading}"));
    let level = heading.split(' ').next().unwrap();
    let end = (1..=level.len()).filter_map(|depth| rest.find(&format!("\n{} ", "#".repeat(depth)))).min();
    &rest[..end.unwrap_or(rest.len())]
}

/// Readable for its owner only, as the documents create it.
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
