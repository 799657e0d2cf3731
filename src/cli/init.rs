//! `init`: from a client id to the first answered request.
//!
//! ```text
//! questions → answers → settings (checked) → files → grant (login, import) → first request → how to run it
//! ```

mod answers;
mod checks;
mod directory;
mod first_request;
mod form;
mod options;
mod owner;
mod settings;
mod ways;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use http::StatusCode;
use rustix::process::geteuid;

use self::answers::{Answers, Questions};
use self::directory::{CONFIG_FILE, Directory};
use self::first_request::{Answered, Unanswered};
use self::options::Grant;
use self::owner::Owner;
use self::settings::{SECRET_FILE, Settings, variable};
use self::ways::Site;
use super::{Failure, Outcome, import, login, progress};
use crate::config::{Config, Loaded, Place, Sources};
use crate::token::login::LoginError;

pub(super) use self::options::Options;

const CONFIG_MODE: u32 = 0o644;
const SECRET_MODE: u32 = 0o600;
const ROOT_DIR: &str = "/etc/bearer-proxy";
const DIR: &str = "bearer-proxy";
/// Where the program is expected if its own path cannot be printed.
const PROGRAM: &str = "/usr/local/bin/bearer-proxy";

pub(super) async fn run(options: &Options) -> Result<Outcome, Failure> {
    let dir = directory_path(options)?;
    let owner = Owner::choose(options.owner.as_deref())?;
    owner.check_reach(&dir)?;
    let mut questions = Questions::new()?;
    if dir.exists() && !options.overwrite {
        may_replace(&Directory::open(&dir)?.existing(), &mut questions).await?;
    }
    let answers = Answers::gather(options, &mut questions).await?;
    // A login asks at the same terminal.
    drop(questions);
    let settings = Settings::new(&answers, &dir);
    check(&settings, &answers)?;

    let directory = Directory::open(&dir)?;
    let kept = write(&directory, &settings, &answers, owner)?;
    tell(&format!("wrote {}", dir.display()));
    if !kept.is_empty() {
        tell(&format!("kept the replaced files as {}", kept.join(", ")));
    }

    let loaded = load(&dir, &[])?;
    if let Some(variable) = proxy_variable(&loaded) {
        tell(&format!(
            "warning: {variable} gives the outbound proxy, and a service or a container does not have this variable: set \
             outbound.proxy in {}",
            dir.join(CONFIG_FILE).display()
        ));
    }
    let go_on = |failure, command| go_on(failure, &dir, &kept, command);
    let sources = sources(&dir, &[]);
    tell(&checks::before_the_grant(&sources).await.map_err(|failure| go_on(failure, "check"))?);
    let command = if answers.grant == Grant::Login { "login" } else { "import < refresh-token.txt" };
    let secret_file = answers.client_secret.as_ref().map(|_| dir.join(SECRET_FILE));
    obtain_grant(&loaded.config, &answers, options, secret_file.as_deref())
        .await
        .map_err(|failure| go_on(failure, command))?;

    let path = loaded.config.check.path.as_deref().unwrap_or("/");
    let program = std::env::current_exe().unwrap_or_default();
    let program = if ways::needs_no_quoting(&program) { program } else { PROGRAM.into() };
    let ways = ways::ways(&Site {
        dir: &dir.to_string_lossy(),
        program: &program.to_string_lossy(),
        owner,
        grant: answers.grant,
        has_secret: answers.client_secret.is_some(),
        request_path: path,
    });

    let own_port = [("listen", "127.0.0.1:0"), ("admin.listen", "off")];
    let request = first_request::send(load(&dir, &own_port)?, path);
    let answered = progress::shown("sending a first request", request).await;
    let interrupted = matches!(&answered, Err(Unanswered { interrupted: true, .. }));
    match answered.map_err(|unanswered| unanswered.failure).and_then(|answered| judge(&answered, path)) {
        // Again at the end, because the text is longer than a screen.
        Ok(line) => Ok(Outcome::done(format!("{line}\n\n{ways}\n# The first request was answered. {line}\n"))),
        Err(failure) => {
            // Before the failure, which must stay in view at the end of a screen.
            let _ = writeln!(io::stderr(), "\n{ways}");
            if !interrupted {
                tell(&checks::after_a_failure(&sources).await.map_err(|failure| go_on(failure, "check"))?);
            }
            Err(go_on(failure, "check"))
        }
    }
}

/// The variable that gives the outbound proxy, if the file does not.
fn proxy_variable(loaded: &Loaded) -> Option<&str> {
    loaded.effective.entries().iter().find_map(|entry| match &entry.place {
        Place::Environment(name) if entry.key.name == "outbound.proxy" => Some(name.as_str()),
        _ => None,
    })
}

fn directory_path(options: &Options) -> Result<PathBuf, Failure> {
    let default = if geteuid().is_root() { ROOT_DIR } else { DIR };
    let dir = options.dir.clone().unwrap_or_else(|| default.into());
    let absolute =
        std::path::absolute(&dir).map_err(|error| Failure::new(format!("invalid --dir {}: {error}", dir.display())))?;
    // Removes a trailing slash.
    let absolute: PathBuf = absolute.components().collect();
    if ways::needs_no_quoting(&absolute) {
        return Ok(absolute);
    }
    Err(Failure::new(format!(
        "invalid --dir {:?}: expected a path of letters, digits and /._-+@ without `..`, which systemd, Docker and a shell all read as it is",
        absolute
    )))
}

/// Comes before the other questions, so that a person who keeps the files answers nothing else.
async fn may_replace(existing: &[String], questions: &mut Questions) -> Result<(), Failure> {
    let files = existing.join(", ");
    if existing.is_empty() || (questions.can_ask() && questions.confirm(&format!("Replace {files}?")).await?) {
        return Ok(());
    }
    Err(Failure::new(if questions.can_ask() {
        "nothing was changed".to_owned()
    } else {
        format!("these files exist: {files}; pass --overwrite to replace them, or name another --dir")
    }))
}

/// Finds every error before anything is written.
fn check(settings: &Settings, answers: &Answers) -> Result<(), Failure> {
    if let Some(path) = answers.request_path.as_deref().filter(|path| !ways::is_request_path(path)) {
        return Err(Failure::new(format!(
            "invalid --request-path {:?}: expected a path that begins with `/` and has no quote; nothing was written",
            path
        )));
    }
    let secret = answers.client_secret.as_ref();
    let secret = secret.map(|secret| (variable("oauth.client_secret"), secret.expose().to_owned()));
    let given = settings.variables().chain(secret).map(|(name, value)| (name.into(), value.into()));
    let sources = Sources::new(None, outside().into_iter().chain(given));
    match Config::load(&sources) {
        Ok(_) => Ok(()),
        Err(errors) => Err(Failure {
            text: format!("nothing was written, because of:\n{}", settings.by_flag(&errors.to_string())),
            exit: super::Exit::InvalidConfiguration,
        }),
    }
}

/// The environment without this program's own variables: the files alone must be enough.
fn outside() -> Vec<(OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("BEARER_PROXY_")).collect()
}

fn sources(dir: &Path, more: &[(&str, &str)]) -> Sources {
    let more = more.iter().map(|(key, value)| (OsString::from(variable(key)), OsString::from(value)));
    Sources::new(Some(dir.join(CONFIG_FILE)), outside().into_iter().chain(more))
}

fn load(dir: &Path, more: &[(&str, &str)]) -> Result<Loaded, Failure> {
    Ok(Config::load(&sources(dir, more))?)
}

/// Returns the copies of the files that were replaced: the new answers have not yet worked.
fn write(
    directory: &Directory<'_>,
    settings: &Settings,
    answers: &Answers,
    owner: Owner,
) -> Result<Vec<String>, Failure> {
    directory.make_state(owner)?;
    let mut kept = Vec::new();
    for name in [SECRET_FILE, CONFIG_FILE] {
        kept.extend(directory.keep(name)?);
    }
    if let Some(secret) = &answers.client_secret {
        directory.write(SECRET_FILE, SECRET_MODE, Some(owner), secret.expose().as_bytes())?;
    }
    // The last file, because a running proxy reloads when it changes.
    directory.write(CONFIG_FILE, CONFIG_MODE, None, settings.file().as_bytes())?;
    Ok(kept)
}

/// `secret_file`: where a person corrects the secret.
async fn obtain_grant(
    config: &Config,
    answers: &Answers,
    options: &Options,
    secret_file: Option<&Path>,
) -> Result<(), Failure> {
    match (answers.grant, &answers.refresh_token) {
        (Grant::ClientCredentials, _) => Ok(()),
        (Grant::RefreshToken, Some(token)) => {
            let input = token.expose().as_bytes();
            let outcome = import::store(config, &import::Options::default(), "the given refresh token", input).await?;
            tell(outcome.text.trim_end());
            Ok(())
        }
        (Grant::RefreshToken, None) => Err(Failure::new("there is no refresh token to import")),
        (Grant::Login, _) => {
            let stored = login::run(config, &options.login).await.map_err(|error| {
                let is_client = matches!(error, LoginError::Client { .. });
                let mut failure = Failure::from(error);
                if let Some(file) = secret_file.filter(|_| is_client) {
                    failure.text += &format!("\nThe client secret is in {}.", file.display());
                }
                failure
            })?;
            tell(&stored.to_string());
            Ok(())
        }
    }
}

/// The files are written, so the next attempt needs only one step.
fn go_on(failure: Failure, dir: &Path, kept: &[String], command: &str) -> Failure {
    let config = dir.join(CONFIG_FILE);
    let kept = if kept.is_empty() { String::new() } else { format!("; the replaced ones are {}", kept.join(", ")) };
    let text = format!(
        "{failure}\nThe files are written{kept}. To go on: bearer-proxy --config {} {command}",
        config.display()
    );
    Failure { text, ..failure }
}

/// Whether the answer shows that the proxy works.
fn judge(answered: &Answered, path: &str) -> Result<String, Failure> {
    let Answered { status, problem } = answered;
    let line = format!("GET {path}: {status}");
    let hint = match (problem, *status) {
        (Some(detail), _) => format!("the proxy itself answered: {detail}"),
        (None, StatusCode::UNAUTHORIZED) => "the API refuses the token: check the client id and its scopes".to_owned(),
        (None, StatusCode::FORBIDDEN) => "the API accepts the token, but not for this path".to_owned(),
        (None, status) if status.is_server_error() => "the API failed".to_owned(),
        (None, status) if status.is_success() => return Ok(line),
        _ => {
            let more = "the API answered, and did not refuse the token. Set check.path to a GET that returns 200";
            return Ok(format!("{line}: {more}"));
        }
    };
    Err(Failure::new(format!("{line}: {hint}")))
}

/// Reports progress on standard error.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "bearer-proxy: {text}");
}

#[cfg(test)]
mod tests;
