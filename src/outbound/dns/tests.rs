use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::Poll;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;

fn v4() -> Vec<SocketAddr> {
    vec!["192.0.2.1:0".parse().unwrap()]
}

fn v6() -> Vec<SocketAddr> {
    vec!["[2001:db8::1]:0".parse().unwrap()]
}

fn lookups(ask: impl Fn(&Question) -> Answer + Send + Sync + 'static) -> &'static Lookups {
    Box::leak(Box::new(Lookups::new(Box::new(ask))))
}

/// Lookups of this family wait until the sender is dropped.
fn gated(family: Family) -> (&'static Lookups, mpsc::Sender<()>, &'static AtomicUsize) {
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let asked: &'static AtomicUsize = Box::leak(Box::default());
    let lookups = lookups(move |question| {
        asked.fetch_add(1, Ordering::Relaxed);
        if question.family == family {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(if question.family == Family::V4 { v4() } else { v6() })
    });
    (lookups, open, asked)
}

#[tokio::test]
async fn both_families_are_found() {
    let lookups = lookups(|question| Ok(if question.family == Family::V4 { v4() } else { v6() }));
    let Found { mut addresses, late } = lookups.resolve("a.test").await.unwrap();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    assert_eq!(addresses, [v4(), v6()].concat());
    assert!(late.is_none());
    assert!(lookups.running().is_empty());
}

#[tokio::test]
async fn a_family_without_addresses_does_not_hide_the_other() {
    for silent in [Family::V4, Family::V6] {
        let lookups = lookups(move |question| match question.family == silent {
            true => Err(DnsError::NoAddress("none".into())),
            false => Ok(v4()),
        });
        let Found { addresses, late } = lookups.resolve("a.test").await.unwrap();
        assert_eq!(addresses, v4());
        assert!(late.is_none());
    }
}

#[tokio::test]
async fn a_name_without_addresses_is_told_by_the_graver_error() {
    let (none, failed) = (DnsError::NoAddress("none".into()), DnsError::Failed("temporary".into()));
    for grave in [Family::V4, Family::V6] {
        let errors = (none.clone(), failed.clone());
        let lookups =
            lookups(move |question| Err(if question.family == grave { errors.1.clone() } else { errors.0.clone() }));
        assert_eq!(lookups.resolve("a.test").await.err(), Some(failed.clone()));
    }
    let lookups = lookups(move |_| Err(none.clone()));
    assert_eq!(lookups.resolve("a.test").await.err(), Some(DnsError::NoAddress("none".into())));
}

#[tokio::test]
async fn a_family_that_does_not_answer_is_waited_for_briefly_and_stays_welcome() {
    for (silent, first, second) in [(Family::V6, v4(), v6()), (Family::V4, v6(), v4())] {
        let (lookups, open, _) = gated(silent);
        let Found { addresses, late } = lookups.resolve("a.test").await.unwrap();
        assert_eq!(addresses, first);
        drop(open);
        assert_eq!(late.unwrap().await, Ok(second));
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_other_family_is_50_ms() {
    // Without threads, which would not advance the paused clock.
    let lookups = lookups(|_| Ok(v4()));
    let (never, silent) = watch::channel(None);
    let question = Question { host: "a.test".into(), family: Family::V6 };
    lookups.running().insert(question, silent);
    let (sender, answered) = watch::channel(Some(Ok(v4())));
    lookups.running().insert(Question { host: "a.test".into(), family: Family::V4 }, answered);
    let began = Instant::now();
    assert!(lookups.resolve("a.test").await.unwrap().late.is_some());
    assert_eq!(began.elapsed(), Duration::from_millis(50));
    drop((never, sender));
}

#[tokio::test]
async fn a_lookup_outlives_who_started_it_and_serves_all_who_wait() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let asked: &'static AtomicUsize = Box::leak(Box::default());
    let lookups = lookups(move |_| {
        asked.fetch_add(1, Ordering::Relaxed);
        let _ = gate.lock().unwrap().recv();
        Ok(v4())
    });
    let gives_up = timeout(Duration::from_millis(1), lookups.resolve("a.test")).await;
    assert!(gives_up.is_err());
    let mut waiting = pin!(join_all((0..600).map(|_| lookups.resolve("a.test"))));
    assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
    drop(open);
    for resolved in waiting.await {
        assert!(!resolved.unwrap().addresses.is_empty());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "one lookup for each family");
    // The answer is not cached: the next connection follows DNS.
    lookups.resolve("a.test").await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let failed: &'static AtomicUsize = Box::leak(Box::default());
    let lookups = lookups(move |_| match failed.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Err(DnsError::Failed("temporary".into())),
        _ => Ok(v4()),
    });
    assert!(lookups.resolve("a.test").await.is_err());
    assert!(lookups.resolve("a.test").await.is_ok());
}

#[tokio::test]
async fn lookups_are_bounded() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let lookups = lookups(move |_| {
        let _ = gate.lock().unwrap().recv();
        Ok(v4())
    });
    let mut errors = 0;
    let mut waiting = Vec::new();
    for number in 0..100 {
        for family in [Family::V4, Family::V6] {
            match lookups.lookup(Question { host: number.to_string(), family }) {
                Ok(lookup) => waiting.push(lookup),
                Err(error) => {
                    assert_eq!(error, DnsError::Busy);
                    errors += 1;
                }
            }
        }
    }
    assert_eq!((waiting.len(), errors), (MAX_THREADS, 200 - MAX_THREADS));
    drop(open);
    for mut lookup in waiting {
        lookup.wait_for(Option::is_some).await.unwrap();
    }
    assert!(lookups.resolve("next").await.is_ok());
}

#[tokio::test]
async fn a_lookup_that_panics_fails_alone() {
    let asked: &'static AtomicUsize = Box::leak(Box::default());
    let lookups = lookups(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => panic!("expected: the test's own"),
        _ => Ok(v4()),
    });
    assert!(matches!(lookups.resolve("a.test").await, Err(DnsError::Failed(_))));
    assert!(lookups.resolve("a.test").await.is_ok());
}

#[tokio::test]
async fn a_thread_that_cannot_be_started_is_an_error() {
    let mut lookups = Lookups::new(Box::new(|_| Ok(v4())));
    // No address space is large enough for this.
    lookups.stack = 1 << 60;
    let lookups: &'static Lookups = Box::leak(Box::new(lookups));
    assert!(matches!(lookups.resolve("a.test").await, Err(DnsError::NoThread(_))));
    assert!(lookups.running().is_empty());
}

#[test]
fn the_hosts_file_is_read_as_the_manual_says() {
    let hosts = b"127.0.0.1 localhost\n# 10.0.0.1 commented.test\n10.0.0.2\tA.test b.test # c.test\n10.0.0.3";
    for (host, expected) in [
        ("localhost", true),
        ("a.test", true),
        ("b.test", true),
        ("B.TEST.", true),
        ("c.test", false),
        ("commented.test", false),
        ("10.0.0.3", false),
        ("10.0.0.2", false),
        ("test", false),
        ("", false),
    ] {
        assert_eq!(names(hosts, host), expected, "{host}");
    }
}

#[tokio::test]
async fn the_system_knows_this_machine_and_names_what_it_does_not_know() {
    let found = resolve("localhost").await.unwrap();
    assert!(found.addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 0));
}
