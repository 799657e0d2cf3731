//! The user that runs the proxy, and so owns the secret and the state.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid};

use crate::cli::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether it is the user that `sysusers.d` creates.
    pub(super) is_service: bool,
}

/// The user of `deploy/systemd/bearer-proxy.sysusers`.
pub(super) const SERVICE: &str = "bearer-proxy";
/// The user of the image.
pub(super) const IMAGE_USER: u32 = 65532;

// === impl Owner ===

impl Owner {
    /// Root gives the files to the service user. Any other user keeps them.
    pub(super) fn choose(given: Option<&str>) -> Result<Self, Failure> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        if uid != 0 {
            return match given {
                None => Ok(Self { uid, gid, is_service: false }),
                Some(_) => Err(Failure::new("only root can give files to another user: leave out --owner")),
            };
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::of_root(given, &passwd)
    }

    /// Root can write below a directory that the owner cannot search. Another user cannot.
    pub(super) fn check_reach(self, dir: &Path) -> Result<(), Failure> {
        if !geteuid().is_root() || self.uid == 0 {
            return Ok(());
        }
        let existing = if dir.exists() { dir } else { dir.parent().unwrap_or(dir) };
        // A missing parent is reported when the directory is made.
        let Ok(existing) = fs::canonicalize(existing) else { return Ok(()) };
        for folder in existing.ancestors() {
            let Ok(found) = fs::metadata(folder) else { continue };
            if let Some(class) = self.cannot_search(found.mode(), found.uid(), found.gid()) {
                let (folder, mode, uid) = (folder.display(), found.mode() & 0o7777, self.uid);
                return Err(Failure::new(format!(
                    "uid {uid}, which runs the proxy, cannot pass through {folder} (mode {mode:04o}): run chmod {class}+x {folder}, \
                     or name another --dir; nothing was written"
                )));
            }
        }
        Ok(())
    }

    /// The class of chmod(1) that lacks the right to search. Pure.
    fn cannot_search(self, mode: u32, uid: u32, gid: u32) -> Option<char> {
        let (class, right) = match () {
            () if self.uid == uid => ('u', 0o100),
            () if self.gid == gid => ('g', 0o010),
            () => ('o', 0o001),
        };
        (mode & right == 0).then_some(class)
    }

    /// Pure.
    fn of_root(given: Option<&str>, passwd: &str) -> Result<Self, Failure> {
        let users = || passwd.lines().filter_map(user);
        let named = |name: &str| users().find(|(other, ..)| *other == name).map(|(_, uid, gid)| (uid, gid));
        if let Some(given) = given {
            let (uid, gid) = numbers(given).or_else(|| named(given)).ok_or_else(|| {
                Failure::new(format!("invalid --owner {given:?}: expected UID:GID, or a name in /etc/passwd"))
            })?;
            return Ok(Self { uid, gid, is_service: given == SERVICE });
        }
        if let Some((uid, gid)) = named(SERVICE) {
            return Ok(Self { uid, gid, is_service: true });
        }
        match users().find(|(_, uid, _)| *uid == IMAGE_USER) {
            None => Ok(Self { uid: IMAGE_USER, gid: IMAGE_USER, is_service: true }),
            Some((name, ..)) => Err(Failure::new(format!(
                "uid {IMAGE_USER} belongs to {name}: choose the user that runs the proxy with --owner"
            ))),
        }
    }
}

/// Name, user and group of a line of passwd(5).
fn user(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.split(':');
    let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some((name, uid.parse().ok()?, gid.parse().ok()?))
}

fn numbers(text: &str) -> Option<(u32, u32)> {
    let (uid, gid) = text.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100::/home/alice:/bin/sh\n";

    #[test]
    fn the_right_to_search_is_that_of_the_class_of_the_owner() {
        let alice = Owner { uid: 1000, gid: 100, is_service: false };
        for (mode, uid, gid, lacking) in [
            (0o755, 0, 0, None),
            (0o700, 0, 0, Some('o')),
            (0o711, 0, 0, None),
            (0o700, 1000, 0, None),
            (0o077, 1000, 100, Some('u')),
            (0o710, 0, 100, None),
            // The class of the group excludes that of the others.
            (0o701, 0, 100, Some('g')),
        ] {
            assert_eq!(alice.cannot_search(0o40000 | mode, uid, gid), lacking, "{mode:04o} {uid}:{gid}");
        }
    }

    #[test]
    fn root_gives_the_files_to_the_service_user() {
        let owner = |given, more: &str| Owner::of_root(given, &format!("{PASSWD}{more}")).map_err(|error| error.text);
        let owned = |uid, gid, is_service| Ok(Owner { uid, gid, is_service });
        assert_eq!(owner(None, ""), owned(65532, 65532, true));
        assert_eq!(owner(None, "bearer-proxy:!:990:980::/:/bin/false\n"), owned(990, 980, true));
        assert_eq!(owner(Some("alice"), ""), owned(1000, 100, false));
        assert_eq!(owner(Some("7:8"), ""), owned(7, 8, false));
        let taken = owner(None, "nonroot:x:65532:65532::/:/bin/false\n").unwrap_err();
        assert_eq!(taken, "uid 65532 belongs to nonroot: choose the user that runs the proxy with --owner");
        let unknown = owner(Some("bob"), "").unwrap_err();
        assert_eq!(unknown, "invalid --owner \"bob\": expected UID:GID, or a name in /etc/passwd");
    }
}
