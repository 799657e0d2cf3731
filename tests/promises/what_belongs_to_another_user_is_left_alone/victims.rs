//! Root's own files, which no command may change, and their state.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const TEXT: &str = "root's own";

/// A directory of root with a private and a public file.
pub struct Victims(PathBuf);

/// The state of a file or directory. Links are not followed.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    path: PathBuf,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    device: u64,
    /// The text of a file, or the names in a directory.
    content: Vec<u8>,
    modified: Option<SystemTime>,
}

impl Victims {
    pub fn new(parent: &Path) -> Self {
        let victims = Self(parent.join("root"));
        fs::create_dir(&victims.0).unwrap();
        for (path, mode) in [(victims.private(), 0o600), (victims.public(), 0o644)] {
            fs::write(&path, TEXT).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        victims
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    pub fn private(&self) -> PathBuf {
        self.0.join("private")
    }

    pub fn public(&self) -> PathBuf {
        self.0.join("public")
    }

    pub fn missing(&self) -> PathBuf {
        self.0.join("missing")
    }

    pub fn look(&self) -> [Look; 3] {
        [self.0.clone(), self.private(), self.public()].map(|path| look(&path))
    }

    pub fn is_in(&self, text: &[u8]) -> bool {
        String::from_utf8_lossy(text).contains(TEXT)
    }
}

pub fn look(path: &Path) -> Look {
    let found = fs::symlink_metadata(path).unwrap();
    let content = if found.is_file() {
        fs::read(path).unwrap()
    } else if found.is_dir() {
        fs::read_dir(path).unwrap().flat_map(|entry| entry.unwrap().file_name().into_encoded_bytes()).collect()
    } else {
        Vec::new()
    };
    let owner = (found.uid(), found.gid());
    let (inode, mode, device, modified) = (found.ino(), found.mode(), found.rdev(), found.modified().ok());
    Look { path: path.to_owned(), inode, mode, owner, device, content, modified }
}
