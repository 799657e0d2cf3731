//! A file of the configuration, with its metadata before it was read.
//!
//! The metadata comes first. So the next check detects a change between it and the read, or after the read. A file that does not exist yet
//! is watched too.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    path: PathBuf,
    seen: Option<Seen>,
}

/// The metadata of a file. Links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    file: (u64, u64),
    size: u64,
    modified: Option<SystemTime>,
    /// Also changes if the time of modification is set back.
    changed: (i64, i64),
}

// === impl Watched ===

impl Watched {
    /// Must be called before the file is read.
    pub fn new(path: PathBuf) -> Self {
        let seen = look(&path);
        Self { path, seen }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has changed since the last call.
    pub fn has_changed(&mut self) -> bool {
        let now = look(&self.path);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }
}

fn look(path: &Path) -> Option<Seen> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(path).ok()?;
    Some(Seen {
        file: (metadata.dev(), metadata.ino()),
        size: metadata.size(),
        modified: metadata.modified().ok(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}
