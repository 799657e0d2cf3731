//! The tasks of developers: `cargo xtask setup`, `cargo xtask test`, `cargo xtask docs`, `cargo xtask page`.
//!
//! The crate has no dependencies, so that it builds in a second.

mod setup;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

/// Why a task failed, and what to do.
#[derive(Debug)]
pub struct Failure(String);

const HELP: &str = "\
The tasks of developers.

Usage: cargo xtask TASK

  setup           Install the programs that the tests need, or print the command that does
  test [OPTIONS]  Do that, then run all tests; the options go to `cargo test`
  docs            Write the generated parts of docs/reference, then check all documents
  page            Compress the files of the admin page, which the program embeds
";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let result = match task.as_str() {
        "setup" => setup::run(),
        "test" => setup::run().and_then(|()| test(&arguments.collect::<Vec<_>>())),
        "docs" => docs(),
        "page" => page(),
        "" | "help" | "-h" | "--help" => {
            // A closed stream is not an error.
            let _ = io::stdout().write_all(HELP.as_bytes());
            Ok(())
        }
        other => Err(Failure(format!("unknown task {other:?}: expected setup, test, docs or page"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(text)) => {
            let _ = writeln!(io::stderr(), "xtask: {text}");
            ExitCode::FAILURE
        }
    }
}

/// All tests: those of the default features, then those that stop the program at each step of a rotation.
fn test(options: &[String]) -> Result<(), Failure> {
    run(cargo(&["test", "--locked"]).args(options))?;
    run(cargo(&["test", "--locked", "--features", "fault-points", "--test", "crash"]).args(options))
}

/// The tests of the documents, which also write them. The second run checks what the first has written.
fn docs() -> Result<(), Failure> {
    let tests = ["test", "--locked", "--package", "bearer-proxy", "--test", "promises", "documents_are_true"];
    run(cargo(&tests).env("UPDATE_DOCS", "1"))?;
    run(&mut cargo(&tests))
}

/// Compresses each source beside itself, without a name and a time, so that the same source has the same bytes.
fn page() -> Result<(), Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/admin/page/assets");
    let unreadable = |error: io::Error| Failure(format!("cannot read {}: {error}", folder.display()));
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension != "gz") {
            run(Command::new("gzip").args(["-9", "-n", "-k", "-f"]).arg(path))?;
        }
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

fn run(command: &mut Command) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!("{command:?} failed ({status})"))),
        Err(error) => Err(Failure(format!("cannot run cargo: {error}"))),
    }
}
