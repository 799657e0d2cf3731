//! model
mod journal;
mod judge;
mod mutation;
mod person;
mod protocol;
mod refresher;
mod server;
mod state;
mod store;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::judge::Invariant;
use crate::mutation::Mutation;
use crate::protocol::{Protocol, ServerKind};
use crate::state::Faults;

fn check(protocol: Protocol) -> Option<Invariant> {
    let began = Instant::now();
    let told = format!("{protocol:?}");
    let checker = protocol.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{told}\n  {} states, {} unique, depth {}, {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed()
    );
    let (_, path) = checker.discoveries().into_iter().next()?;
    let last = path.last_state().clone();
    let trace: Vec<String> = path.into_actions().iter().map(|a| format!("{a:?}")).collect();
    println!("  broken: {:?}\n  {}", last.broken, trace.join("\n  "));
    if std::env::var("STATE").is_ok() {
        println!("{:?}\n {:?}\n {:?}", last.store, last.server, last.replicas);
    }
    Some(last.broken.unwrap_or(Invariant::Settles))
}

fn base() -> Protocol {
    Protocol {
        replicas: 2,
        server: ServerKind::League,
        policy: None,
        first: false,
        faults: Faults { any: 2, crashes: 1, timeouts: 1, busy: 1, store: 1, pauses: 1, logins: 1 },
        tokens: 4,
        mutation: None,
    }
}

#[test]
fn real() {
    for server in [ServerKind::League, ServerKind::LeagueRacing, ServerKind::Strict, ServerKind::Keeping] {
        for first in [false, true] {
            for policy in [None, Some(2), Some(1)] {
                assert_eq!(
                    check(Protocol { server, first, policy, faults: Faults { any: 1, ..base().faults }, ..base() }),
                    None
                );
            }
        }
    }
}

#[test]
fn mutants() {
    use Mutation::*;
    for m in [
        RemainingLeaseNotChecked,
        LeaseShorterThanCall,
        NoLease,
        IntentNotFenced,
        NoIntent,
        NotReloaded,
        PresentsWhileUnpersisted,
        FirstBeforeUnclear,
        CommitFenced,
        CommitComparesGeneration,
        CommitComparesToken,
        CommitComparesNothing,
        CommitKeepsNeedsLogin,
        PublishedBeforeCommit,
        UnpersistedForgotten,
        AmbiguousClearsIntent,
        TransientClearsIntent,
        AmbiguousIsRefusal,
        NoteNotFenced,
        RefusalComparesNothing,
        RotationGoesBack,
        IntentNotNoticed,
        ExhaustionNotNoted,
        MissedLookForgotten,
        SameGenerationKeepsToken,
        ImportComparesNothing,
        ImportBeginsAnew,
    ] {
        let base = match m {
            CommitComparesToken => Protocol { server: ServerKind::Keeping, ..base() },
            IntentNotNoticed | ExhaustionNotNoted => Protocol { policy: Some(1), ..base() },
            FirstBeforeUnclear => Protocol { policy: Some(1), first: true, ..base() },
            _ => base(),
        };
        let base = Protocol { mutation: Some(m), ..base };
        let found = check(Protocol { faults: Faults { any: 1, ..base.faults }, ..base.clone() })
            .or_else(|| check(base.clone()));
        println!("== {m:?}: {found:?}");
    }
}

#[test]
fn harmless() {
    use Mutation::*;
    for m in [RefusalFenced, ImportWithoutLease, NotReleased] {
        let found = check(Protocol { mutation: Some(m), faults: Faults { any: 1, ..base().faults }, ..base() });
        println!("== {m:?}: {found:?}");
    }
}

#[test]
fn sizes() {
    let f = base().faults;
    for p in [
        Protocol { tokens: 3, ..base() },
        Protocol { faults: Faults { store: 0, busy: 0, ..f }, ..base() },
        Protocol { faults: Faults { store: 0, busy: 0, logins: 0, ..f }, ..base() },
        Protocol { faults: Faults { store: 0, busy: 0, logins: 0, any: 3, ..f }, ..base() },
        Protocol { tokens: 3, replicas: 3, faults: Faults { any: 1, ..f }, ..base() },
        Protocol { tokens: 3, replicas: 3, faults: Faults { any: 1, store: 0, busy: 0, ..f }, ..base() },
    ] {
        assert_eq!(check(p), None);
    }
}
