//! The addresses of a name: one lookup for IPv4 and one for IPv6 (RFC 8305 §3).
//!
//! The C library answers (`getaddrinfo`), because it follows `/etc/hosts`, `/etc/nsswitch.conf` and `/etc/resolv.conf`. It blocks, so
//! each lookup has a thread. A lookup outlives the request that started it, and serves every request that waits for the same name. An
//! answer is not cached: each new connection follows DNS.
//!
//! By default, glibc resends a lost packet after 5 s. The image and the systemd unit shorten that by `RES_OPTIONS`.

use std::collections::HashMap;
use std::fs;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};
use tokio::sync::watch;
use tokio::time::timeout;

/// The running lookups of this process.
pub(super) struct Lookups {
    ask: Ask,
    /// Stack size of the thread of a lookup, in bytes.
    stack: usize,
    running: Mutex<HashMap<Question, watch::Receiver<Option<Answer>>>>,
}

/// The result of a lookup before the first connection attempt. The ports are 0.
pub(super) struct Found {
    pub(super) addresses: Vec<SocketAddr>,
    /// The other family has not answered yet.
    pub(super) late: Option<Late>,
}

pub(super) type Late = BoxFuture<'static, Answer>;

type Ask = Box<dyn Fn(&Question) -> Answer + Send + Sync>;
type Answer = Result<Vec<SocketAddr>, DnsError>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    host: String,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    V4,
    V6,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DnsError {
    /// The name does not exist, or has no address of this family.
    #[error("{0}")]
    NoAddress(String),
    #[error("{0}")]
    Failed(String),
    #[error("no thread could be started for the lookup: {0}")]
    NoThread(String),
    #[error("{MAX_THREADS} lookups already wait for the name servers")]
    Busy,
}

static LOOKUPS: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(Box::new(system)));

/// How long to wait for the other family after one has answered (RFC 8305 §3, "Resolution Delay").
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Maximum number of lookups at once. The configuration names at most the upstream, the token endpoint and an HTTP proxy. A reload may
/// change all three while lookups of the old names still run.
const MAX_THREADS: usize = 16;

/// The name service modules of the C library (`/etc/nsswitch.conf`) expect a stack of the usual size.
const STACK: usize = 2 << 20;

/// `AF_UNSPEC`.
const ANY_FAMILY: i32 = 0;

const HOSTS: &str = "/etc/hosts";

/// Looks up `host`. Returns when one family has answered or both have failed.
pub(super) async fn resolve(host: &str) -> Result<Found, DnsError> {
    LOOKUPS.resolve(host).await
}

// === impl Lookups ===

impl Lookups {
    fn new(ask: Ask) -> Self {
        Self { ask, stack: STACK, running: Mutex::default() }
    }

    async fn resolve(&'static self, host: &str) -> Result<Found, DnsError> {
        let both = select(self.answer(host, Family::V6), self.answer(host, Family::V4)).await;
        let (Either::Left((first, mut other)) | Either::Right((first, mut other))) = both;
        let mut addresses = match first {
            Ok(addresses) => addresses,
            Err(error) => {
                let addresses = other.await.map_err(|second| error.or(second))?;
                return Ok(Found { addresses, late: None });
            }
        };
        let late = match timeout(RESOLUTION_DELAY, &mut other).await {
            Ok(answer) => {
                addresses.extend(answer.unwrap_or_default());
                None
            }
            Err(_elapsed) => Some(other),
        };
        Ok(Found { addresses, late })
    }

    fn answer(&'static self, host: &str, family: Family) -> BoxFuture<'static, Answer> {
        let mut lookup = match self.lookup(Question { host: host.to_owned(), family }) {
            Ok(lookup) => lookup,
            Err(error) => return ready(Err(error)).boxed(),
        };
        async move {
            let answer = lookup.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
            answer.unwrap_or_else(|| Err(DnsError::Failed("the lookup ended without an answer".into())))
        }
        .boxed()
    }

    /// Joins the lookup of this question, or starts it.
    fn lookup(&'static self, question: Question) -> Result<watch::Receiver<Option<Answer>>, DnsError> {
        let mut running = self.running();
        // A lookup whose thread has panicked has no sender left.
        running.retain(|_, lookup| lookup.has_changed().is_ok());
        if let Some(lookup) = running.get(&question) {
            return Ok(lookup.clone());
        }
        if running.len() >= MAX_THREADS {
            return Err(DnsError::Busy);
        }
        let (sender, receiver) = watch::channel(None);
        let asked = question.clone();
        let work = move || {
            let answer = (self.ask)(&asked);
            self.running().remove(&asked);
            sender.send_replace(Some(answer));
        };
        let thread = thread::Builder::new().name("dns".into()).stack_size(self.stack).spawn(work);
        thread.map_err(|error| DnsError::NoThread(error.to_string()))?;
        running.insert(question, receiver.clone());
        Ok(receiver)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Question, watch::Receiver<Option<Answer>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the C library.
fn system(question: &Question) -> Answer {
    let Question { host, family } = question;
    let hosts = fs::read(HOSTS).unwrap_or_default();
    // For a name in the hosts file, only the file counts: name servers must not add addresses of the other family. The C library follows
    // that rule only if it is asked for both families at once.
    let hint = match family {
        _ if names(&hosts, host) => ANY_FAMILY,
        Family::V4 => AddrFamily::Inet.into(),
        Family::V6 => AddrFamily::Inet6.into(),
    };
    let hints = AddrInfoHints { address: hint, socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| {
        let kind = error.kind();
        let text = std::io::Error::from(error).to_string();
        let text = text.trim_start_matches("failed to lookup address information: ").to_owned();
        match kind {
            LookupErrorKind::NoName | LookupErrorKind::NoData => DnsError::NoAddress(text),
            _ => DnsError::Failed(text),
        }
    })?;
    let is_asked = |address: &SocketAddr| address.is_ipv6() == (*family == Family::V6);
    let addresses: Vec<_> = found.flatten().map(|found| found.sockaddr).filter(is_asked).collect();
    if addresses.is_empty() { Err(DnsError::NoAddress("it has no address".into())) } else { Ok(addresses) }
}

/// Whether a hosts file has an entry for this name (hosts(5)).
fn names(hosts: &[u8], host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
    hosts.split(|byte| *byte == b'\n').any(|line| {
        let entry = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        entry
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty())
            .skip(1)
            .any(|name| name.eq_ignore_ascii_case(host))
    })
}

// === impl DnsError ===

impl DnsError {
    /// The more specific error of the two families.
    fn or(self, other: Self) -> Self {
        if matches!(self, Self::NoAddress(_)) { other } else { self }
    }
}

#[cfg(test)]
mod tests;
