//! `check`: finds what stops the proxy from working, and says how to repair it.
//!
//! Each area gathers facts, which reads files or sends packets, and then judges them, which is pure:
//!
//! ```text
//! configuration, secrets          the result of loading
//! store, grant, limits            files, the database, the running proxy (admin listener)
//! network                         one connection to each server, step by step
//! clock, token endpoint, upstream one call on each of these connections
//! ```
//!
//! A fault is one finding. What depends on it is skipped, with its id as the reason. Nothing here writes to the store, takes a
//! lease, or presents the refresh token. A run makes at most one call to each server, however long it waits.

pub mod clock;
pub mod config;
mod daemon;
pub mod endpoint;
pub mod finding;
pub mod grant;
pub mod ids;
pub mod limits;
pub mod network;
pub mod report;
pub mod secrets;
pub mod store;
#[cfg(test)]
pub(crate) mod tests;
pub mod upstream;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use self::daemon::Daemon;
use self::finding::Finding;
use self::ids::{Area, Id};
use self::report::Report;
use crate::config::{Config, GrantConfig, Loaded, Sources, UpstreamHttp};
use crate::downstream::tls;
use crate::outbound::{Connector, Offer, Probe};
use crate::token::endpoint::Endpoint;
use crate::token::journal::Settings;
use crate::token::static_token;
use crate::token::store::Record;
use crate::token::{AccessToken, owner};

/// What a person asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Sends no packet but to this machine and to the store.
    pub offline: bool,
    /// Repeats for so long what may still succeed.
    pub wait: Option<Duration>,
    /// A warning is a failure.
    pub strict: bool,
    /// Checks that are omitted.
    pub skip: Vec<Id>,
    /// Presents a refresh token that never existed also where the profile advises against it.
    pub probe_client: bool,
}

/// One run, with what it made for all of its rounds.
struct Run<'a> {
    config: &'a Config,
    request: &'a Request,
    upstream: Connector,
    endpoint: Option<Endpoint>,
    /// The answers to the two calls. Each is made once.
    endpoint_answer: Option<endpoint::Facts>,
    upstream_answer: Option<upstream::Facts>,
    /// How far this clock is ahead of the servers that answered.
    clocks: Vec<(&'static str, i64)>,
    /// The version of the running proxy.
    proxy: Option<String>,
}

/// Time limit for the connections of a round.
const CONNECTED: Duration = Duration::from_secs(6);
/// Time limit of a round, so that a single round ends within 10 s even if no server answers.
const ROUND: Duration = Duration::from_millis(8500);
/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(1);

/// Checks everything.
pub async fn run(sources: &Sources, request: &Request) -> Report {
    let loaded = Config::load(sources);
    let mut findings = config::judge(loaded.as_ref(), &sources.service_links());
    let facts = loaded.as_ref().map(|loaded| secrets::gather(&loaded.config)).unwrap_or_default();
    findings.extend(secrets::judge(loaded.as_ref(), facts));
    if let Some(hint) = loaded.as_ref().err().and_then(|errors| sources.file_hint(errors)) {
        let is_missing = |finding: &&mut Finding| matches!(finding.id, Id::ConfigInvalid | Id::SecretMissing);
        findings.iter_mut().filter(is_missing).for_each(|finding| finding.hint = hint.to_owned());
    }
    let run = match &loaded {
        Ok(loaded) => Run::new(&loaded.config, request),
        Err(_) => Err(None),
    };
    let mut run = match run {
        Ok(run) => run,
        Err(finding) => {
            findings.extend(finding);
            let cause = findings.iter().find(|finding| finding.outcome == finding::Outcome::Fail);
            let because = cause.map_or_else(|| "the configuration is invalid".to_owned(), Finding::because);
            let ids = Id::ALL.iter().filter(|id| id.needs_valid_configuration());
            findings.extend(ids.map(|id| id.skip(because.as_str())));
            return Report::new(findings, &request.skip, true, request.strict);
        }
    };
    let until = Instant::now() + request.wait.unwrap_or_default();
    let mut found = run.round().await;
    loop {
        let mut report =
            Report::new(findings.iter().cloned().chain(found).collect(), &request.skip, false, request.strict);
        report.proxy.clone_from(&run.proxy);
        if !report.may_recover() || Instant::now() + PAUSE >= until {
            return report;
        }
        sleep(PAUSE).await;
        // A round that does not end in time has judged nothing: the one before it counts.
        found = match timeout_at(until, run.round()).await {
            Ok(found) => found,
            Err(_) => return report,
        };
    }
}

/// The checks that `serve` logs at its start. They read files and wait for no server.
pub fn at_start(loaded: &Loaded, sources: &Sources) -> Vec<Finding> {
    let config = &loaded.config;
    let mut findings = at_reload(loaded, sources);
    findings.extend(store::at_start(config, rotates(config)));
    findings.extend(limits::judge(config, limits::gather(config, None)));
    findings
}

/// The part that a changed configuration can change.
pub fn at_reload(loaded: &Loaded, sources: &Sources) -> Vec<Finding> {
    let mut findings = config::judge(Ok(loaded), &sources.service_links());
    findings.extend(secrets::judge(Ok(loaded), secrets::Facts::default()));
    findings
}

/// One line each, with the id as a field. `during`: `start` or `reload`.
pub fn log(findings: &[Finding], during: &'static str) {
    for Finding { id, detail, hint, .. } in findings {
        tracing::warn!(check = id.name(), detail, hint, during, "check found a problem");
    }
}

fn rotates(config: &Config) -> bool {
    matches!(config.oauth.grant, GrantConfig::RefreshToken { .. })
}

// === impl Run ===

impl<'a> Run<'a> {
    /// # Errors
    /// A file that the configuration names cannot be used, as a start of the proxy would find out.
    fn new(config: &'a Config, request: &'a Request) -> Result<Self, Option<Finding>> {
        let unusable = |error: &dyn std::fmt::Display| {
            Some(Id::ConfigInvalid.fail(error.to_string(), "correct the path or the content of the file"))
        };
        config.tls.as_ref().map(tls::Tls::load).transpose().map_err(|error| unusable(&error))?;
        let (origin, cert) = (config.upstream.origin.clone(), config.upstream.client_cert.as_ref());
        let upstream = Connector::new(origin, &config.outbound, cert, config.upstream.connect_timeout);
        let endpoint = config.oauth.grant.endpoint().cloned();
        let endpoint = endpoint.map(|endpoint| Endpoint::new(endpoint, &config.outbound)).transpose();
        Ok(Self {
            config,
            request,
            upstream: upstream.map_err(|error| unusable(&error))?,
            endpoint: endpoint.map_err(|error| unusable(&error))?,
            endpoint_answer: None,
            upstream_answer: None,
            clocks: Vec::new(),
            proxy: None,
        })
    }

    async fn round(&mut self) -> Vec<Finding> {
        let begun = Instant::now();
        let daemon = daemon::ask(self.config).await;
        self.proxy = daemon.as_ref().map(|daemon| daemon.status.version.clone());
        let (store, probes) = tokio::join!(store::gather(self.config), self.connect(begun + CONNECTED));
        let mut findings = store::judge(&store, rotates(self.config));
        let by_peer = daemon.as_ref().is_some_and(Daemon::was_refreshed_by_a_peer);
        findings.extend(store::shared(&store, by_peer, owner::this_host().as_deref()));
        let limits = limits::gather(self.config, daemon.as_ref().and_then(|daemon| daemon.descriptors));
        findings.extend(limits::judge(self.config, limits));
        let record = grant::record(&store);
        let grant = self.grant(daemon.as_ref(), record, &findings);
        let token = self.token(record, &grant).await;
        findings.extend(grant);
        match probes {
            None => {
                let areas = Area::ALL.iter().filter(|area| area.needs_network());
                findings.extend(areas.flat_map(|area| area.skip("--offline")));
            }
            Some(probes) => findings.extend(self.network(probes, token, daemon.as_ref(), begun + ROUND).await),
        }
        findings
    }

    /// One connection to each server; none if the run is offline.
    async fn connect(&self, by: Instant) -> Option<(Probe, Option<Probe>)> {
        if self.request.offline {
            return None;
        }
        let offer = if self.config.upstream.http == UpstreamHttp::Http2 { Offer::Http2 } else { Offer::Http1 };
        let endpoint = async {
            match &self.endpoint {
                Some(endpoint) => Some(endpoint.connector().probe(Offer::Http1, by).await),
                None => None,
            }
        };
        Some(tokio::join!(self.upstream.probe(offer, by), endpoint))
    }

    fn grant(&self, daemon: Option<&Daemon>, record: Option<&Record>, store: &[Finding]) -> Vec<Finding> {
        if let Some(why) = grant::unknown(self.config, store, daemon.is_some()) {
            return Area::Grant.skip(&why);
        }
        let settings = self.endpoint.as_ref().map(|endpoint| Settings::new(self.config, endpoint.config()));
        let Some(Ok(settings)) = settings else { return Area::Grant.skip("oauth.refresh_token is not a token") };
        grant::judge(&grant::Facts {
            running: daemon.map(|daemon| &daemon.status),
            record,
            settings: &settings,
            margin: self.config.refresh.margin,
            now: Timestamp::now(),
        })
    }

    /// The access token of the one call to the upstream, or why there is none.
    async fn token(&self, record: Option<&Record>, grant: &[Finding]) -> Result<AccessToken, String> {
        if let GrantConfig::Static { access_token } = &self.config.oauth.grant {
            return static_token::token(access_token).await.map_err(|_| "the static token cannot be read".to_owned());
        }
        if let Some(Ok(settings)) = self.endpoint.as_ref().map(|endpoint| Settings::new(self.config, endpoint.config()))
            && let Some(access) =
                record.filter(|record| record.binding == settings.binding).and_then(|record| record.access.as_ref())
            && access.expires_at.is_none_or(|end| Timestamp::now() < end)
        {
            return Ok(access.token.clone());
        }
        let problem = grant.iter().find(|finding| finding.is_problem()).map(Finding::because);
        // The store has hidden the grant.
        let cause =
            || grant.first().map(|finding| finding.detail.clone()).filter(|detail| detail.starts_with("because of"));
        Err(problem.or_else(cause).unwrap_or_else(|| "no unexpired access token is stored".to_owned()))
    }

    /// The network, and the calls on its connections.
    async fn network(
        &mut self,
        probes: (Probe, Option<Probe>),
        token: Result<AccessToken, String>,
        daemon: Option<&Daemon>,
        by: Instant,
    ) -> Vec<Finding> {
        let (upstream, endpoint) = probes;
        let same =
            self.endpoint.as_ref().is_some_and(|endpoint| endpoint.connector().origin() == self.upstream.origin());
        let role = |own| if same { "upstream and token endpoint" } else { own };
        let upstream_facts = network::Facts::new(role("upstream"), &self.upstream, &upstream);
        let endpoint_facts = self
            .endpoint
            .as_ref()
            .zip(endpoint.as_ref())
            .map(|(endpoint, probe)| network::Facts::new(role("token endpoint"), endpoint.connector(), probe));
        let obstacles = (network::obstacle(&upstream_facts), endpoint_facts.as_ref().and_then(network::obstacle));
        let all: Vec<_> = std::iter::once(upstream_facts).chain(endpoint_facts).collect();
        let mut findings = network::judge(&all, Timestamp::now());

        let within = by.saturating_duration_since(Instant::now());
        let (called, presented) = tokio::join!(
            self.call(upstream, obstacles.0.as_ref(), token, within),
            self.present(endpoint, obstacles.1.as_ref(), daemon, within),
        );
        match called {
            Ok((path, answer)) => {
                findings.extend(upstream::judge(self.config, path, &answer));
                self.note_clock("upstream", answer.as_ref().ok().map(|(_, headers)| headers));
                self.upstream_answer = Some(answer);
            }
            Err(why) => findings.extend(Area::Upstream.skip(&why)),
        }
        match presented {
            Ok(answer) => {
                findings.extend(endpoint::judge(&answer));
                self.note_clock("token endpoint", answer.as_ref().ok().map(|answer| &answer.headers));
                self.endpoint_answer = Some(answer);
            }
            Err(why) => findings.extend(Area::TokenEndpoint.skip(&why)),
        }
        findings.extend(clock::judge(&self.clocks));
        findings
    }

    fn note_clock(&mut self, server: &'static str, headers: Option<&http::HeaderMap>) {
        let is_new = self.clocks.iter().all(|(known, _)| *known != server);
        let ahead = headers.filter(|_| is_new).and_then(|headers| clock::ahead(headers, Timestamp::now()));
        self.clocks.extend(ahead.map(|seconds| (server, seconds)));
    }

    /// The one call to the upstream, made now or before.
    async fn call(
        &self,
        probe: Probe,
        obstacle: Option<&Finding>,
        token: Result<AccessToken, String>,
        within: Duration,
    ) -> Result<(&'a str, upstream::Facts), String> {
        let path = self.config.check.path.as_deref().ok_or("check.path is empty")?;
        if let Some(answer) = &self.upstream_answer {
            return Ok((path, answer.clone()));
        }
        if let Some(obstacle) = obstacle {
            return Err(obstacle.because());
        }
        let token = token?;
        if Id::of(Area::Upstream).all(|id| self.request.skip.contains(&id)) {
            return Err("--skip".to_owned());
        }
        let io = probe.connection.map_err(|(_, error)| error.to_string())?;
        Ok((path, upstream::call(self.config, path, &token, io, within).await))
    }

    /// The one call to the token endpoint, made now or before.
    async fn present(
        &self,
        probe: Option<Probe>,
        obstacle: Option<&Finding>,
        daemon: Option<&Daemon>,
        within: Duration,
    ) -> Result<endpoint::Facts, String> {
        let (Some(endpoint), Some(probe)) = (&self.endpoint, probe) else {
            return Err("the static grant has no token endpoint".to_owned());
        };
        if let Some(answer) = &self.endpoint_answer {
            return Ok(answer.clone());
        }
        if let Some(obstacle) = obstacle {
            return Err(obstacle.because());
        }
        if self.request.skip.contains(&Id::ClientRejected) {
            return Err("--skip client-rejected, so no call is made".to_owned());
        }
        if !self.config.profile.allows_client_probe() && !self.request.probe_client {
            return Err(format!("the profile {} makes this call only with --probe-client", self.config.profile.name()));
        }
        let is_retrying = |daemon: &Daemon| daemon.status.retrying.as_deref() == Some("refresh");
        if daemon.is_some_and(is_retrying) {
            return Err("the running proxy waits before it calls the token endpoint again".to_owned());
        }
        let (io, _) = probe.connection.map_err(|(_, error)| error.to_string())?;
        Ok(endpoint.present_made_up(io, within).await)
    }
}
