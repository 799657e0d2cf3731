//! A run of `check`, judged by what it printed and by what the servers saw.

use std::time::{Duration, Instant};

use serde_json::Value;
use simulator::{CLIENT_SECRET, Options, Presented, Simulator};

use testkit::{Proxy, Setup, program};

/// What a run printed.
pub struct Checked {
    pub code: i32,
    pub document: Value,
}

/// A run ends within this, whatever is down.
const LIMIT: Duration = Duration::from_secs(10);

/// Limits that a small test machine can keep, so that only the fault at hand is found.
pub fn small(setup: Setup) -> Setup {
    setup.set("GUARD__MAX_CONNECTIONS", 64).set("UPSTREAM__MAX_IN_FLIGHT", 16).set("UPSTREAM__REPLAY_BUDGET", "16MiB")
}

/// A setup whose store holds a grant that works. No proxy runs.
pub async fn stored(simulator: &Simulator) -> Setup {
    settled(Proxy::before(simulator)).await
}

/// The same for any setup.
pub async fn settled(setup: Setup) -> Setup {
    let proxy = small(setup).start().await;
    proxy.ready().await;
    // The grant is in the store now; an initial token in the configuration would be another one.
    proxy.stop().await.unset("OAUTH__REFRESH_TOKEN")
}

pub async fn league() -> Simulator {
    Simulator::start(Options::league9()).await.unwrap()
}

// === impl Checked ===

impl Checked {
    /// `check --json` with these arguments. Test folders may be on a file system that a restart empties.
    pub async fn new(setup: &Setup, arguments: &[&str]) -> Self {
        Self::judged(setup, &[&["--skip", "store-ephemeral"], arguments].concat(), None).await
    }

    /// The same, with what this server saw meanwhile.
    pub async fn before(simulator: &Simulator, setup: &Setup, arguments: &[&str]) -> Self {
        Self::judged(setup, &[&["--skip", "store-ephemeral"], arguments].concat(), Some(simulator)).await
    }

    pub async fn judged(setup: &Setup, arguments: &[&str], simulator: Option<&Simulator>) -> Self {
        let seen = |simulator: &Simulator| {
            simulator.with_ledger(|ledger| (ledger.token_calls().len(), ledger.requests_seen(), ledger.issued().len()))
        };
        let before = simulator.map(seen);
        let begun = Instant::now();
        let (code, out, err) = setup.run(&[&["check", "--json"], arguments].concat()).await;
        if !arguments.contains(&"--wait") {
            assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        }
        // One document, and nothing else.
        let document = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        for text in [&out, &err] {
            assert!(!text.contains(CLIENT_SECRET) && !text.contains("canary"), "{text}");
        }
        if let (Some(simulator), Some((calls, requests, issued))) = (simulator, before) {
            simulator.with_ledger(|ledger| {
                let new = &ledger.token_calls()[calls..];
                assert!(new.len() <= 1, "{new:?}");
                assert!(new.iter().all(|call| !matches!(call.presented, Presented::Refresh { .. })), "{new:?}");
                assert!(ledger.requests_seen() <= requests + 1);
                assert_eq!(ledger.issued().len(), issued);
            });
        }
        Self { code, document }
    }

    /// `check --offline` that is run by these words, which must become the program (`exec`).
    pub async fn run_by(setup: &Setup, words: &[&str]) -> Self {
        let (program, path) = (program(), std::env::var("PATH").unwrap());
        let own = [&*program, "check", "--json", "--offline", "--skip", "store-ephemeral"];
        let arguments = [&words[1..], &own].concat();
        let (code, out, err) = setup.again().raw("PATH", path).program(words[0]).run(&arguments).await;
        Self { code, document: serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")) }
    }

    /// The ids of warnings and failures.
    pub fn problems(&self) -> Vec<&str> {
        self.with(|check| check["outcome"] == "warn" || check["outcome"] == "fail")
    }

    /// The ids of checks that were skipped because of this one.
    pub fn because_of(&self, id: &str) -> Vec<&str> {
        let detail = format!("because of {id}");
        self.with(|check| check["outcome"] == "skip" && check["detail"] == *detail)
    }

    pub fn check(&self, id: &str) -> &Value {
        self.checks().iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}"))
    }

    /// That this is the only fault, and what the program ends with.
    pub fn finds(&self, id: &str, code: i32) {
        assert_eq!((self.problems(), self.code), (vec![id], code), "{:#}", self.document);
        let check = self.check(id);
        assert!(!check["detail"].as_str().unwrap().is_empty() && !check["hint"].as_str().unwrap().is_empty());
        assert_eq!(check["doc"], format!("docs/reference/checks.md#{id}"));
    }

    fn with(&self, wanted: impl Fn(&Value) -> bool) -> Vec<&str> {
        self.checks().iter().filter(|check| wanted(check)).map(|check| check["id"].as_str().unwrap()).collect()
    }

    fn checks(&self) -> &Vec<Value> {
        self.document["checks"].as_array().unwrap()
    }
}
