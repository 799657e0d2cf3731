//! The refresher with a simulated server: real sockets, and a clock that only the test advances.

mod clocks;
mod failures;
mod refusals;
mod renumbered;
mod stored;

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::*;
use crate::config::{AmbiguousRetry, ClientAuth, Outbound, StoreConfig, StoreKindConfig, TokenEndpoint, TokenFormat};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::token::journal::{Kind, PreparedStore};
use crate::token::live::{LiveToken, View};
use crate::token::status::Identity;
use crate::token::store::{Binding, Expect, Store, Written};
use crate::token::{Access, AccessToken, Lineage, RefreshOutcome, RefreshToken};
use simulator::{CLIENT_ID, CLIENT_SECRET, Fault, Options, Simulator};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A server, a store, and processes on them.
struct World {
    simulator: Simulator,
    store: Store,
    settings: Settings,
    config: RefreshConfig,
    /// The minimum time between two requested refreshes.
    pace: Duration,
    _still: StandStill,
}

/// One process.
struct Process {
    tokens: Tokens,
    clock: Clock,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Ending, Died>>,
}

/// Keeps the paused clock from advancing while a test waits for a socket. tokio advances a paused clock when no task is ready, but not
/// while a blocking task runs. After five minutes, the clock runs again, so a test that hangs fails by its timeouts.
struct StandStill {
    _end: std::sync::mpsc::Sender<()>,
}

impl StandStill {
    fn begin() -> Self {
        let (end, wait) = std::sync::mpsc::channel();
        tokio::time::pause();
        tokio::task::spawn_blocking(move || wait.recv_timeout(Duration::from_secs(300)));
        Self { _end: end }
    }
}

impl Drop for StandStill {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

impl World {
    /// An empty store, and a configuration with an initial token.
    async fn new(options: Options) -> Self {
        let still = StandStill::begin();
        let simulator = Simulator::start(Options { rate_limit: None, ..options }).await.unwrap();
        let store = memory().await;
        let first = RefreshToken::parse(simulator.grant().refresh_token).unwrap();
        let settings = Settings {
            kind: Kind::RefreshToken { initial: Some(first) },
            binding: Binding {
                token_url: simulator.token_url(),
                client_id: CLIENT_ID.into(),
                upstream_origin: simulator.origin(),
            },
            request_timeout: 30 * SECOND,
            ambiguous_retry: AmbiguousRetry::UntilClear,
            default_lifetime: HOUR,
        };
        let config = crate::config::testing::defaults().refresh;
        Self { simulator, store, settings, config, pace: Duration::ZERO, _still: still }
    }

    /// With tokens that live for `life`.
    async fn with_lifetime(life: Duration) -> Self {
        Self::new(Options { access_lifetime: life, ..Options::league8() }).await
    }

    fn endpoint(&self) -> Endpoint {
        let config = TokenEndpoint {
            url: Url::parse(&self.simulator.token_url()).unwrap(),
            client_id: CLIENT_ID.into(),
            client_secret: Some(Secret::new(CLIENT_SECRET)),
            format: TokenFormat::Json,
            client_auth: ClientAuth::Body,
            headers: HeaderMap::new(),
            redirect_uri_on_refresh: None,
            scope: None,
            scope_on_refresh: false,
            parameters: Vec::new(),
            request_timeout: 30 * SECOND,
            ambiguous_retry: AmbiguousRetry::UntilClear,
        };
        Endpoint::new(config, &Outbound { ca_file: None, proxy: None }).unwrap()
    }

    /// Another handle of the store.
    fn store(&self) -> Store {
        let Store::Memory(store) = &self.store else { panic!("the tests' store is in memory") };
        Store::Memory(store.clone())
    }

    fn refresher(&self) -> (Refresher, Tokens) {
        self.refresher_with(TokenMetrics::default())
    }

    fn refresher_with(&self, metrics: TokenMetrics) -> (Refresher, Tokens) {
        let clock = Clock::movable();
        let journal = Journal {
            store: PreparedStore::new(self.store()),
            endpoint: self.endpoint(),
            settings: self.settings.clone(),
            clock: clock.clone(),
            metrics,
            owner: "one".into(),
            stopping: Arc::default(),
        };
        let identity = Identity { grant: "refresh_token", profile: "passolution", store: "memory" };
        let (mut refresher, tokens) =
            Refresher::new(journal, Arc::new(Live::new(clock)), self.config.clone(), identity);
        refresher.requests.pace = self.pace;
        (refresher, tokens)
    }

    /// Starts a process without waiting for it.
    fn start(&self) -> Process {
        let metrics = Metrics::new();
        let (refresher, tokens) = self.refresher_with(metrics.token().clone());
        let clock = refresher.clock.clone();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(refresher.run(stopped, SECOND));
        Process { tokens, clock, metrics, stop, task }
    }

    /// Starts a process and waits for its first token.
    async fn started(&self) -> Process {
        let process = self.start();
        process.generation(1).await;
        process
    }

    fn calls(&self) -> usize {
        self.simulator.with_ledger(|ledger| ledger.token_calls().len())
    }

    /// The largest number of presentations of one refresh token.
    fn presented_at_most(&self) -> usize {
        self.simulator.with_ledger(|ledger| ledger.calls_per_refresh_token().into_values().max().unwrap_or_default())
    }

    async fn load(&self) -> Record {
        self.store.load().await.unwrap().unwrap()
    }

    /// Replaces the stored record.
    async fn replace(&self, record: &Record) {
        let version = self.store.load().await.unwrap().as_ref().map(Record::version);
        let written = self.store.write(Expect { version, fence: None }, record).await.unwrap();
        assert!(matches!(written, Written::Done), "{written:?}");
    }

    /// Settles two processes on one store. While one of them waits for the other's lease, it polls the store, and these polls need the
    /// clock to advance. The clock stands still while a call is in flight.
    async fn settle_both(&self, one: &Process, other: &Process) {
        let step = SECOND / 4;
        let in_flight = |process: &Process| process.view().refreshing.is_some();
        loop {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            if !in_flight(one) && !in_flight(other) {
                return;
            }
            if self.simulator.with_ledger(|ledger| ledger.open_connections()) == 0 {
                tokio::time::advance(step).await;
            }
        }
    }

    /// A refresh token from a new login.
    fn login(&self) -> RefreshToken {
        RefreshToken::parse(self.simulator.grant().refresh_token).unwrap()
    }
}

async fn memory() -> Store {
    Store::open(&StoreConfig { kind: StoreKindConfig::Memory, keys: Vec::new() }, None).await.unwrap()
}

impl Process {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.tokens.live().view())
    }

    fn at_hand(&self) -> Option<Arc<LiveToken>> {
        self.tokens.at_hand(false)
    }

    async fn until(&self, what: &str, holds: impl Fn(&View) -> bool) -> Arc<View> {
        let waiting = self.tokens.live().wait_for(|view| holds(view).then(|| Arc::new(view.clone())));
        match tokio::time::timeout(HOUR, waiting).await {
            Ok(view) => view,
            Err(_) => panic!("never {what}: {:?}", self.view()),
        }
    }

    async fn generation(&self, number: u64) -> Arc<View> {
        self.until("the generation", |view| view.generation() == Generation(number) && view.refreshing.is_none()).await
    }

    /// Runs all ready tasks, up to the end of a refresh in flight.
    async fn settle(&self) {
        loop {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            if self.view().refreshing.is_none() {
                return;
            }
            self.until("settled", |view| view.refreshing.is_none()).await;
        }
    }

    /// Advances both clocks together, in steps.
    async fn pass(&self, time: Duration, step: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = step.min(left);
            left -= step;
            self.clock.jump(SignedDuration::try_from(step).unwrap());
            tokio::time::advance(step).await;
            self.settle().await;
        }
    }

    /// Moves the wall clock alone.
    async fn jump(&self, by: SignedDuration) {
        self.clock.jump(by);
        // The next tick notices the jump. Timers have a resolution of a millisecond.
        tokio::time::advance(TICK + SECOND / 1000).await;
        self.settle().await;
    }

    fn count(&self, trigger: &str, outcome: &str) -> u64 {
        let series = format!(r#"bearer_proxy_token_refreshes_total{{outcome="{outcome}",trigger="{trigger}"}} "#);
        let text = self.metrics.render(&self.view());
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        assert_eq!(self.task.await.unwrap(), Ok(Ending::Stored));
    }
}
