//! What `init` must know: from the flags, and from the person at the terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::form::Form;
use super::options::{Grant, Options, ProfileName};
use crate::cli::Failure;
use crate::cli::terminal::{self, Terminal, Unanswered};
use crate::files::read_text;
use crate::secret::Secret;

pub(super) struct Answers {
    pub(super) grant: Grant,
    pub(super) profile: ProfileName,
    pub(super) client_id: String,
    /// `None`: a public client.
    pub(super) client_secret: Option<Secret>,
    /// A bare token, or a response of the token endpoint.
    pub(super) refresh_token: Option<Secret>,
    pub(super) redirect_uri: Option<String>,
    pub(super) region: Option<String>,
    pub(super) upstream_url: Option<String>,
    pub(super) token_url: Option<String>,
    pub(super) authorize_url: Option<String>,
    pub(super) scope: Option<String>,
    /// `None`: that of the profile.
    pub(super) request_path: Option<String>,
}

/// Asks the person at the terminal, if there is one.
pub(super) struct Questions(Option<Terminal>);

const GRANTS: &str = "\
How does the proxy get its tokens?
  1  client credentials: the proxy acts for your own account. No browser, no rotation.
  2  refresh token: you have one already.
  3  login: a person logs in with a browser, and the proxy acts for this person.
Do you act for your own account? Then choose 1, if your provider offers it (Passolution does).";
const PROFILES: &str = "\
Which provider?
  1  passolution
  2  priava
  3  custom: any other server";
const REDIRECT_URI_QUESTION: &str = "Redirect URI, exactly as it is registered";
/// The default of the profiles that have one.
const REDIRECT_URI: &str = "http://127.0.0.1/callback";
const MAX_SECRET: usize = 1024 * 1024;

// === impl Questions ===

impl Questions {
    /// # Errors
    /// The terminal cannot be used.
    pub(super) fn new() -> Result<Self, Failure> {
        if !terminal::is_there() {
            return Ok(Self(None));
        }
        let terminal = Terminal::open();
        terminal
            .map(|terminal| Self(Some(terminal)))
            .map_err(|error| Failure::new(format!("the terminal can't be used: {error}")))
    }

    pub(super) fn can_ask(&self) -> bool {
        self.0.is_some()
    }

    pub(super) async fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        let answer = self.line(&format!("{question} [y/N]")).await?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// A text of this form that is not empty, or the default.
    async fn text(&mut self, question: &str, form: Form, default: Option<&str>) -> Result<String, Failure> {
        let question = match default {
            Some(default) => format!("{question} [{default}]:"),
            None => format!("{question}:"),
        };
        loop {
            let answer = self.line(&question).await?;
            match (default, form.mistake(&answer)) {
                (Some(default), _) if answer.is_empty() => return Ok(default.to_owned()),
                (None, _) if answer.is_empty() => {}
                (_, None) => return Ok(answer),
                (_, Some(expected)) => {
                    let _ = writeln!(io::stderr(), "invalid answer {answer:?}: expected {expected}");
                }
            }
        }
    }

    /// One of several, by its number or by its name.
    async fn choice<T: Copy>(&mut self, question: &str, choices: &[(&str, T)]) -> Result<T, Failure> {
        loop {
            let answer = self.line(&format!("{question}\nChoice [1]:")).await?;
            let number = if answer.is_empty() { Some(1) } else { answer.parse().ok() };
            let by_number = number.and_then(|number: usize| choices.get(number.checked_sub(1)?));
            if let Some((_, chosen)) = by_number.or_else(|| choices.iter().find(|(name, _)| *name == answer)) {
                return Ok(*chosen);
            }
            let _ = writeln!(io::stderr(), "invalid choice {answer:?}: expected 1 to {}", choices.len());
        }
    }

    async fn line(&mut self, question: &str) -> Result<String, Failure> {
        match &mut self.0 {
            Some(terminal) => Ok(terminal.line(question).await?),
            None => Err(nobody_to_ask()),
        }
    }

    async fn secret(&mut self, question: &str) -> Result<Secret, Failure> {
        match &mut self.0 {
            Some(terminal) => Ok(terminal.secret(question).await?),
            None => Err(nobody_to_ask()),
        }
    }
}

// === impl Answers ===

impl Answers {
    /// Takes what the flags give, and asks for the rest.
    pub(super) async fn gather(options: &Options, questions: &mut Questions) -> Result<Self, Failure> {
        let missing = options.missing();
        if !questions.can_ask() && !missing.is_empty() {
            return Err(Failure::new(format!(
                "answers are missing, and there is no terminal to ask: pass {}",
                missing.join(", ")
            )));
        }
        if options.client_secret_file == options.refresh_token_file && is_stdin(options.client_secret_file.as_deref()) {
            return Err(Failure::new(
                "standard input can't hold both the client secret and the refresh token: give one of them as a file",
            ));
        }
        let mut ask = Asking { missing, questions };
        let choices = [
            ("client_credentials", Grant::ClientCredentials),
            ("refresh_token", Grant::RefreshToken),
            ("login", Grant::Login),
        ];
        let grant = match options.grant {
            Some(grant) => grant,
            None => ask.questions.choice(GRANTS, &choices).await?,
        };
        let choices = [ProfileName::Passolution, ProfileName::Priava, ProfileName::Custom];
        let profile = match options.profile {
            Some(profile) => profile,
            None => ask.questions.choice(PROFILES, &choices.map(|profile| (profile.name(), profile))).await?,
        };
        // The rest depends on these two.
        ask.missing = Options { grant: Some(grant), profile: Some(profile), ..options.clone() }.missing();

        let upstream_url =
            ask.text("--upstream-url", &options.upstream_url, Form::Url, "URL of the API (https://…)").await?;
        let token_url =
            ask.text("--token-url", &options.token_url, Form::Url, "URL of the token endpoint (https://…)").await?;
        let question = "URL of the authorization endpoint (https://…)";
        let authorize_url = ask.text("--authorize-url", &options.authorize_url, Form::Url, question).await?;
        let client_id = ask.text("--client-id", &options.client_id, Form::Any, "Client id").await?;
        let client_secret = ask.client_secret(options, profile).await?;
        let redirect_uri = match (&options.redirect_uri, grant, profile) {
            (None, Grant::Login, ProfileName::Passolution | ProfileName::Custom) if ask.questions.can_ask() => {
                Some(ask.questions.text(REDIRECT_URI_QUESTION, Form::RedirectUri, Some(REDIRECT_URI)).await?)
            }
            (given, ..) => ask.text("--redirect-uri", given, Form::RedirectUri, REDIRECT_URI_QUESTION).await?,
        };
        let region = ask.text("--region", &options.region, Form::Any, "Region of the account (TenantRegion)").await?;
        let refresh_token = match (&options.refresh_token_file, grant) {
            (Some(file), Grant::RefreshToken) => Some(read_secret(file, "--refresh-token-file")?),
            (None, Grant::RefreshToken) => Some(ask.questions.secret("Refresh token (not shown):").await?),
            _ => None,
        };
        let request_path = match (&options.request_path, profile) {
            (None, ProfileName::Priava | ProfileName::Custom) if ask.questions.can_ask() => {
                let question = "Path of a first request (a GET that your account may send)";
                Some(ask.questions.text(question, Form::RequestPath, Some("/")).await?)
            }
            (given, _) => given.clone(),
        };
        Ok(Self {
            grant,
            profile,
            client_id: client_id.unwrap_or_default(),
            client_secret,
            refresh_token,
            redirect_uri,
            region,
            upstream_url,
            token_url,
            authorize_url,
            scope: options.scope.clone(),
            request_path,
        })
    }
}

/// The questions for the flags that are missing.
struct Asking<'a> {
    missing: Vec<&'static str>,
    questions: &'a mut Questions,
}

// === impl Asking ===

impl Asking<'_> {
    async fn text(
        &mut self,
        flag: &str,
        given: &Option<String>,
        form: Form,
        question: &str,
    ) -> Result<Option<String>, Failure> {
        match given {
            Some(given) => Ok(Some(given.clone())),
            None if self.missing.contains(&flag) => Ok(Some(self.questions.text(question, form, None).await?)),
            None => Ok(None),
        }
    }

    async fn client_secret(&mut self, options: &Options, profile: ProfileName) -> Result<Option<Secret>, Failure> {
        match &options.client_secret_file {
            Some(file) => return Ok(Some(read_secret(file, "--client-secret-file")?)),
            None if options.no_client_secret => return Ok(None),
            None => {}
        }
        let question = match profile {
            ProfileName::Custom => "Client secret (not shown; empty: a public client):",
            _ => "Client secret (not shown):",
        };
        loop {
            let secret = self.questions.secret(question).await?;
            match profile {
                _ if !secret.is_empty() => return Ok(Some(secret)),
                ProfileName::Custom => return Ok(None),
                _ => {}
            }
        }
    }
}

fn is_stdin(file: Option<&Path>) -> bool {
    file == Some(Path::new("-"))
}

/// The text of a file or of standard input, without the white space around it.
fn read_secret(file: &Path, flag: &str) -> Result<Secret, Failure> {
    let text = if is_stdin(Some(file)) { read_stdin() } else { read_text(file) };
    let text = text.map_err(|error| {
        let source = if is_stdin(Some(file)) { "standard input".into() } else { file.display().to_string() };
        Failure::new(format!("could not read {source} ({flag}): {error}"))
    })?;
    let secret = Secret::new(text.trim());
    if secret.is_empty() {
        return Err(Failure::new(format!("{flag} gives an empty secret")));
    }
    Ok(secret)
}

fn read_stdin() -> io::Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        return Err(io::Error::other(
            "a terminal would show the secret; leave out this flag to be asked, or use a pipe",
        ));
    }
    // Full capacity from the start: a buffer that grows leaves copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET + 1));
    io::stdin().lock().take(MAX_SECRET as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_SECRET {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

fn nobody_to_ask() -> Failure {
    Failure::new("an answer is missing, and there is no terminal to ask: see `bearer-proxy init --help`")
}

impl From<Unanswered> for Failure {
    fn from(error: Unanswered) -> Self {
        Self::new(format!("{error}; nothing was written"))
    }
}
