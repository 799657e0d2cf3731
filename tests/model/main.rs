//! The rotation protocol as a small model that is checked exhaustively.
//!
//! The checker tries every order of steps of several replicas, a store, a server and a person. Crashes, suspends, lost messages and
//! expired leases happen any number of times. The model is finite, because the server issues a limited number of refresh tokens and
//! counters stop at [`state::MANY`].
//!
//! | file | content |
//! |---|---|
//! | `state` | the state of the world |
//! | `actions` | the possible steps |
//! | `protocol` | the parameters of a world, and the effect of a step |
//! | `rotation`, `store_sync` | the steps of a replica |
//! | `store`, `person` | the steps of the store and of a person |
//! | `decisions` | calls of the program's own pure decisions |
//! | `invariants`, `progress` | what must always hold, and what must be reachable |
//! | `mutations` | mistakes in the protocol, and the invariant that detects each |

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test's own code, and its figures")]

mod actions;
mod decisions;
mod invariants;
mod mutations;
mod person;
mod progress;
mod protocol;
mod rotation;
mod state;
mod store;
mod store_sync;

use std::collections::BTreeSet;
use std::time::Instant;

use bearer_proxy::internals::config::AmbiguousRetry::{Never, Once, UntilClear};
use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::actions::Action;
use crate::mutations::TABLE;
use crate::protocol::{Backups, Protocol, Reuse};
use crate::state::State;

#[test]
fn two_replicas_keep_the_invariants_with_a_server_that_only_says_no() {
    keeps_the_invariants(Protocol::<2>::new(UntilClear, Reuse::IsRefused, 2));
}

#[test]
fn two_replicas_keep_the_invariants_with_a_server_that_revokes_a_family() {
    keeps_the_invariants(Protocol::<2>::new(Once, Reuse::Revokes, 2));
}

#[test]
fn a_policy_that_never_presents_again_has_no_successor_killed() {
    let checker = keeps_the_invariants(Protocol::<2>::new(Never, Reuse::Revokes, 2));
    assert!(checker.discovery(invariants::NOT_KILLED).is_none());
}

#[test]
fn a_store_that_is_set_back_at_any_moment_loses_nothing() {
    keeps_the_invariants(Protocol::<1>::new(UntilClear, Reuse::IsRefused, 2).with_backups(Backups::First));
}

#[test]
fn three_replicas_keep_the_invariants() {
    keeps_the_invariants(Protocol::<3>::new(Once, Reuse::IsRefused, 1));
}

#[test]
#[ignore = "minutes"]
fn more_of_everything_keeps_the_invariants() {
    keeps_the_invariants(Protocol::<2>::new(UntilClear, Reuse::IsRefused, 3));
    keeps_the_invariants(Protocol::<2>::new(Once, Reuse::Revokes, 3));
    keeps_the_invariants(Protocol::<3>::new(Once, Reuse::IsRefused, 2));
}

#[test]
fn each_mutation_breaks_the_invariant_that_the_table_names() {
    for (mutation, ambiguous_retry, invariant) in TABLE {
        let protocol = Protocol::<2>::new(*ambiguous_retry, Reuse::IsRefused, 3).with(*mutation);
        let named = HasDiscoveries::AnyOf(BTreeSet::from([invariant.name()]));
        let checker = protocol.checker().threads(1).finish_when(named).spawn_bfs().join();
        let states = checker.unique_state_count();
        let Some(path) = checker.discovery(invariant.name()) else {
            panic!("{mutation:?}: \"{}\" holds in all {states} states", invariant.name());
        };
        println!("{mutation:?}: \"{}\" is broken, after {states} states:", invariant.name());
        println!("{}", steps(path));
    }
}

fn keeps_the_invariants<const N: usize>(protocol: Protocol<N>) -> impl Checker<Protocol<N>> {
    let world = format!("{N} replicas, {protocol:?}");
    let began = Instant::now();
    let checker = protocol.checker().threads(1).spawn_bfs().join();
    let (states, steps_taken, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{world}: {states} states, {steps_taken} steps, at most {depth} deep, {:.1?}", began.elapsed());
    let broken: Vec<_> = invariants::ALL
        .into_iter()
        .filter_map(|invariant| Some((invariant.name(), checker.discovery(invariant.name())?)))
        .map(|(name, path)| format!("\"{name}\" is broken:\n{}", steps(path)))
        .collect();
    assert!(broken.is_empty(), "{world}: {}", broken.join("\n"));
    let missed: Vec<_> = invariants::possible(checker.model())
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| checker.discovery(name).is_none())
        .collect();
    assert!(missed.is_empty(), "{world}: never seen: {missed:?}");
    checker
}

/// A path as text. A replica is named by its place, which can change.
fn steps<const N: usize>(path: Path<State<N>, Action>) -> String {
    let last = *path.last_state();
    let steps: Vec<_> = path.into_actions().into_iter().map(|action| format!("{action:?}")).collect();
    format!("  {}\n  {last:?}", steps.join(" → "))
}
