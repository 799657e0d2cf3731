//! The scheduler's counters of each thread (`/proc/…/schedstat`): nanoseconds on a processor, and in the queue for one.

use std::time::Duration;

/// How long this thread and the main thread of process `pid` waited for a processor since their start.
pub fn waits(pid: u32) -> Duration {
    read("/proc/thread-self/schedstat").1 + read(&format!("/proc/{pid}/schedstat")).1
}

/// How long the threads of a process were runnable. Unlike CPU time, this also grows while other processes occupy the machine.
pub fn demand(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .map(|thread| read(&format!("{}/schedstat", thread.path().display())))
        .map(|(ran, waited)| ran + waited)
        .sum()
}

/// Zero if the kernel does not count it.
fn read(path: &str) -> (Duration, Duration) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut fields = text.split(' ').map(|nanos| Duration::from_nanos(nanos.parse().unwrap_or(0)));
    (fields.next().unwrap_or_default(), fields.next().unwrap_or_default())
}
