//! Replicas of the built program in one cluster: a real API server, etcd, RBAC, and tokens of a service account. `.ci/kubernetes` runs it.
//!
//! Without `KUBE_APISERVER`, each test says `not run`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that meets the unexpected has failed"
)]

mod calls;
mod chaos;
mod fleet;
mod load;
