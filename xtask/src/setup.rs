//! Installs the programs that the tests start.
//!
//! A test fails if its program is missing. This task installs all of them first.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;

/// A program that the tests start.
struct Tool {
    program: &'static str,
    /// The Debian package that has it.
    package: &'static str,
    used_by: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { program: "cc", package: "gcc libc6-dev", used_by: "the build" },
    Tool { program: "postgres", package: "postgresql", used_by: "tests of the PostgreSQL store" },
    Tool { program: "pgbouncer", package: "pgbouncer", used_by: "tests of the PostgreSQL store behind a pooler" },
    Tool { program: "ip", package: "iproute2", used_by: "tests in network namespaces" },
    Tool { program: "nft", package: "nftables", used_by: "tests of paths that lose packets" },
    Tool { program: "curl", package: "curl", used_by: "tests that follow the documents" },
    Tool { program: "slowhttptest", package: "slowhttptest", used_by: "tests of slow clients" },
];

/// Debian keeps the programs of each PostgreSQL version out of `PATH`.
const POSTGRES: &str = "/usr/lib/postgresql";

pub fn run() -> Result<(), Failure> {
    let missing: Vec<_> = TOOLS.iter().filter(|tool| !is_installed(tool.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        let _ = writeln!(io::stderr(), "xtask: missing: {} ({})", tool.program, tool.used_by);
    }
    if !is_installed("apt-get") {
        return Err(Failure("install the programs above with the package manager of this system".to_owned()));
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    let install = format!("apt-get update && apt-get install -y --no-install-recommends {}", packages.join(" "));
    let shell = match privilege() {
        Some(Privilege::Root) => Command::new("sh"),
        Some(Privilege::Sudo) => {
            let mut sudo = Command::new("sudo");
            sudo.args(["--non-interactive", "sh"]);
            sudo
        }
        None => return Err(Failure(format!("run this as root, then try again:\n\n  sudo sh -c '{install}'\n"))),
    };
    let installed = succeeds(shell, &["-c", &format!("export DEBIAN_FRONTEND=noninteractive; {install} >/dev/null")]);
    let still_missing = missing.iter().find(|tool| !is_installed(tool.program));
    match (installed, still_missing) {
        (true, None) => Ok(()),
        (_, Some(tool)) => Err(Failure(format!("{} is still missing after: {install}", tool.program))),
        (false, None) => Err(Failure(format!("this command failed: {install}"))),
    }
}

enum Privilege {
    Root,
    /// `sudo` that asks for no password.
    Sudo,
}

fn privilege() -> Option<Privilege> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout.trim_ascii() == b"0" {
        return Some(Privilege::Root);
    }
    let mut sudo = Command::new("sudo");
    sudo.stderr(Stdio::null());
    succeeds(sudo, &["--non-interactive", "true"]).then_some(Privilege::Sudo)
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    // Some packages install daemons and load generators there, and it is not in every user's `PATH`.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let versions = fs::read_dir(POSTGRES).into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    folders.chain(versions).any(|folder| is_file(&folder.join(program)))
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn succeeds(mut command: Command, arguments: &[&str]) -> bool {
    command.args(arguments).status().is_ok_and(|status| status.success())
}
