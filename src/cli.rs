//! Arguments to command to exit code. One file a command.
//!
//! Messages go to standard error, results to standard output (interface document §1). A command gives back what it has to say;
//! what is printed is printed here.

mod check;
pub mod config;
#[cfg(feature = "simulator")]
pub mod demo;
mod import;
mod login;
mod refresh;
mod seal;
pub mod serve;
mod status;
mod wait;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::admin::client::{Answer, ClientError};
use crate::config::{Config, Errors, Loaded, LogConfig, LogFormat, LogRequests, Sources};
use crate::secret::forbid_dumps;
use crate::telemetry::{AlreadyInitialised, Logs};
use crate::token::InvalidToken;
use crate::token::refresher::Ending;

/// Sends plain requests on to an upstream API, with a valid bearer token that it keeps fresh.
#[derive(Debug, Parser)]
#[command(name = "bearer-proxy", version, arg_required_else_help = true)]
struct Arguments {
    /// Configuration file (TOML); else BEARER_PROXY_CONFIG names it. Every key can also be set in the environment
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until SIGTERM or SIGINT, then drain
    Serve,
    /// Log in with a browser, and store the grant
    Login(login::Options),
    /// Store a grant: a refresh token, or the token endpoint's JSON answer, read from standard input
    Import(import::Options),
    /// Encrypt a stored plaintext grant with the first key in store.keys. Until then, a plaintext grant is refused if store.keys is set
    Seal,
    /// Show the grant's state, from the running proxy, or from the store when none runs
    Status(status::Options),
    /// Force one refresh in the running proxy and wait for its outcome
    Refresh,
    /// Find what stops the proxy from working, and print the fix
    Check(check::Options),
    /// Wait until the running proxy is ready
    Wait(wait::Options),
    /// Print the effective configuration, each value with where it came from
    Config(config::Options),
    /// Show it all without an account: a simulated authorization server and API, and the proxy in front of them
    #[cfg(feature = "simulator")]
    Demo {
        /// Exit after the tour
        #[arg(long)]
        once: bool,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    NeedsLogin = 3,
    /// `EX_SOFTWARE` of sysexits.h.
    ComponentFailed = 70,
    /// `EX_CONFIG` of sysexits.h.
    InvalidConfiguration = 78,
}

/// What a command has found, for standard output.
#[derive(Debug)]
struct Outcome {
    text: String,
    exit: Exit,
}

/// Why a command did not do what it should: what happened and what to do, for standard error.
#[derive(Debug)]
struct Failure {
    text: String,
    exit: Exit,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // Before the first secret is read, for every command.
    forbid_dumps();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap knows which stream each belongs on.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match arguments.run() {
        // Whoever closed the stream does not want the rest.
        Ok(Outcome { text, exit }) => match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush())
        {
            Ok(()) => exit.into(),
            Err(_) => Exit::Failed.into(),
        },
        Err(Failure { text, exit }) => {
            let _ = writeln!(io::stderr(), "bearer-proxy: {text}");
            exit.into()
        }
    }
}

// === impl Arguments ===

impl Arguments {
    fn run(self) -> Result<Outcome, Failure> {
        match self.command {
            Command::Serve => serve(&self.sources()),
            Command::Login(ref options) => self.with_config(async |config| login::command(config, options).await),
            Command::Import(ref options) => self.with_config(async |config| import::run(config, options).await),
            Command::Seal => self.with_config(async |config| seal::run(config).await),
            Command::Status(ref options) => self.with_config(async |config| status::run(config, options).await),
            Command::Refresh => self.with_config(async |config| refresh::run(config).await),
            Command::Check(ref options) => check(&self.sources(), options),
            Command::Wait(ref options) => self.with_config(async |config| wait::run(config, options).await),
            Command::Config(ref options) if options.schema => config::schema(),
            Command::Config(_) => {
                let loaded = self.load()?;
                for warning in &loaded.warnings {
                    let _ = writeln!(io::stderr(), "bearer-proxy: warning: {warning}");
                }
                Ok(Outcome::done(config::print(&loaded.effective)))
            }
            #[cfg(feature = "simulator")]
            Command::Demo { once } => demo(once),
        }
    }

    fn sources(&self) -> Sources {
        Sources::new(self.config.clone(), std::env::vars_os())
    }

    fn load(&self) -> Result<Loaded, Failure> {
        Ok(Config::load(&self.sources())?)
    }

    fn with_config(&self, command: impl AsyncFnOnce(&Config) -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
        let config = self.load()?.config;
        // Of what the store and the like have to say, a person at a command wants to see the warnings.
        let log = LogConfig { format: LogFormat::Text, level: tracing::Level::WARN, requests: LogRequests::None };
        let _logs = Logs::init(&log)?;
        runtime()?.block_on(command(&config))
    }
}

fn serve(sources: &Sources) -> Result<Outcome, Failure> {
    let loaded = Config::load(sources)?;
    let logs = Logs::init(&loaded.config.log)?;
    match runtime()?.block_on(serve::run(loaded, sources, &logs)) {
        Ok(Ending::Stored) => Ok(Outcome::done("")),
        // The log says what is lost.
        Ok(Ending::GrantLost) => Ok(Outcome { text: String::new(), exit: Exit::Failed }),
        Err(error) => {
            // Where all else that this process has to say is looked for.
            tracing::error!("{error}");
            let exit = if matches!(error, serve::ServeError::Died(_)) { Exit::ComponentFailed } else { Exit::Failed };
            Ok(Outcome { text: String::new(), exit })
        }
    }
}

fn check(sources: &Sources, options: &check::Options) -> Result<Outcome, Failure> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(check::run(sources, options));
    // A disk that hangs must not keep the command from its end.
    runtime.shutdown_background();
    outcome.map_err(|error| Failure::new(error.to_string()))
}

#[cfg(feature = "simulator")]
fn demo(once: bool) -> Result<Outcome, Failure> {
    runtime()?.block_on(async {
        let mut stop = serve::Stop::new().map_err(|error| Failure::new(error.to_string()))?;
        let stopped = async {
            stop.received().await;
        };
        // Written as it happens: people watch.
        demo::run(once, &mut io::stdout(), stopped).await.map_err(|error| Failure::new(error.to_string()))?;
        Ok(Outcome::done(""))
    })
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The control plane's runtime, and a command's.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_keep_alive(YEAR).build();
    let runtime = runtime.map_err(|error| Failure::new(format!("the runtime could not be started: {error}")))?;
    // One thread for blocking work is there from the start and stays. Without one, work for which the system gives no thread
    // would panic in the task that asks for it; with one, it waits.
    runtime.spawn_blocking(|| {});
    Ok(runtime)
}

// === impl Outcome ===

impl Outcome {
    fn done(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Done }
    }
}

// === impl Failure ===

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Failed }
    }

    /// The admin listener answered, and not as it should.
    fn unexpected(answer: &Answer) -> Self {
        let hint =
            if answer.status == http::StatusCode::UNAUTHORIZED { " (is admin.key the running proxy's?)" } else { "" };
        Self::new(format!("the admin listener answered {}: {}{hint}", answer.status, answer.detail()))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(error.to_string())
    }
}

/// Of `oauth.refresh_token`, the only token in a configuration that commands read.
impl From<InvalidToken> for Failure {
    fn from(error: InvalidToken) -> Self {
        Self { text: format!("oauth.refresh_token: {error}"), exit: Exit::InvalidConfiguration }
    }
}

impl From<AlreadyInitialised> for Failure {
    fn from(error: AlreadyInitialised) -> Self {
        Self::new(error.to_string())
    }
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Self {
        Self { text: format!("the configuration is invalid:\n{errors}"), exit: Exit::InvalidConfiguration }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests;
