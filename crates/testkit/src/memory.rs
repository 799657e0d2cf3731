//! The memory of a process, as the kernel counts it (`proc_pid_status(5)`).

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub const MIB: f64 = 1024.0;

/// Memory of one process, in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pid: u32,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// `VmRSS`.
    pub fn resident(self) -> u64 {
        self.field("VmRSS:")
    }

    /// `VmHWM`: the peak since the process started, or since [`Self::forget_peak`].
    pub fn peak(self) -> u64 {
        self.field("VmHWM:")
    }

    pub fn forget_peak(self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5").unwrap();
    }

    /// Waits until at most `bound` KiB are resident, or for `patience`. Polls, because memory has no events.
    pub async fn settled(self, bound: u64, patience: Duration) -> u64 {
        let end = Instant::now() + patience;
        while self.resident() > bound && Instant::now() < end {
            sleep(Duration::from_millis(100)).await;
        }
        self.resident()
    }

    fn field(self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// KiB as MiB, for people.
pub fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / MIB)
}
