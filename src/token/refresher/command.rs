//! The handle of the rest of the program: it reads the live token, reports refusals, and asks for refreshes.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::config::{RefreshConfig, SecretSource};
use crate::token::endpoint::Endpoint;
use crate::token::journal::Settings;
use crate::token::live::{Live, LiveToken, View};
use crate::token::status::{Facts, Identity, State, Status};
use crate::token::{Generation, Trigger};

/// The handle to a grant.
#[derive(Clone, Debug)]
pub struct Tokens {
    live: Arc<Live>,
    commands: mpsc::UnboundedSender<Command>,
    /// `refresh.wait`.
    wait: Duration,
    identity: Arc<Identity>,
}

/// A message to the refresher.
pub enum Command {
    /// The upstream refused this generation on a first attempt.
    Refused(Generation, oneshot::Sender<Verdict>),
    /// The upstream refused this generation on a replay.
    RefusedAgain(Generation),
    ReplayAccepted,
    /// A request waits for a token. The loop begins what is due, without waiting for the next tick.
    Wanted,
    /// A person asks for a refresh.
    Refresh(oneshot::Sender<Verdict>),
    /// The configuration has changed.
    Reconfigure(Box<(Endpoint, Settings, RefreshConfig)>),
    /// The configuration of the `static` grant has changed, or its file.
    ReplaceSource(SecretSource),
    Drain,
}

/// The refresher's answer.
#[derive(Clone, Debug)]
pub enum Verdict {
    Newer(Arc<LiveToken>),
    /// There is no newer token. The text says why.
    PassOn(String),
}

/// What follows a refusal.
#[derive(Debug)]
pub enum Refusal {
    Replay(Arc<LiveToken>),
    /// The upstream's response is passed on unchanged.
    PassOn,
}

/// There is no usable token, and none arrived in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unavailable {
    /// What happened. Holds no secret.
    pub reason: String,
    /// Seconds.
    pub retry_after: u64,
}

/// Why a requested refresh brought no new token.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotRefreshed {
    /// What happened and what to do. Holds no secret.
    pub reason: String,
    /// Whether only a login helps.
    pub needs_login: bool,
}

/// What a request finds.
#[derive(Debug)]
enum Found {
    Token(Arc<LiveToken>),
    /// A better token may arrive soon.
    Soon,
    /// No token will arrive before a person acts.
    Never,
}

// === impl Tokens ===

impl Tokens {
    pub(in crate::token) fn new(
        live: Arc<Live>,
        commands: mpsc::UnboundedSender<Command>,
        wait: Duration,
        identity: Identity,
    ) -> Self {
        Self { live, commands, wait, identity: Arc::new(identity) }
    }

    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The token for a request, without waiting.
    ///
    /// `large`: the body is too large to be kept for a replay. Such a request waits for a refresh in flight, which may end the old
    /// token at any moment.
    pub fn at_hand(&self, large: bool) -> Option<Arc<LiveToken>> {
        match find(&self.live.view(), self.live.clock().now(), large) {
            Found::Token(token) => Some(token),
            Found::Soon | Found::Never => None,
        }
    }

    /// Waits up to `refresh.wait` for the token of a request.
    pub async fn wait_for_token(&self, large: bool) -> Result<Arc<LiveToken>, Unavailable> {
        let clock = self.live.clock();
        if self.live.view().unexpired(clock.now()).is_none() {
            self.tell(Command::Wanted);
        }
        let look = |view: &View| match find(view, clock.now(), large) {
            Found::Token(token) => Some(Ok(token)),
            Found::Soon => None,
            Found::Never => Some(Err(())),
        };
        let found = tokio::time::timeout(self.wait, self.live.wait_for(look)).await;
        let view = self.live.view();
        match found {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(())) => Err(unavailable(&view, clock.now())),
            // No newer token arrived. The old one is still the best one, and the upstream decides.
            Err(_) => view.unexpired(clock.now()).cloned().ok_or_else(|| unavailable(&view, clock.now())),
        }
    }

    /// Reports that the upstream refused `carried`, and waits up to `refresh.wait` for what to do.
    pub async fn refused(&self, carried: &LiveToken) -> Result<Refusal, Unavailable> {
        let view = self.live.view();
        if view.generation() > carried.generation {
            if let Some(newer) = view.unexpired(self.live.clock().now()) {
                return Ok(Refusal::Replay(Arc::clone(newer)));
            }
        } else {
            carried.mark_refused(self.live.clock().now());
        }
        drop(view);
        match self.ask(|reply| Command::Refused(carried.generation, reply)).await {
            Some(Verdict::Newer(token)) => Ok(Refusal::Replay(token)),
            Some(Verdict::PassOn(_)) => Ok(Refusal::PassOn),
            // The refresh takes too long. The token has not expired, so the client gets the upstream's own response.
            None if self.live.view().unexpired(self.live.clock().now()).is_some() => Ok(Refusal::PassOn),
            None => Err(unavailable(&self.live.view(), self.live.clock().now())),
        }
    }

    /// Reports that the upstream accepted `carried` on a request that was sent `ago`.
    pub fn accepted(&self, carried: &LiveToken, ago: impl FnOnce() -> Duration) {
        carried.mark_accepted(|| {
            let now = self.live.clock().now();
            SignedDuration::try_from(ago()).ok().and_then(|ago| now.checked_sub(ago).ok()).unwrap_or(now)
        });
    }

    /// Reports that the upstream refused `carried` for a request that can't be replayed. The next requests get the new token.
    pub fn refused_unreplayable(&self, carried: &LiveToken) {
        if self.live.view().generation() == carried.generation {
            carried.mark_refused(self.live.clock().now());
        }
        let (reply, _) = oneshot::channel();
        self.tell(Command::Refused(carried.generation, reply));
    }

    /// Reports that the upstream refused `carried` on a replay. That request gets no further attempt.
    pub fn refused_again(&self, carried: &LiveToken) {
        if self.live.view().generation() == carried.generation {
            carried.mark_refused(self.live.clock().now());
        }
        self.tell(Command::RefusedAgain(carried.generation));
    }

    pub fn replay_accepted(&self) {
        self.tell(Command::ReplayAccepted);
    }

    /// Forces a refresh, or joins the one in flight, and waits for its outcome.
    pub async fn refresh(&self) -> Result<Arc<LiveToken>, NotRefreshed> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Refresh(reply));
        let reason = match answer.await {
            Ok(Verdict::Newer(token)) => return Ok(token),
            Ok(Verdict::PassOn(reason)) => reason,
            Err(_) if self.commands.is_closed() => "the proxy is stopping".to_owned(),
            Err(_) => "the refresher was started again meanwhile; ask again".to_owned(),
        };
        let needs_login = self.live.view().needs_login.is_some();
        Err(NotRefreshed { reason, needs_login })
    }

    /// Makes the refresher continue with another configuration.
    pub fn reconfigure(&self, (endpoint, settings): (Endpoint, Settings), refresh: RefreshConfig) {
        self.tell(Command::Reconfigure(Box::new((endpoint, settings, refresh))));
    }

    /// Makes the `static` grant read its token from `source` from now on.
    pub fn replace_source(&self, source: SecretSource) {
        self.tell(Command::ReplaceSource(source));
    }

    /// This handle with another `refresh.wait`.
    pub fn with_wait(&self, wait: Duration) -> Self {
        Self { wait, ..self.clone() }
    }

    /// Makes the status say `draining` from now on.
    pub fn drain(&self) {
        self.tell(Command::Drain);
    }

    /// The status document of this moment.
    pub fn status(&self) -> Status {
        let view = self.live.view();
        let now = self.live.clock().now();
        let token = view.token.as_deref();
        let facts = Facts {
            token: token.is_some(),
            expires_at: if token.is_some_and(|token| token.expired(now)) {
                Some(Timestamp::MIN)
            } else {
                token.and_then(|token| token.expires_at)
            },
            refresh_at: view.refresh_at,
            dead: token.is_some_and(|token| token.is_dead(now)),
            needs_login: view.needs_login.is_some(),
        };
        let refused_at = token.and_then(LiveToken::refused_at);
        let remedy = view.remedy.as_ref().filter(|_| refused_at.is_some());
        Status {
            state: State::new(facts, now),
            grant: self.identity.grant.to_owned(),
            profile: self.identity.profile.to_owned(),
            generation: view.generation,
            obtained_at: token.map(|token| token.obtained_at),
            expires_at: token.and_then(|token| token.expires_at),
            refresh_at: view.refresh_at,
            retry_at: view.next.map(|next| next.at),
            retrying: view.next.map(|next| next.what.to_owned()),
            refused_at,
            last_refresh: view.last_refresh.clone(),
            persisted: !view.unpersisted,
            store: self.identity.store.to_owned(),
            draining: view.draining,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reason: view.needs_login.as_ref().or(remedy).cloned(),
        }
        .in_whole_seconds()
    }

    /// `None`: no answer within `refresh.wait`.
    async fn ask(&self, command: impl FnOnce(oneshot::Sender<Verdict>) -> Command) -> Option<Verdict> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply));
        tokio::time::timeout(self.wait, answer).await.ok()?.ok()
    }

    fn tell(&self, command: Command) {
        // The refresher outlives the listeners. Without a refresher, the process is ending, and no answer is needed.
        let _ = self.commands.send(command);
    }
}

#[cfg(test)]
impl Tokens {
    /// A handle without a refresher. It shows `view` and answers each `refresh` with the token in it, or with `refuse`.
    pub(crate) fn scripted(view: View, refuse: Option<&'static str>) -> Self {
        let live = Arc::new(Live::new(crate::clock::Clock::system()));
        live.publish(view);
        let (commands, mut asked) = mpsc::unbounded_channel();
        let identity = Identity { grant: "refresh_token", profile: "passolution", store: "file" };
        let tokens = Self::new(Arc::clone(&live), commands, Duration::from_secs(10), identity);
        tokio::spawn(async move {
            while let Some(command) = asked.recv().await {
                let token = live.view().token.clone();
                if let (Command::Refresh(reply), Some(verdict)) =
                    (command, refuse.map(|why| Verdict::PassOn(why.into())).or(token.map(Verdict::Newer)))
                {
                    let _ = reply.send(verdict);
                }
            }
        });
        tokens
    }
}

/// What a request finds. Pure.
fn find(view: &View, now: Timestamp, large: bool) -> Found {
    match view.unexpired(now) {
        Some(_) if view.held => Found::Soon,
        Some(_) if large && view.refreshing.is_some() => Found::Soon,
        Some(token) => Found::Token(Arc::clone(token)),
        None if view.needs_login.is_some() && view.refreshing.is_none() => Found::Never,
        None => Found::Soon,
    }
}

fn unavailable(view: &View, now: Timestamp) -> Unavailable {
    let reason = match (&view.needs_login, &view.last_refresh, view.refreshing) {
        (Some(_), _, _) => {
            "The proxy has no usable token: its grant needs a login. Its operator finds the reason in its status."
        }
        (None, _, Some(Trigger::Rejected)) => "The upstream refused the proxy's token, and its refresh takes long.",
        (None, _, Some(_)) => "The proxy has no usable token yet: a refresh is in flight.",
        (None, Some(last), None) if last.error.is_some() => {
            "The proxy has no usable token: its last refresh failed and is tried again."
        }
        (None, _, None) => "The proxy has no usable token yet.",
    };
    let retry_after = match view.retry_at {
        Some(at) => at.duration_since(now).max(SignedDuration::from_secs(1)).as_secs().unsigned_abs().min(300),
        None if view.needs_login.is_some() => 60,
        None => 1,
    };
    Unavailable { reason: reason.to_owned(), retry_after }
}
