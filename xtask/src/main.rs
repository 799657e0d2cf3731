//! The tasks of developers: `cargo xtask setup`, `cargo xtask test`, `cargo xtask docs`.
//!
//! The crate has no dependencies, so that it builds in a second.

mod setup;

use std::env;
use std::io::{self, Write};
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
";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let result = match task.as_str() {
        "setup" => setup::run(),
        "test" => setup::run().and_then(|()| test(&arguments.collect::<Vec<_>>())),
        "docs" => docs(),
        "" | "help" | "-h" | "--help" => {
            // A closed stream is not an error.
            let _ = io::stdout().write_all(HELP.as_bytes());
            Ok(())
        }
        other => Err(Failure(format!("unknown task {other:?}: expected setup, test or docs"))),
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
