//! Checks of the limits of this process: file descriptors, and memory and CPU of its cgroup.

mod cgroup;

use std::fs;

use rustix::process::{Resource, getrlimit};

pub use self::cgroup::Cgroup;
use super::finding::Finding;
use super::ids::Id;
use crate::config::Config;
use crate::descriptors;

const MIB: u64 = 1 << 20;
/// The program itself.
const PROGRAM: u64 = 10 * MIB;
/// The bodies of a request in flight, both ways.
const BODIES: u64 = 27 * MIB / 10;
/// In thousandths of a core. A handshake of TLS takes some milliseconds of a whole core.
const MIN_CPU: u64 = 100;

/// What the system allows this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// `None`: without limit.
    pub descriptors: Option<u64>,
    pub cgroup: Cgroup,
    pub workers: u64,
}

/// `descriptors`: the limit of the running proxy, where it is known.
pub fn gather(config: &Config, descriptors: Option<u64>) -> Facts {
    let read = |path: &str| fs::read_to_string(path).ok();
    let own = read("/proc/self/cgroup").unwrap_or_default();
    // `serve` raises its limit to the hard one.
    let descriptors = descriptors.or(getrlimit(Resource::Nofile).maximum);
    let workers = descriptors::workers(&config.runtime).get() as u64;
    Facts { descriptors, cgroup: Cgroup::read(&own, read), workers }
}

pub fn judge(config: &Config, facts: Facts) -> Vec<Finding> {
    [descriptors_finding(config, facts), memory(config, facts), cpu(facts)].into_iter().flatten().collect()
}

fn descriptors_finding(config: &Config, facts: Facts) -> Option<Finding> {
    let wanted = config.guard.max_connections as u64;
    let attainable = descriptors::share(facts.descriptors?, facts.workers);
    (wanted > attainable).then(|| {
        let needed = descriptors::needed(wanted, facts.workers);
        Id::LimitDescriptors.warn(
            format!("guard.max_connections is {wanted}, but the limit of open files allows {attainable}, and that many are accepted"),
            format!("raise the hard limit to {needed} (systemd: LimitNOFILE, shell: ulimit -n), or lower guard.max_connections"),
        )
    })
}

/// The most that the configuration lets the process use with HTTP/1 clients, in bytes (docs/reference/limits.md).
fn ceiling(config: &Config) -> u64 {
    // Of a client connection, and of a request in flight or waiting.
    let heads = (config.guard.max_header_size as u64).saturating_add(MIB / 16).saturating_mul(2);
    let connections = (config.guard.max_connections as u64).saturating_mul(heads);
    let request = heads.saturating_mul(2).saturating_add(BODIES);
    let requests = (config.upstream.max_in_flight as u64).saturating_mul(request);
    PROGRAM.saturating_add(config.upstream.replay_budget as u64).saturating_add(connections).saturating_add(requests)
}

fn memory(config: &Config, facts: Facts) -> Option<Finding> {
    let (limit, ceiling) = (facts.cgroup.memory?, ceiling(config));
    (limit < ceiling).then(|| {
        Id::LimitMemory.warn(
            format!(
                "the memory limit of the cgroup is {} MiB, and the configuration allows {} MiB at the worst moment",
                limit / MIB,
                ceiling / MIB
            ),
            "raise the limit, or lower upstream.max_in_flight, upstream.replay_budget and the number of connections",
        )
    })
}

fn cpu(facts: Facts) -> Option<Finding> {
    let quota = facts.cgroup.millicores?;
    (quota < MIN_CPU).then(|| {
        Id::LimitCpu.warn(
            format!("the CPU quota of the cgroup is {quota} thousandths of a core, so the kernel pauses the proxy in each TLS handshake"),
            format!("raise the quota to {MIN_CPU}m or more, or remove it"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{load, names};

    fn check(variables: &[(&str, &str)], facts: Facts) -> Vec<&'static str> {
        names(&judge(&load(variables).unwrap().config, facts))
    }

    #[test]
    fn each_limit_that_is_too_low_has_its_id() {
        let cgroup = |memory, millicores| Facts { cgroup: Cgroup { memory, millicores }, ..Facts::default() };
        let descriptors = |limit| Facts { descriptors: limit, workers: 2, ..Facts::default() };
        let sidecar =
            [("GUARD__MAX_CONNECTIONS", "64"), ("UPSTREAM__MAX_IN_FLIGHT", "16"), ("UPSTREAM__REPLAY_BUDGET", "16MiB")];
        assert_eq!(check(&[], descriptors(None)), [""; 0]);
        assert_eq!(check(&[], descriptors(Some(1024))), ["limit-descriptors"]);
        assert_eq!(check(&[], descriptors(Some(20_000))), [""; 0]);
        assert_eq!(check(&sidecar, descriptors(Some(1024))), [""; 0]);
        assert_eq!(check(&[], cgroup(Some(1 << 30), None)), ["limit-memory"]);
        assert_eq!(check(&sidecar, cgroup(Some(128 * MIB), None)), [""; 0]);
        assert_eq!(check(&sidecar, cgroup(Some(64 * MIB), None)), ["limit-memory"]);
        assert_eq!(check(&[], cgroup(None, Some(50))), ["limit-cpu"]);
        assert_eq!(check(&[], cgroup(None, Some(100))), [""; 0]);
    }

    /// docs/reference/limits.md: about 94 MiB.
    #[test]
    fn the_ceiling_is_the_documented_one() {
        let sidecar =
            [("GUARD__MAX_CONNECTIONS", "64"), ("UPSTREAM__MAX_IN_FLIGHT", "16"), ("UPSTREAM__REPLAY_BUDGET", "16MiB")];
        assert_eq!(ceiling(&load(&sidecar).unwrap().config) / MIB, 93);
    }
}
