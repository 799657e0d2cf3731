//! A memory cgroup (version 1) around the program.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Setup;

/// Removed when dropped.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// `None`: this user or this machine can't create one.
    pub fn new(limit: u64) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = format!("/sys/fs/cgroup/memory/bearer-proxy-test-{}-{number}", std::process::id());
        std::fs::create_dir(&path).ok()?;
        let cgroup = Self(path.into());
        std::fs::write(cgroup.0.join("memory.limit_in_bytes"), limit.to_string()).ok()?;
        // Without a limit, the kernel does not count socket buffers.
        std::fs::write(cgroup.0.join("memory.kmem.tcp.limit_in_bytes"), limit.to_string()).ok()?;
        Some(cgroup)
    }

    /// Runs the program in this group.
    pub fn around(&self, setup: Setup) -> Setup {
        let enter = format!(r#"echo $$ > {}/cgroup.procs; exec "$0" "$@""#, self.0.display());
        setup.under(&["sh", "-c", &enter])
    }

    /// The most that the program used, in bytes: its memory, and its socket buffers.
    pub fn peak(&self) -> (u64, u64) {
        (self.read("memory.max_usage_in_bytes"), self.read("memory.kmem.tcp.max_usage_in_bytes"))
    }

    fn read(&self, name: &str) -> u64 {
        std::fs::read_to_string(self.0.join(name)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while a process is in the group.
        let _ = std::fs::remove_dir(&self.0);
    }
}
