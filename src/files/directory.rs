//! Opens a directory, and follows only trusted links.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::process::geteuid;

/// Maximum number of links in one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Opens the directory as a starting point for other files (`O_PATH`). It can be neither listed nor flushed.
///
/// A link in the path is followed only if root or the caller owns it, because the owner of a link decides where it leads. Each component
/// is opened once and then examined, so that nobody can replace it in between.
///
/// # Errors
/// The directory does not exist, cannot be reached, or is behind a link of another user.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let mut directory = start(path)?;
    let mut rest = components(path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let next = openat(&directory, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&next)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => directory = next,
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other("its path has too many symbolic links"));
                }
                if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
                    return Err(io::Error::other(format!(
                        "its path has a symbolic link, {}, that belongs to uid {}: only links of root and of this process's own user are followed",
                        name.display(),
                        stat.st_uid
                    )));
                }
                let target = OsString::from_vec(readlinkat(&next, c"", Vec::new())?.into_bytes());
                if Path::new(&target).is_absolute() {
                    directory = start(Path::new(&target))?;
                }
                rest.extend(components(Path::new(&target)));
            }
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        }
    }
    Ok(directory)
}

fn start(path: &Path) -> io::Result<OwnedFd> {
    let start = if path.is_absolute() { "/" } else { "." };
    Ok(openat(CWD, start, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The names to open, in reverse order.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsStr::new("..").to_owned()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, lchown, symlink};

    use super::*;

    fn inode(path: &Path) -> io::Result<u64> {
        Ok(fstat(open_directory(path)?)?.st_ino)
    }

    #[test]
    fn own_links_are_followed_wherever_they_lead() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real/inner");
        fs::create_dir_all(&real).unwrap();
        symlink("real", folder.path().join("relative")).unwrap();
        symlink(folder.path().join("relative/../real"), folder.path().join("absolute")).unwrap();
        let expected = fs::metadata(&real).unwrap().ino();
        for path in ["real/inner", "relative/inner", "absolute/inner", "absolute/inner/../inner/."] {
            assert_eq!(inode(&folder.path().join(path)).unwrap(), expected, "{path}");
        }
        assert_eq!(inode(Path::new(".")).unwrap(), fs::metadata(".").unwrap().ino());
        assert_eq!(inode(Path::new("src/../src")).unwrap(), fs::metadata("src").unwrap().ino());
    }

    #[test]
    fn what_is_no_directory_or_a_ring_of_links_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        symlink("ring", folder.path().join("ring")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = |name: &str| inode(&folder.path().join(name)).unwrap_err();
        assert!(error("ring").to_string().contains("too many symbolic links"));
        assert_eq!(error("file").kind(), io::ErrorKind::NotADirectory);
        assert_eq!(error("file/..").kind(), io::ErrorKind::NotADirectory);
        assert_eq!(error("missing/x").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_of_another_user_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("real")).unwrap();
        let link = folder.path().join("link");
        symlink("real", &link).unwrap();
        if !geteuid().is_root() {
            return println!("not run: only root can give a link to another user");
        }
        lchown(&link, Some(65534), None).unwrap();
        let error = inode(&link).unwrap_err().to_string();
        assert!(error.contains("a symbolic link, link, that belongs to uid 65534"), "{error}");
    }
}
