//! `login`: the authorization code flow on a terminal.
//!
//! The redirect of a browser and a pasted URL are awaited in one run. The first response that belongs to this login is used.

mod browser;
mod callbacks;
mod page;
mod port_owner;
mod surroundings;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use url::Url;
use zeroize::Zeroizing;

use self::callbacks::Callbacks;
use self::surroundings::Surroundings;
use super::terminal::{Input, Key};
use super::{Failure, Outcome};
use crate::config::{Config, parse_duration};
use crate::files;
use crate::token::login::{Authorization, Callback, LoginError, Malformed, Ready, Redirect, Stored, preflight, spell};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Do not open a browser
    #[arg(long)]
    pub(super) no_browser: bool,
    /// Listen for the redirect on this port, instead of the port of oauth.redirect_uri or any free one
    #[arg(long, value_name = "PORT", conflicts_with_all = ["paste", "from_file"], value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Do not listen: read the redirected URL, or the code, from standard input
    #[arg(long)]
    pub(super) paste: bool,
    /// Do not listen: wait for this file to hold the redirected URL, or the code
    #[arg(long, value_name = "FILE", conflicts_with = "paste")]
    pub(super) from_file: Option<PathBuf>,
    /// Time limit of the login
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub(super) timeout: Duration,
}

/// How often the file of `--from-file` is read.
const LOOK: Duration = Duration::from_millis(250);
/// A line that follows a URL so soon may be a part of it.
const FRAGMENT: Duration = Duration::from_secs(2);

pub(super) async fn command(config: &Config, options: &Options) -> Result<Outcome, Failure> {
    let stored = run(config, options).await?;
    Ok(Outcome::done(format!("{stored}\n")))
}

/// Logs a person in and stores the grant. Talks to the person on standard error.
///
/// SIGINT, SIGTERM, SIGHUP and SIGQUIT have no default effect on this process from here on, also after this has returned.
///
/// # Errors
/// No grant was stored.
pub(super) async fn run(config: &Config, options: &Options) -> Result<Stored, LoginError> {
    // Before the first question, so that no signal leaves a terminal behind that does not echo.
    let mut signals = Signals::new().map_err(LoginError::Signals)?;
    let ready = Ready::new(config).await?;
    let redirect = match &config.oauth.login.redirect_uri {
        Some(registered) => Redirect::new(registered, options.port),
        None => {
            return Err(LoginError::Configuration("oauth.redirect_uri is not set. Set it as it is registered".into()));
        }
    };
    let listens = !options.paste && options.from_file.is_none() && config.oauth.login.authorize_url.is_some();
    let mut callbacks = match redirect.loopback().filter(|_| listens) {
        Some(loopback) => Some(Callbacks::bind(loopback).await?),
        None => None,
    };
    let sent = callbacks.as_ref().map_or(redirect.registered(), Callbacks::redirect_uri).to_owned();
    let authorization = Arc::new(ready.authorization(&sent)?);
    if let Some(callbacks) = &mut callbacks {
        callbacks.serve(&authorization);
    }
    let mut waiting = Waiting {
        input: if options.from_file.is_none() { Input::open() } else { Input::none() },
        callbacks,
        file: options.from_file.as_deref().map(watch).transpose()?,
        ignored: 0,
        url_came: None,
    };
    show(&authorization, &waiting, options, &Surroundings::detect());
    if let Some(url) = authorization.url().filter(|_| !options.no_browser) {
        browser::open(url);
    }

    let deadline = Instant::now() + options.timeout;
    let checked = preflight(&ready, &config.outbound, redirect.registered(), &sent);
    tokio::pin!(checked);
    let mut is_checked = false;
    let callback = loop {
        tokio::select! {
            biased;
            by = signals.received() => {
                let (ignored, registered) = (waiting.ignored(), redirect.registered().to_owned());
                return Err(LoginError::Interrupted { by, ignored, registered });
            }
            arrival = waiting.next(&authorization) => match arrival? {
                Arrival::Callback(callback) => break callback,
                Arrival::Interrupt => {
                    let (ignored, registered) = (waiting.ignored(), redirect.registered().to_owned());
                    return Err(LoginError::Interrupted { by: "Ctrl-C", ignored, registered });
                }
            },
            result = &mut checked, if !is_checked => {
                result?;
                is_checked = true;
            }
            () = sleep_until(deadline) => {
                let (after, ignored, registered) = (options.timeout, waiting.ignored(), redirect.registered().to_owned());
                return Err(LoginError::TimedOut { after, ignored, registered });
            }
        }
    };
    let result = match Authorization::code(callback) {
        Ok(code) => {
            say("The response has arrived. The code is being exchanged.");
            // A signal waits for the outcome: the response may be the only one that has the refresh token.
            ready.exchange(&code, &authorization, redirect.registered()).await
        }
        Err(error) => Err(error),
    };
    if let Some(callbacks) = waiting.callbacks.take() {
        callbacks.finish(result.is_ok()).await;
    }
    result
}

/// Where a response may come from.
struct Waiting {
    input: Input,
    callbacks: Option<Callbacks>,
    file: Option<mpsc::Receiver<FileText>>,
    /// Pasted or read responses that belong to another login.
    ignored: usize,
    /// When a part of a URL was last pasted that was not accepted.
    url_came: Option<Instant>,
}

type FileText = Result<Zeroizing<String>, LoginError>;

enum Arrival {
    Callback(Callback),
    Interrupt,
}

// === impl Waiting ===

impl Waiting {
    /// The next response that belongs to this login. Loses nothing when it is dropped.
    async fn next(&mut self, authorization: &Authorization) -> Result<Arrival, LoginError> {
        loop {
            let redirected = async {
                match &mut self.callbacks {
                    Some(callbacks) => callbacks.next().await,
                    None => std::future::pending().await,
                }
            };
            let written = async {
                match &mut self.file {
                    // The channel closes after an error.
                    Some(texts) => texts.recv().await.unwrap_or(Err(LoginError::InputEnded)),
                    None => std::future::pending().await,
                }
            };
            let text = tokio::select! {
                callback = redirected => return Ok(Arrival::Callback(callback)),
                key = self.input.next() => match key {
                    Key::Line(line) => line,
                    Key::Interrupt => return Ok(Arrival::Interrupt),
                    Key::TooLong => {
                        not_accepted(Malformed::TooLong);
                        continue;
                    }
                    Key::NotText => {
                        not_accepted(Malformed::Character);
                        continue;
                    }
                    // The browser may still come.
                    Key::End if self.callbacks.is_some() => continue,
                    Key::End => return Err(LoginError::InputEnded),
                },
                text = written => text?,
            };
            let is_url = text.contains("://") && self.file.is_none();
            // A line of a wrapped URL looks like a code. The server would refuse it, and the login would end.
            if !is_url && !text.trim().is_empty() && self.url_came.is_some_and(|at| at.elapsed() < FRAGMENT) {
                self.url_came = Some(Instant::now());
                say(&format!(
                    "Not accepted: it may be a part of the URL before it. Paste the whole URL without line breaks, or wait {} \
                     and paste only the code.",
                    spell(FRAGMENT)
                ));
                continue;
            }
            self.url_came = is_url.then(Instant::now);
            match Callback::from_pasted(&text) {
                Ok(callback) if authorization.check(&callback).is_ok() => return Ok(Arrival::Callback(callback)),
                Ok(_) => {
                    self.ignored += 1;
                    say(
                        "This response belongs to another login, and was ignored. Paste the one that follows from the URL above.",
                    );
                }
                Err(Malformed::Empty) => {}
                Err(malformed) => not_accepted(malformed),
            }
        }
    }

    fn ignored(&self) -> usize {
        self.ignored + self.callbacks.as_ref().map_or(0, Callbacks::ignored)
    }
}

/// Sends each new text of the file.
///
/// It has a thread of its own, which the end of the process does not wait for: a pipe may block for seconds.
///
/// # Errors
/// The thread cannot be started.
fn watch(path: &Path) -> Result<mpsc::Receiver<FileText>, LoginError> {
    let (texts, receiver) = mpsc::channel(1);
    let (watched, path) = (path.to_owned(), path.to_owned());
    let follow = move || {
        let mut last = None;
        while !texts.is_closed() {
            match files::read_text(&watched) {
                Ok(text) if !text.trim().is_empty() && last.as_ref() != Some(&text) => {
                    last = Some(text.clone());
                    let _ = texts.blocking_send(Ok(text));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let _ = texts.blocking_send(Err(LoginError::File { path: watched, error }));
                    return;
                }
            }
            // Nobody unparks this thread.
            thread::park_timeout(LOOK);
        }
    };
    let started = thread::Builder::new().name("from-file".into()).spawn(follow);
    started.map(|_| receiver).map_err(|error| LoginError::File { path, error })
}

fn not_accepted(malformed: Malformed) {
    say(&format!("Not accepted: {malformed}. Use the whole URL that the browser was sent to, or only the code."));
}

/// Shows the URL first, on its own unwrapped line.
fn show(authorization: &Authorization, waiting: &Waiting, options: &Options, surroundings: &Surroundings) {
    let mut text = String::new();
    match authorization.url() {
        Some(url) => text += &format!("Open this URL in your browser and log in:\n\n{}\n\n", link(url)),
        None => {
            text += "oauth.authorize_url is not set: create an authorization code in the server's own interface.\n";
        }
    }
    let response = "the URL that the browser was sent to (or only the code)";
    match (&waiting.callbacks, &options.from_file) {
        (Some(callbacks), _) => {
            let (uri, limit) = (callbacks.redirect_uri(), spell(options.timeout));
            text += &format!("The browser returns to {uri}, where this command waits for {limit}.\n");
            text += &surroundings.advice(callbacks.address());
            if waiting.input.is_open() {
                text +=
                    &format!("If that page does not load, paste here {response}, and press Enter. Nothing is shown.\n");
            }
        }
        (None, Some(path)) => text += &format!("Then write {response} to {}.\n", path.display()),
        (None, None) if authorization.url().is_some() => {
            text += &format!(
                "The page that follows may not load. Paste here {response}, and press Enter. Nothing is shown.\n"
            );
        }
        (None, None) => text += "Paste it here, and press Enter. Nothing is shown.\n",
    }
    say(text.trim_end());
}

/// On a terminal, a link (OSC 8) that stays whole where the text is wrapped.
fn link(url: &Url) -> String {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if io::stderr().is_terminal() && !is_dumb {
        format!("\x1b]8;;{url}\x1b\\{url}\x1b]8;;\x1b\\")
    } else {
        url.to_string()
    }
}

fn say(text: &str) {
    // An error means that the reader has closed the stream.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The signals that end a login in order.
struct Signals([(Signal, &'static str); 4]);

// === impl Signals ===

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            (signal(SignalKind::interrupt())?, "SIGINT"),
            (signal(SignalKind::terminate())?, "SIGTERM"),
            (signal(SignalKind::hangup())?, "SIGHUP"),
            (signal(SignalKind::quit())?, "SIGQUIT"),
        ]))
    }

    async fn received(&mut self) -> &'static str {
        let [(int, a), (term, b), (hup, c), (quit, d)] = &mut self.0;
        tokio::select! {
            _ = int.recv() => a,
            _ = term.recv() => b,
            _ = hup.recv() => c,
            _ = quit.recv() => d,
        }
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        Self::new(format!("{error}. The stored grant is unchanged."))
    }
}
