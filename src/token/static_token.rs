//! The `static` grant: an access token in the configuration or in a file.
//!
//! The proxy does not refresh it. Another program renews the token and writes it to the file, so a refusal reads the file again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::SecretSource;
use crate::fault;
use crate::files;
use crate::supervise::{Died, Restarts, Task, supervise};
use crate::token::live::{Live, LiveToken, View};
use crate::token::refresher::{Command, Tokens, Verdict};
use crate::token::status::Identity;
use crate::token::{Access, AccessToken, Generation};

/// The task that publishes the token of the `static` grant.
pub struct StaticToken {
    source: SecretSource,
    live: Arc<Live>,
    clock: Clock,
    commands: mpsc::UnboundedReceiver<Command>,
    present: Option<AccessToken>,
    generation: Generation,
    trouble: Option<String>,
    /// The generation whose refusal was logged last.
    reported: Option<Generation>,
    draining: bool,
}

/// A disk that does not answer must not hold up the drain for ever. A pipe has its own, shorter limit.
const LIMIT: Duration = Duration::from_secs(12);

/// The token that the source has now. A file is read on another thread.
///
/// # Errors
/// What happened, in words that contain no secret.
pub async fn token(source: &SecretSource) -> Result<AccessToken, String> {
    let SecretSource::File(path) = source else { return read(source) };
    let (source, place) = (source.clone(), path.display().to_string());
    match timeout(LIMIT, spawn_blocking(move || read(&source))).await {
        Ok(Ok(token)) => token,
        Ok(Err(error)) => Err(format!("{place} can't be read: {error}")),
        Err(_) => Err(format!("{place} can't be read: the disk did not answer within {LIMIT:?}")),
    }
}

/// May block.
fn read(source: &SecretSource) -> Result<AccessToken, String> {
    let text = match source {
        SecretSource::Inline(secret) => Ok(zeroize::Zeroizing::new(secret.expose().to_owned())),
        SecretSource::File(path) => {
            files::read_text(path).map_err(|error| format!("{} can't be read: {error}", path.display()))
        }
    };
    text.and_then(|text| {
        let text = text.strip_suffix('\n').unwrap_or(&text);
        AccessToken::parse(text).map_err(|error| format!("oauth.access_token: {error}"))
    })
}

// === impl StaticToken ===

impl StaticToken {
    /// Creates the task and the handle to it, and reads the token.
    pub async fn new(source: SecretSource, live: Arc<Live>, wait: Duration, identity: Identity) -> (Self, Tokens) {
        let (send, commands) = mpsc::unbounded_channel();
        let tokens = Tokens::new(Arc::clone(&live), send, wait, identity);
        let clock = live.clock().clone();
        let generation = Generation::default();
        let mut token = Self {
            source,
            live,
            clock,
            commands,
            present: None,
            generation,
            trouble: None,
            reported: None,
            draining: false,
        };
        token.read().await;
        (token, tokens)
    }

    /// Runs until `stop`. A task that dies is started again with the same state.
    ///
    /// # Errors
    /// The task died too often.
    pub async fn run(self, stop: watch::Receiver<bool>, restarts: Restarts) -> Result<(), Died> {
        let state = Arc::new(Mutex::new(self));
        let start = || {
            let (state, stop) = (Arc::clone(&state), stop.clone());
            async move { state.lock().await.work(stop).await }
        };
        supervise(Task::Refresher, &restarts, || false, start).await
    }

    async fn work(&mut self, mut stop: watch::Receiver<bool>) {
        loop {
            fault::task("refresher");
            let command = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                command = self.commands.recv() => command,
            };
            match command {
                Some(command) => self.obey(command).await,
                None => return,
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Refused(generation, reply) => {
                self.answer(generation, reply).await;
                self.report(generation);
            }
            Command::Refresh(reply) => self.answer(self.generation, reply).await,
            Command::RefusedAgain(_) | Command::ReplayAccepted | Command::Wanted | Command::Reconfigure(_) => {}
            Command::ReplaceSource(source) => {
                self.source = source;
                self.read().await;
            }
            Command::Drain => {
                self.draining = true;
                self.publish();
            }
        }
    }

    async fn answer(&mut self, refused: Generation, reply: oneshot::Sender<Verdict>) {
        if self.generation <= refused {
            self.read().await;
        }
        let verdict = match &self.live.view().token {
            Some(token) if token.generation > refused => Verdict::Newer(Arc::clone(token)),
            _ => Verdict::PassOn(self.trouble.clone().unwrap_or_else(|| match &self.source {
                SecretSource::Inline(_) => "a token of the static grant is not refreshed".to_owned(),
                SecretSource::File(path) => format!("{} still holds the same token", path.display()),
            })),
        };
        // The client may have disconnected.
        let _ = reply.send(verdict);
    }

    /// Logs the refusal once per token, with what to do.
    fn report(&mut self, refused: Generation) {
        if self.generation == refused && self.reported != Some(refused) {
            self.reported = Some(refused);
            tracing::warn!(
                check = "upstream-refuses",
                to_do = self.remedy(),
                "the upstream refuses the token of the static grant"
            );
        }
    }

    fn remedy(&self) -> String {
        match &self.source {
            SecretSource::Inline(_) => {
                "the upstream refuses the token: set a valid one in oauth.access_token".to_owned()
            }
            SecretSource::File(path) => {
                format!("the upstream refuses the token: write a valid one to {}", path.display())
            }
        }
    }

    async fn read(&mut self) {
        match token(&self.source).await {
            Ok(token) => {
                self.trouble = None;
                if self.present.as_ref() != Some(&token) {
                    self.present = Some(token);
                    self.generation = self.generation.next();
                }
            }
            Err(trouble) => {
                tracing::error!(
                    check = "secret-unreadable",
                    error = trouble,
                    "the token of the static grant could not be read"
                );
                self.trouble = Some(trouble);
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let now = self.clock.now();
        let present = self.live.view();
        let token = self.present.as_ref().and_then(|token| match &present.token {
            Some(live) if live.generation == self.generation => Some(Arc::clone(live)),
            _ => {
                let access = Access { token: token.clone(), obtained_at: now, expires_at: None };
                LiveToken::new(self.generation, &access).ok().map(Arc::new)
            }
        });
        let needs_login = if token.is_none() { self.trouble.clone() } else { None };
        let (generation, draining, remedy) = (self.generation, self.draining, Some(self.remedy()));
        let view = View { token, generation, needs_login, remedy, draining, ..View::default() };
        self.live.publish(view);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[tokio::test]
    async fn other_tasks_go_on_while_the_file_is_read() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let source = SecretSource::File(format!("/dev/fd/{}", reader.as_raw_fd()).into());
        // On the thread of the read, this would come only after the time limit of the read.
        let written = async {
            writer.write_all(b"token\n").unwrap();
            drop(writer);
        };
        let (read, ()) = tokio::join!(token(&source), written);
        assert_eq!(read.as_ref(), Ok(&AccessToken::parse("token").unwrap()));
    }
}
