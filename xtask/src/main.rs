//! The tasks of developers: `cargo xtask setup`, `cargo xtask test`.
//!
//! No dependencies, so that it is built in a second.

mod setup;

use std::env;
use std::io::{self, Write};
use std::process::{Command, ExitCode};

/// Why a task did not succeed, with what to do.
#[derive(Debug)]
pub struct Failure(String);

const HELP: &str = "\
The tasks of developers.

Usage: cargo xtask TASK

  setup           Install the programs that the tests need, or print the command that does
  test [OPTIONS]  Do that, then run all tests; the options go to `cargo test`
";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let result = match task.as_str() {
        "setup" => setup::run(),
        "test" => setup::run().and_then(|()| test(&arguments.collect::<Vec<_>>())),
        "" | "help" | "-h" | "--help" => {
            // Whoever closed the stream does not want the text.
            let _ = io::stdout().write_all(HELP.as_bytes());
            Ok(())
        }
        other => Err(Failure(format!("unknown task {other:?}: expected setup or test"))),
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
    cargo(&["test", "--locked"], options)?;
    cargo(&["test", "--locked", "--features", "fault-points", "--test", "crash"], options)
}

fn cargo(arguments: &[&str], options: &[String]) -> Result<(), Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(arguments).args(options).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!("`cargo {}` failed ({status})", arguments.join(" ")))),
        Err(error) => Err(Failure(format!("cannot run cargo: {error}"))),
    }
}
