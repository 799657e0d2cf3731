//! Parses the arguments, runs one command, and returns its exit code. Each command has its own file.
//!
//! Messages go to standard error, results to standard output. A command returns its result, and this file prints it.

mod check;
mod completions;
pub mod config;
#[cfg(feature = "simulator")]
pub mod demo;
mod import;
mod init;
mod login;
mod man;
mod progress;
mod refresh;
mod seal;
pub mod serve;
mod status;
mod terminal;
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

/// An authenticating gateway: forwards plain requests to an API with a valid OAuth 2.0 bearer token, and keeps the token fresh
#[derive(Debug, Parser)]
#[command(name = "bearer-proxy", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    /// Configuration file (TOML), also BEARER_PROXY_CONFIG. Every key can also be set in the environment
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set everything up: ask, write the configuration, obtain a grant, send a first request
    #[command(after_help = "\
Examples:
  bearer-proxy init
  bearer-proxy init --grant client_credentials --profile passolution --client-id ID --client-secret-file - < secret.txt")]
    Init(Box<init::Options>),
    /// Run the proxy until SIGTERM or SIGINT, then drain
    #[command(after_help = "Example:\n  bearer-proxy --config /etc/bearer-proxy/config.toml serve")]
    Serve,
    /// Log in with a browser, and store the grant
    #[command(after_help = "\
Examples:
  bearer-proxy login
  bearer-proxy login --paste      the browser runs on another machine")]
    Login(login::Options),
    /// Store a grant: a refresh token, or the token endpoint's response, read from standard input
    #[command(after_help = "Example:\n  bearer-proxy import < refresh-token.txt")]
    Import(import::Options),
    /// Encrypt a stored plaintext grant with the first key in store.keys. Until then, a plaintext grant is refused if store.keys is set
    #[command(after_help = "\
Example:
  openssl rand -base64 32 > store.keys
  BEARER_PROXY_STORE__KEYS_FILE=store.keys bearer-proxy seal")]
    Seal,
    /// Print the state of the grant, from the running proxy, or from the store if no proxy is running
    #[command(after_help = "\
Examples:
  bearer-proxy status
  bearer-proxy status --watch
  bearer-proxy status --json | jq .expires_at

Exit codes: 0 a usable token exists, 1 none exists, 3 the grant needs a login")]
    Status(status::Options),
    /// Force one refresh in the running proxy and wait for the outcome
    #[command(after_help = "Example:\n  bearer-proxy refresh")]
    Refresh,
    /// Find what stops the proxy from working, and print the fix
    #[command(after_help = "Example:\n  bearer-proxy --config /etc/bearer-proxy/config.toml check")]
    Check(check::Options),
    /// Wait until the running proxy is ready
    #[command(after_help = "Example:\n  bearer-proxy wait --timeout 30s && ./run-tests")]
    Wait(wait::Options),
    /// Print the effective configuration and the source of each value
    #[command(after_help = "\
Examples:
  bearer-proxy config
  bearer-proxy config --schema | psql postgres://bearer_proxy@db.example/grants")]
    Config(config::Options),
    /// Show how it works without an account: simulated servers, and the proxy in front of them
    #[cfg(feature = "simulator")]
    #[command(after_help = "Example:\n  bearer-proxy demo --once")]
    Demo {
        /// Exit after the tour
        #[arg(long)]
        once: bool,
    },
    /// Print the completions of a shell
    #[command(after_help = "\
Examples:
  bearer-proxy completions bash > /etc/bash_completion.d/bearer-proxy
  bearer-proxy completions zsh > \"${fpath[1]}/_bearer-proxy\"")]
    Completions(completions::Options),
    /// Print the manual page
    #[command(after_help = "Example:\n  bearer-proxy man > /usr/local/share/man/man1/bearer-proxy.1")]
    Man,
}

/// The assumed width of a terminal.
const COLUMNS: usize = 80;

const EXAMPLES: &str = "\
Examples:
  bearer-proxy demo      see how it works, without an account
  bearer-proxy init      set it up
  bearer-proxy status    see whether it works";

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

/// The result of a command, for standard output.
#[derive(Debug)]
struct Outcome {
    text: String,
    exit: Exit,
}

/// Why a command failed: what happened, and what to do. For standard error.
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
            // clap prints help and version on standard output, and errors on standard error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match arguments.run() {
        // A reader that closed the stream does not want the rest.
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
            Command::Init(ref options) => with_warnings(async || init::run(options).await),
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
            Command::Completions(ref options) => Ok(completions::run(options)),
            Command::Man => man::run(),
        }
    }

    fn sources(&self) -> Sources {
        Sources::new(self.config.clone(), std::env::vars_os())
    }

    fn load(&self) -> Result<Loaded, Failure> {
        load(&self.sources())
    }

    fn with_config(&self, command: impl AsyncFnOnce(&Config) -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
        let config = self.load()?.config;
        with_warnings(async || command(&config).await)
    }
}

fn load(sources: &Sources) -> Result<Loaded, Failure> {
    Config::load(sources).map_err(|errors| {
        let hint = sources.file_hint(&errors);
        let mut failure = Failure::from(errors);
        if let Some(hint) = hint {
            failure.text += &format!("\n{hint}");
        }
        failure
    })
}

/// Runs a command. The log shows a person only warnings and errors.
fn with_warnings(command: impl AsyncFnOnce() -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    let log = LogConfig { format: LogFormat::Text, level: tracing::Level::WARN, requests: LogRequests::None };
    let _logs = Logs::init(&log)?;
    runtime()?.block_on(command())
}

fn serve(sources: &Sources) -> Result<Outcome, Failure> {
    let loaded = load(sources)?;
    let logs = Logs::init(&loaded.config.log)?;
    match runtime()?.block_on(serve::run(loaded, sources, &logs)) {
        Ok(Ending::Stored) => Ok(Outcome::done("")),
        // The log says what is lost.
        Ok(Ending::GrantLost) => Ok(Outcome { text: String::new(), exit: Exit::Failed }),
        Err(error) => {
            // In the log, where an operator looks for it.
            tracing::error!("{error}");
            let exit = if matches!(error, serve::ServeError::Died(_)) { Exit::ComponentFailed } else { Exit::Failed };
            Ok(Outcome { text: String::new(), exit })
        }
    }
}

fn check(sources: &Sources, options: &check::Options) -> Result<Outcome, Failure> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(check::run(sources, options));
    // A hung disk must not keep the command from exiting.
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
        // Not returned as a result: people watch the steps as they happen.
        demo::run(once, &mut io::stdout(), stopped).await.map_err(|error| Failure::new(error.to_string()))?;
        Ok(Outcome::done(""))
    })
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The control plane's runtime, and a command's.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_keep_alive(YEAR).build();
    let runtime = runtime.map_err(|error| Failure::new(format!("the runtime could not be started: {error}")))?;
    // This starts one thread for blocking work, which stays. tokio panics if it needs a thread, has none, and the system refuses one;
    // with one thread, the work waits.
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

    /// The admin listener gave an answer that the command cannot use.
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

/// About `oauth.refresh_token`, the only token that commands read from the configuration.
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
