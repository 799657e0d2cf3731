//! The pipe on which processes report the steps that they reach.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use tempfile::TempDir;
use tokio::net::unix::pipe::{self, Receiver};
use tokio::time::timeout;

use crate::support::Setup;

pub struct Pipe {
    folder: TempDir,
    /// Read without the runtime, so everything that a dead process has written is read at once.
    file: File,
    /// Becomes ready when there is something to read.
    ready: Receiver,
    /// The incomplete last line.
    partial: String,
    /// The steps of each process, by its number.
    steps: BTreeMap<u32, Vec<String>>,
    /// The steps of all, in the order in which they were reached.
    all: Vec<(u32, String)>,
}

/// Bounds a test that fails. Longer than a lease.
const PATIENCE: Duration = Duration::from_secs(60);

impl Pipe {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        // Also for writing, because a pipe without a writer is at its end.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path).unwrap();
        let ready = pipe::OpenOptions::new().open_receiver(path).unwrap();
        Self { folder, file, ready, partial: String::new(), steps: BTreeMap::new(), all: Vec::new() }
    }

    /// Makes the program report to this pipe.
    pub fn report(&self, setup: Setup) -> Setup {
        setup.raw("FAULT_POINT_REPORT", self.folder.path().join("steps").display())
    }

    /// The file that names the operation that fails.
    pub fn failing(&self) -> PathBuf {
        self.folder.path().join("failing")
    }

    /// The steps of a process so far.
    pub fn steps(&mut self, pid: u32) -> &[String] {
        self.read();
        self.steps.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// As `steps`, and forgets them, because a later process may have the same number.
    pub fn take(&mut self, pid: u32) -> Vec<String> {
        self.read();
        self.steps.remove(&pid).unwrap_or_default()
    }

    /// The steps of all processes after the first `begin` steps, in the order in which they were reached. They are forgotten, because a
    /// later process may have the same number.
    pub fn take_since(&mut self, begin: usize) -> Vec<String> {
        self.read();
        let (pids, steps): (Vec<u32>, Vec<String>) = self.all[begin..].iter().cloned().unzip();
        for pid in pids {
            self.steps.remove(&pid);
        }
        steps
    }

    /// The steps of all processes, in the order in which they were reached.
    pub fn all(&mut self) -> &[(u32, String)] {
        self.read();
        &self.all
    }

    /// Waits until the process has reached the step `times` times.
    pub async fn reached(&mut self, pid: u32, step: &str, times: usize) {
        let seen = async {
            while self.steps(pid).iter().filter(|reached| *reached == step).count() < times {
                self.ready.readable().await.unwrap();
                let mut buffer = [0; 4096];
                // Reading until it would block makes it ready again for later bytes.
                if let Ok(count) = self.ready.try_read(&mut buffer) {
                    self.heard(&buffer[..count]);
                }
            }
        };
        let seen = timeout(PATIENCE, seen).await.is_ok();
        assert!(seen, "{pid} never came to {step} ({times}): {:?}", self.steps(pid));
    }

    /// Waits until the process has stopped itself at this point.
    pub async fn stopped(&mut self, pid: u32, point: &str) {
        let (step, times) = split(point);
        self.reached(pid, step, times).await;
        let stopped = async {
            while !is_stopped(pid) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(timeout(PATIENCE, stopped).await.is_ok(), "{pid} did not stop at {point}");
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.file.read(&mut buffer) {
                Ok(count) => self.heard(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the pipe: {error}"),
            }
        }
    }

    fn heard(&mut self, bytes: &[u8]) {
        self.partial.push_str(std::str::from_utf8(bytes).unwrap());
        while let Some((line, rest)) = self.partial.split_once('\n') {
            let (pid, step) = line.split_once(' ').unwrap();
            let pid = pid.parse().unwrap();
            self.steps.entry(pid).or_default().push(step.to_owned());
            self.all.push((pid, step.to_owned()));
            self.partial = rest.to_owned();
        }
    }
}

/// Makes the program stop itself at a point: a step, or `<step> <n>` for the n-th time.
pub fn stop_at(setup: Setup, point: &str) -> Setup {
    setup.raw("FAULT_POINT_STOP", point)
}

/// `written 2` is the second time of `written`.
pub fn split(point: &str) -> (&str, usize) {
    match point.rsplit_once(' ').map(|(step, times)| (step, times.parse())) {
        Some((step, Ok(times))) => (step, times),
        _ => (point, 1),
    }
}

fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
