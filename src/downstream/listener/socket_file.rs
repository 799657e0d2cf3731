//! The file of a unix socket: created with its mode, and removed only if this process has created it.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, Stat, fchmod, fstat, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix};
use rustix::process::{geteuid, umask};

use super::{explain, open};
use crate::files::open_directory;

/// The file, identified by its inode, because another process may have replaced it since. Removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    place: Place,
    device: u64,
    inode: u64,
}

/// A name in a directory. The directory stays the same if the path to it changes.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    directory: OwnedFd,
    name: OsString,
}

/// Binds, and does not listen yet.
pub(super) fn bind(path: &Path, mode: u32) -> Result<(OwnedFd, SocketFile), String> {
    let place = Place::new(path)?;
    place.remove_stale()?;
    let socket = open(AddressFamily::UNIX).map_err(|error| explain(&error))?;
    // The file gets the mode of the socket without the umask, from the start. Changing the mode later, by path, could change
    // another file. If the kernel gives a socket no mode, the mode counts as 0777.
    let mask = if fchmod(&socket, Mode::from_raw_mode(mode)).is_ok() { 0o666 } else { 0o777 };
    let address = place.address()?;
    with_umask(!mode & mask, || rustix::net::bind(&socket, &address)).map_err(|error| explain(&error.into()))?;
    match place.stat() {
        Ok(Some(stat)) if is_own_socket(&stat) => {
            let (device, inode) = (stat.st_dev, stat.st_ino);
            Ok((socket, SocketFile { place, device, inode }))
        }
        Ok(_) => {
            Err("another process changed the directory while the socket was created; check who may write there"
                .to_owned())
        }
        Err(error) => Err(explain(&error)),
    }
}

/// The umask belongs to the process, so only one thread may change it at a time.
fn with_umask<T>(mask: u32, work: impl FnOnce() -> T) -> T {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = umask(Mode::from_raw_mode(mask));
    let done = work();
    umask(before);
    done
}

fn is_own_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket && stat.st_uid == geteuid().as_raw()
}

// === impl Place ===

impl Place {
    fn new(path: &Path) -> Result<Self, String> {
        SocketAddrUnix::new(path)
            .map_err(|_| "the path is too long for a unix socket (107 bytes); choose a shorter one".to_owned())?;
        let name = path.file_name().ok_or("the path names a directory; add the name of the socket")?.to_owned();
        let folder = path.parent().unwrap_or(Path::new(""));
        let directory = open_directory(folder).map_err(|error| explain(&error))?;
        Ok(Self { path: path.to_owned(), directory, name })
    }

    /// Root does not use the path if another user controls where it leads.
    fn address(&self) -> Result<SocketAddrUnix, String> {
        let owner = fstat(&self.directory).map_err(|error| explain(&error.into()))?.st_uid;
        let by_descriptor = Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string());
        let path = if geteuid().is_root() && owner != 0 { by_descriptor.join(&self.name) } else { self.path.clone() };
        SocketAddrUnix::new(path).map_err(|error| explain(&error.into()))
    }

    /// `None`: the name does not exist. A link is not followed.
    fn stat(&self) -> io::Result<Option<Stat>> {
        match statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &self.name, AtFlags::empty())?)
    }

    /// Removes the socket of a killed process: a socket of this user without a listener. Removes nothing else.
    fn remove_stale(&self) -> Result<(), String> {
        let Some(found) = self.stat().map_err(|error| explain(&error))? else { return Ok(()) };
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
            return Err("there is a file that is not a socket; remove it, or choose another path".to_owned());
        }
        if !is_own_socket(&found) {
            let (owner, user) = (found.st_uid, geteuid().as_raw());
            return Err(format!(
                "there is a socket of uid {owner}, and this process is uid {user}; stop that user's process and remove the socket, or choose another path"
            ));
        }
        match self.probe() {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.remove().map_err(|error| explain(&error))
            }
            // `WouldBlock` means a full accept queue: a process listens.
            _ => Err("another process may listen on it; stop that process, or choose another path".to_owned()),
        }
    }

    /// Connects without waiting.
    fn probe(&self) -> io::Result<()> {
        let socket = open(AddressFamily::UNIX)?;
        let address = self.address().map_err(io::Error::other)?;
        Ok(rustix::net::connect(&socket, &address)?)
    }
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = self.place.stat().ok().flatten();
        let is_ours = found.is_some_and(|found| (found.st_dev, found.st_ino) == (self.device, self.inode));
        if is_ours && let Err(error) = self.place.remove() {
            tracing::debug!(path = %self.place.path.display(), %error, "the file of the socket was not removed");
        }
    }
}
