//! The directory that `init` writes. Every file is named relative to the opened directory, and no link is followed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, Mode, OFlags, fchmod, fchown, fstat, linkat, mkdir, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

use super::owner::Owner;
use super::settings::{GRANT_FILE, SECRET_FILE, STATE};
use crate::cli::Failure;
use crate::files::open_directory;

pub(super) struct Directory<'a> {
    path: &'a Path,
    fd: OwnedFd,
}

pub(super) const CONFIG_FILE: &str = "config.toml";

/// The copies of one file that earlier runs have replaced.
const MAX_KEPT: usize = 99;
/// Group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

// === impl Directory ===

impl<'a> Directory<'a> {
    /// Opens it, and makes it if it does not exist. It must belong to this user: its owner decides what lies in it.
    pub(super) fn open(path: &'a Path) -> Result<Self, Failure> {
        let shown = path.display();
        let is_new = match mkdir(path, Mode::from_raw_mode(0o755)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(Errno::NOENT) => {
                let parent = path.parent().unwrap_or(path).display();
                return Err(Failure::new(format!(
                    "could not make {shown}: {parent} does not exist: mkdir -p {parent}"
                )));
            }
            Err(error) => return Err(failed("make", path, error.into())),
        };
        let fd = open_directory(path).map_err(|error| failed("open", path, error))?;
        let fd = openat(&fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("open", path, error.into()))?;
        let stat = fstat(&fd).map_err(|error| failed("open", path, error.into()))?;
        let user = geteuid().as_raw();
        if stat.st_uid != user {
            let owner = stat.st_uid;
            return Err(Failure::new(format!(
                "{shown} belongs to uid {owner}, and this process acts as uid {user}: run init as uid {owner}, or name another --dir"
            )));
        }
        if is_new {
            // Whatever the umask: a service of another user passes through it.
            fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(|error| failed("make", path, error.into()))?;
        } else if stat.st_mode & WRITABLE_BY_OTHERS != 0 {
            return Err(Failure::new(format!("other users may write to {shown}: chmod go-w {shown}")));
        }
        Ok(Self { path, fd })
    }

    /// The files that `init` would replace.
    pub(super) fn existing(&self) -> Vec<String> {
        let exists = |name: &&str| statat(&self.fd, *name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let names = [CONFIG_FILE, SECRET_FILE, GRANT_FILE].into_iter().filter(exists);
        names.map(|name| self.path.join(name).display().to_string()).collect()
    }

    /// Gives the file a second name, a free one, and returns it. `None`: the file does not exist.
    pub(super) fn keep(&self, name: &str) -> Result<Option<String>, Failure> {
        for number in 1..=MAX_KEPT {
            let kept = format!("{name}.old{number}");
            match linkat(&self.fd, name, &self.fd, &kept, AtFlags::empty()) {
                Ok(()) => return Ok(Some(self.path.join(kept).display().to_string())),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed("keep a copy of", &self.path.join(name), error.into())),
            }
        }
        let path = self.path.join(name);
        Err(Failure::new(format!("{0} has {MAX_KEPT} old copies: remove {0}.old*", path.display())))
    }

    /// Replaces the file as a whole: a reader sees the old one or the new one.
    pub(super) fn write(&self, name: &str, mode: u32, owner: Option<Owner>, content: &[u8]) -> Result<(), Failure> {
        self.replace(name, mode, owner, content).map_err(|error| failed("write", &self.path.join(name), error))
    }

    fn replace(&self, name: &str, mode: u32, owner: Option<Owner>, content: &[u8]) -> io::Result<()> {
        let new = format!(".{name}.new");
        match unlinkat(&self.fd, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let created = self.create(&new, mode, owner, content);
        let replaced = created.and_then(|()| Ok(renameat(&self.fd, &new, &self.fd, name)?));
        if replaced.is_err() {
            // A part of a secret must not stay behind.
            let _ = unlinkat(&self.fd, &new, AtFlags::empty());
        }
        replaced?;
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    fn create(&self, name: &str, mode: u32, owner: Option<Owner>, content: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(content)?;
        if let Some(owner) = owner {
            give(&file, owner)?;
        }
        fchmod(&file, Mode::from_raw_mode(mode))?;
        file.sync_all()
    }

    /// The directory of the grant, for its owner alone.
    pub(super) fn make_state(&self, owner: Owner) -> Result<(), Failure> {
        let path = self.path.join(STATE);
        let failed = |error: Errno| failed("make", &path, error.into());
        let is_new = match mkdirat(&self.fd, STATE, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed(error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let state = openat(&self.fd, STATE, flags, Mode::empty()).map_err(failed)?;
        if is_new {
            give(&state, owner).map_err(|error| self::failed("make", &path, error))?;
        }
        let found = fstat(&state).map_err(failed)?;
        if found.st_uid != owner.uid {
            return Err(Failure::new(format!(
                "{} belongs to uid {}, and not to uid {}: give it to that user, or pass --owner",
                path.display(),
                found.st_uid,
                owner.uid
            )));
        }
        fchmod(&state, Mode::RWXU).map_err(failed)
    }
}

fn give(file: impl std::os::fd::AsFd, owner: Owner) -> io::Result<()> {
    Ok(fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?)
}

fn failed(action: &str, path: &Path, error: io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run init as root, or name another --dir",
        _ => "",
    };
    Failure::new(format!("could not {action} {}: {error}{hint}", path.display()))
}
