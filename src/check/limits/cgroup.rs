//! Memory limit and CPU quota of a process, by cgroup v1 and v2 (cgroups(7)).

/// The lowest limits on the way to the root. `None`: without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// In bytes.
    pub memory: Option<u64>,
    /// In thousandths of a core.
    pub millicores: Option<u64>,
}

const ROOT: &str = "/sys/fs/cgroup";
/// cgroup v1 writes "no limit" as a number near 2⁶³, which depends on the page size.
const V1_UNLIMITED: u64 = 1 << 60;

// === impl Cgroup ===

impl Cgroup {
    /// `own` is `/proc/self/cgroup`; `read` reads a file.
    pub fn read(own: &str, read: impl Fn(&str) -> Option<String>) -> Self {
        let mut found = Self::default();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let has = |name: &str| controllers.split(',').any(|controller| controller == name);
            let v2 = number == "0" && controllers.is_empty();
            for directory in ancestors(path) {
                let file = |controller: &str, name: &str| {
                    let base = if v2 { ROOT.to_owned() } else { format!("{ROOT}/{controller}") };
                    read(&format!("{base}{directory}/{name}"))
                };
                if v2 {
                    found.limit_memory(file("", "memory.max").and_then(|text| text.trim().parse().ok()));
                    found.limit_cpu(file("", "cpu.max").and_then(|text| quota(&text)));
                }
                if has("memory") {
                    let limit = file("memory", "memory.limit_in_bytes").and_then(|text| text.trim().parse().ok());
                    found.limit_memory(limit.filter(|limit| *limit < V1_UNLIMITED));
                }
                if has("cpu") {
                    let of = |name| file(controllers, name).or_else(|| file("cpu", name));
                    let pair = of("cpu.cfs_quota_us").zip(of("cpu.cfs_period_us"));
                    found.limit_cpu(pair.and_then(|(quota_us, period)| quota(&format!("{quota_us} {period}"))));
                }
            }
        }
        found
    }

    fn limit_memory(&mut self, limit: Option<u64>) {
        self.memory = self.memory.into_iter().chain(limit).min();
    }

    fn limit_cpu(&mut self, millicores: Option<u64>) {
        self.millicores = self.millicores.into_iter().chain(millicores).min();
    }
}

/// The cgroup itself and those above it, each without a trailing `/`. In a container the path may be the host's, and then only
/// the root exists.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let path = path.trim_end_matches('/');
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.map(move |end| path.get(..end).unwrap_or_default())
}

/// `QUOTA PERIOD` in microseconds; the quota is `max` or -1 if there is none.
fn quota(text: &str) -> Option<u64> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    quota.saturating_mul(1000).checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What machines answered: a pod and a service on cgroup v2, a container on v1, and hosts without limits.
    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_counts() {
        type Files<'a> = &'a [(&'a str, &'a str)];
        let rows: &[(&str, Files<'_>, Option<u64>, Option<u64>)] = &[
            (
                "0::/\n",
                &[("/sys/fs/cgroup/memory.max", "134217728\n"), ("/sys/fs/cgroup/cpu.max", "50000 100000\n")],
                Some(134_217_728),
                Some(500),
            ),
            (
                "0::/\n",
                &[("/sys/fs/cgroup/memory.max", "max\n"), ("/sys/fs/cgroup/cpu.max", "max 100000\n")],
                None,
                None,
            ),
            (
                "0::/system.slice/bearer-proxy.service\n",
                &[
                    ("/sys/fs/cgroup/system.slice/bearer-proxy.service/memory.max", "1073741824\n"),
                    ("/sys/fs/cgroup/system.slice/memory.max", "536870912\n"),
                    ("/sys/fs/cgroup/system.slice/bearer-proxy.service/cpu.max", "5000 100000\n"),
                ],
                Some(536_870_912),
                Some(50),
            ),
            // The path is the host's, and the container sees its own cgroup as the root.
            (
                "4:memory:/kubepods/burstable/pod1/c1\n3:cpu,cpuacct:/kubepods/burstable/pod1/c1\n",
                &[
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
                    ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "20000\n"),
                    ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
                ],
                Some(67_108_864),
                Some(200),
            ),
            (
                "4:memory:/\n1:cpu:/\n0::/\n",
                &[
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                    ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                ],
                None,
                None,
            ),
            ("", &[], None, None),
            ("x\n0::\n", &[("/sys/fs/cgroup/cpu.max", "1 0")], None, None),
        ];
        for (own, files, memory, millicores) in rows {
            let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
            assert_eq!(Cgroup::read(own, read), Cgroup { memory: *memory, millicores: *millicores }, "{own}");
        }
    }
}
