//! The directory of the store, which may belong to another user.
//!
//! The owner of a directory controls its content: links, pipes, devices, hard links to files of other users. So the directory is
//! opened once per operation, every file is opened relative to that descriptor, and no link is followed. A root process acts with
//! the rights of the directory's owner, so it can do there only what the owner can do.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::files::open_directory;
use crate::secret::forbid_dumps;
use crate::token::store::StoreError;

/// The path of the document. All other files have its name and a suffix.
#[derive(Clone, Debug)]
pub(super) struct StateDir {
    folder: PathBuf,
    document: OsString,
}

/// The state directory, opened for one operation. A file is named by its suffix: see [`DOCUMENT`].
#[derive(Debug)]
pub(super) struct Dir<'a> {
    state: &'a StateDir,
    fd: OwnedFd,
    stat: Stat,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// For a lock. Network file systems lock only a file that is open for writing.
    Lock,
}

/// The suffix of the document.
pub(super) const DOCUMENT: &str = "";
/// The group `nogroup`, which grants no rights.
const NOGROUP: u32 = 65534;
/// The permissions of a directory in which every user may create files.
const WORLD_WRITABLE: u32 = 0o002;

// === impl StateDir ===

impl StateDir {
    pub(super) fn new(document: &Path) -> Self {
        let folder = match document.parent() {
            Some(folder) if folder != Path::new("") => folder,
            Some(_) => Path::new("."),
            None => Path::new("/"),
        };
        // A path that ends in `/` or `..` names a directory. The store later reports that it is not a file.
        let name = document.file_name().unwrap_or(OsStr::new("."));
        Self { folder: folder.to_owned(), document: name.to_owned() }
    }

    /// Opens the directory and runs the work with the rights of its owner. Blocks.
    pub(super) fn run<T: Send>(
        &self,
        work: impl FnOnce(&Dir<'_>) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let failed = |error| unavailable("open", &self.folder, None, &error);
        let fd = open_directory(&self.folder).map_err(failed)?;
        let stat = fstat(&fd).map_err(|error| failed(error.into()))?;
        let dir = Dir { state: self, fd, stat };
        if !geteuid().is_root() || stat.st_uid == 0 {
            return work(&dir);
        }
        // A thread of its own that ends with the work, so nothing else ever runs with these rights.
        let ended = thread::scope(|scope| {
            let worker = thread::Builder::new().name("state-dir".to_owned()).spawn_scoped(scope, || {
                act_as(Uid::from_raw(stat.st_uid), group(stat.st_gid))
                    .map_err(|error| self.not_the_owner(&dir, error))?;
                work(&dir)
            });
            worker.map(|worker| {
                worker.join().unwrap_or_else(|_| {
                    Err(StoreError::Unavailable("the file store's work ended by a panic".to_owned()))
                })
            })
        });
        ended
            .map_err(|error| StoreError::Unavailable(format!("could not start a thread for the file store: {error}")))?
    }

    fn not_the_owner(&self, dir: &Dir<'_>, error: Errno) -> StoreError {
        let (folder, uid) = (self.folder.display(), dir.stat.st_uid);
        StoreError::Unavailable(format!(
            "{folder} belongs to uid {uid}, and this process is root but cannot act as that user ({error}): run it as uid {uid}, or with CAP_SETUID and CAP_SETGID"
        ))
    }
}

/// Sets the effective user and group of this thread. The real and saved user stay root: they grant no access to files, and they keep
/// the user from sending signals to the thread.
fn act_as(user: Uid, group: Gid) -> Result<(), Errno> {
    set_thread_groups(&[])?;
    set_thread_res_gid(None, group, None)?;
    set_thread_res_uid(None, user, None)?;
    forbid_dumps();
    Ok(())
}

/// The group of root is a privilege that the owner may not have: `install -d -o USER` leaves that group on the directory.
fn group(of_directory: u32) -> Gid {
    Gid::from_raw(if of_directory == 0 { NOGROUP } else { of_directory })
}

// === impl Dir ===

impl Dir<'_> {
    /// Only for messages. No file is opened by this path.
    pub(super) fn path(&self, suffix: &str) -> PathBuf {
        self.state.folder.join(self.name(suffix))
    }

    /// `None`: the file does not exist. Anything but a regular file is an error and is not opened.
    pub(super) fn open(&self, suffix: &str, access: Access) -> io::Result<Option<File>> {
        let name = self.name(suffix);
        // Checked before it is opened, because opening a device can have an effect.
        match self.stat(suffix)? {
            Some(stat) => self.must_be_a_file(&stat)?,
            None => return Ok(None),
        }
        let access = if access == Access::Read { OFlags::RDONLY } else { OFlags::RDWR };
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match openat(&self.fd, &name, flags, Mode::empty()) {
            Ok(fd) => {
                self.must_be_a_file(&fstat(&fd)?)?;
                Ok(Some(File::from(fd)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a file that did not exist before, readable only by its owner.
    pub(super) fn create(&self, suffix: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.fd, self.name(suffix), flags, Mode::RUSR | Mode::WUSR)?))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.fd, self.name(from), &self.fd, self.name(to))?)
    }

    /// Removes a file of an earlier process. A file that this program can't have made stays, and is an error.
    pub(super) fn remove_leftover(&self, suffix: &str) -> io::Result<()> {
        match self.stat(suffix)? {
            None => Ok(()),
            Some(stat) if self.is_ours(&stat) => self.remove(suffix),
            Some(stat) => {
                self.must_be_a_file(&stat)?;
                Err(io::Error::other(format!(
                    "{} is not a file that this program made ({}): move it away",
                    self.path(suffix).display(),
                    origin(&stat)
                )))
            }
        }
    }

    /// Removes a file that this process has just made.
    pub(super) fn remove(&self, suffix: &str) -> io::Result<()> {
        match unlinkat(&self.fd, self.name(suffix), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// `None`: the name does not exist. A link is not followed.
    pub(super) fn stat(&self, suffix: &str) -> io::Result<Option<Stat>> {
        match statat(&self.fd, self.name(suffix), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            // The directory was removed, which says nothing about the grant.
            Err(Errno::NOENT) if fstat(&self.fd)?.st_nlink == 0 => Err(Errno::NOENT.into()),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this program can have made the file. A hard link can be a file of another user.
    pub(super) fn is_ours(&self, stat: &Stat) -> bool {
        let made_by = [geteuid().as_raw(), self.stat.st_uid];
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_nlink <= 1
            && made_by.contains(&stat.st_uid)
    }

    /// The suffixes of all files that have the name of the document and this prefix.
    pub(super) fn suffixes(&self, prefix: &str) -> io::Result<Vec<String>> {
        let start = self.name(prefix);
        let mut suffixes = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.readable()?)? {
            let entry = entry?;
            if let Some(rest) = entry.file_name().to_bytes().strip_prefix(start.as_bytes())
                && let Ok(rest) = std::str::from_utf8(rest)
            {
                suffixes.push(format!("{prefix}{rest}"));
            }
        }
        Ok(suffixes)
    }

    /// Flushes the directory, which makes a rename durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::from(self.readable()?).sync_all()
    }

    /// An error that says what failed on which file, and what to do.
    pub(super) fn unavailable(&self, action: &str, suffix: &str, error: &io::Error) -> StoreError {
        let owner = self.stat(suffix).ok().flatten().unwrap_or(self.stat).st_uid;
        unavailable(action, &self.path(suffix), Some(owner), error)
    }

    fn name(&self, suffix: &str) -> OsString {
        let mut name = self.state.document.clone();
        name.push(suffix);
        name
    }

    fn readable(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn must_be_a_file(&self, stat: &Stat) -> io::Result<()> {
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                // In a directory where every user may create files, an unrelated user must not decide which grant is used.
                let known = [0, geteuid().as_raw(), self.stat.st_uid].contains(&stat.st_uid);
                if known || self.stat.st_mode & WORLD_WRITABLE == 0 {
                    return Ok(());
                }
                let text = format!(
                    "it belongs to uid {}, and everybody may make files in this directory: move it away, and chmod go-w the directory",
                    stat.st_uid
                );
                return Err(io::Error::other(text));
            }
            FileType::Symlink => "a symbolic link, which is not followed here",
            FileType::Directory => "a directory",
            FileType::Fifo => "a named pipe",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        Err(io::Error::other(format!("this is not a file but {what}: move it away, or change store.path")))
    }
}

fn origin(stat: &Stat) -> String {
    match stat.st_nlink {
        0 | 1 => format!("it belongs to uid {}", stat.st_uid),
        names => format!("it is one of {names} hard links of a file of uid {}", stat.st_uid),
    }
}

fn unavailable(action: &str, path: &Path, owner: Option<u32>, error: &io::Error) -> StoreError {
    let folder = match owner {
        Some(_) => path.parent().unwrap_or(path),
        None => path,
    };
    let folder = folder.display();
    let mend = match error.kind() {
        io::ErrorKind::NotFound => format!("; make the directory: install -d -m 0700 {folder}"),
        io::ErrorKind::PermissionDenied => {
            let owner = owner.map_or_else(|| "somebody else".to_owned(), |uid| format!("uid {uid}"));
            let user = geteuid().as_raw();
            format!(
                "; it belongs to {owner} and this process acts as uid {user}: chown the directory {folder} and what is in it"
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => "; store.path needs a directory that can be written".to_owned(),
        // The kernel has one error for both cases.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("; free some space, or some inodes if there is space (df -h {folder}; df -i {folder})")
        }
        _ => String::new(),
    };
    StoreError::Unavailable(format!("could not {action} {}: {error}{mend}", path.display()))
}
