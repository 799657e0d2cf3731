//! `completions`: a script that completes commands and options in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, Outcome};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The shell that reads the script
    shell: Shell,
}

pub(super) fn run(options: &Options) -> Outcome {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(options.shell, &mut command, "bearer-proxy", &mut script);
    Outcome::done(String::from_utf8_lossy(&script))
}
