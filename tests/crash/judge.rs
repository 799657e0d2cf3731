//! Decides what a death has cost, by the ledger of the server, the reported steps, and the stored document.

use std::collections::BTreeSet;

use serde_json::Value;
use simulator::{Outcome, Simulator, TokenCall};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The judge of one store with a server of its own.
pub struct Judge {
    simulator: Simulator,
    /// The first refresh token of the present grant.
    first: u64,
    /// The number of calls that were judged before.
    judged: usize,
    /// The refresh tokens whose successors the program has reported as stored.
    committed: BTreeSet<u64>,
    lost: bool,
}

/// What the store holds after a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The refresh token that the server accepts.
    Living,
    /// Its parent. The server spent it in the last call of the process, and no successor was committed.
    Spent,
}

impl Judge {
    pub fn new(simulator: Simulator, first: u64) -> Self {
        Self { simulator, first, judged: 0, committed: BTreeSet::new(), lost: false }
    }

    /// A person supplied a new grant.
    pub fn given(&mut self, first: u64) {
        self.first = first;
        self.lost = false;
    }

    pub fn lost(&self) -> bool {
        self.lost
    }

    /// # Panics
    /// A grant was lost outside of the window between the two commits, or a token with a committed successor was presented.
    pub async fn after(&mut self, steps: &[String], document: Option<Value>) -> Found {
        let calls = self.calls(steps).await;
        let tell = || format!("{steps:?}\n{calls:#?}");
        let mut arrived = calls.iter();
        let mut present = None;
        for step in steps {
            match step.as_str() {
                "calling" => {
                    present = arrived.next();
                    let again =
                        present.and_then(TokenCall::refresh_token).is_some_and(|it| self.committed.contains(&it));
                    assert!(!again, "presented after its successor was committed: {}", tell());
                }
                "committed" => {
                    let call = present.unwrap_or_else(|| panic!("committed without a call: {}", tell()));
                    assert!(call.committed, "committed what the server did not: {}", tell());
                    self.committed.insert(call.refresh_token().unwrap());
                    present = None;
                }
                _ => {}
            }
        }
        assert!(arrived.next().is_none(), "a call that was not reported: {}", tell());

        let stored = self.stored(document.as_ref());
        assert!(!self.committed.contains(&stored), "a pair was lost whose commit was acknowledged: {}", tell());
        let (living, parent) = self.living();
        if stored == living {
            assert!(!self.lost, "what was lost came back: {}", tell());
            // Even if the program was killed before it reported that.
            self.committed.extend(parent);
            return Found::Living;
        }
        assert_eq!(Some(stored), parent, "the store holds neither the living token nor its parent: {}", tell());
        let in_the_window = self.lost || present.is_some_and(|call| call.committed);
        assert!(in_the_window, "lost outside of the window between the server's commit and ours: {}", tell());
        self.lost = true;
        Found::Spent
    }

    /// The calls of the dead process. Waits until all are decided, because the server completes a request whose client has died.
    async fn calls(&mut self, steps: &[String]) -> Vec<TokenCall> {
        // The server accepts connections in order. Once it has answered this one, it has accepted those of the dead process.
        let mut last = TcpStream::connect(self.simulator.address()).await.unwrap();
        last.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        last.read_to_end(&mut Vec::new()).await.unwrap();
        let judged = self.judged;
        let over = self.simulator.wait_until(|ledger| {
            let decided = |call: &TokenCall| call.outcome != Outcome::Undecided;
            ledger.open_connections() == 0 && ledger.token_calls()[judged..].iter().all(decided)
        });
        if over.await.is_err() {
            let calls = self.simulator.with_ledger(|ledger| ledger.token_calls()[judged..].to_vec());
            panic!("a call was neither granted, refused nor aborted: {steps:?}\n{calls:#?}");
        }
        let calls = self.simulator.with_ledger(|ledger| ledger.token_calls()[judged..].to_vec());
        self.judged += calls.len();
        calls
    }

    /// The serial of the stored refresh token, or of the configured one before the first commit.
    fn stored(&self, document: Option<&Value>) -> u64 {
        let text = document.and_then(|document| document["refresh_token"].as_str());
        text.map_or(self.first, |text| self.simulator.serial(text).expect("a token of this server"))
    }

    /// The newest refresh token of the present grant, and its parent.
    fn living(&self) -> (u64, Option<u64>) {
        self.simulator.with_ledger(|ledger| {
            let grant = ledger.issued().iter().find(|issued| issued.refresh == Some(self.first)).unwrap().grant;
            let newest = ledger.issued().iter().rfind(|issued| issued.grant == grant).unwrap();
            (newest.refresh.unwrap(), newest.parent)
        })
    }
}
