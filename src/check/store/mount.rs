//! The file system of a directory, by `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `ext4`, `tmpfs`, `nfs4`.
    pub kind: String,
    /// The directory within the file system that is mounted.
    pub root: PathBuf,
}

const NETWORK: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "afs", "ncpfs"];
/// FUSE file systems of network storage.
const NETWORK_FUSE: &[&str] =
    &["sshfs", "s3fs", "gcsfuse", "glusterfs", "mount-s3", "blobfuse", "blobfuse2", "ceph-fuse", "juicefs"];

/// The mount that a path is on. `path` has no links.
pub fn find(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        let kind = after.split(' ').next()?.to_owned();
        path.starts_with(&point).then_some((point, Mount { kind, root }))
    });
    // Of two mounts on the same point, the later one covers the other.
    mounts.max_by_key(|(point, _)| point.components().count()).map(|(_, mount)| mount)
}

/// Spaces and the like are three octal digits: `\040`.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

// === impl Mount ===

impl Mount {
    /// What a person calls a file system that does not outlive its container, pod or machine.
    pub fn ephemeral(&self) -> Option<&'static str> {
        if self.root.components().any(|part| part.as_os_str() == "kubernetes.io~empty-dir") {
            return Some("an emptyDir volume");
        }
        match self.kind.as_str() {
            "tmpfs" | "ramfs" => Some("a file system in memory"),
            "overlay" => Some("the writable layer of a container"),
            _ => None,
        }
    }

    pub fn network(&self) -> Option<&str> {
        let fuse = self.kind.strip_prefix("fuse.").is_some_and(|kind| NETWORK_FUSE.contains(&kind));
        (fuse || NETWORK.contains(&self.kind.as_str())).then_some(self.kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of real machines: a virtual machine, a pod, a container of Docker, an NFS client.
    const RECORDED: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 25 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684084k
2113 2098 259:1 /var/lib/kubelet/pods/1f0e8d0c/volumes/kubernetes.io~empty-dir/state /state rw,noatime - xfs /dev/nvme0n1p1 rw,attr2
2114 2098 0:213 / /secrets ro,relatime - tmpfs tmpfs rw,size=65536k
1543 1312 0:214 / /container rw,relatime master:429 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X,upperdir=/y
84 27 0:49 / /mnt/nfs rw,relatime shared:41 - nfs4 10.0.0.5:/export rw,vers=4.2,hard,proto=tcp
85 27 0:50 / /mnt/smb\\040share rw,relatime - cifs //server/share rw,vers=3.1.1
86 27 0:51 / /mnt/ssh rw,nosuid - fuse.sshfs user@host: rw,user_id=0
87 27 0:52 / /mnt/ntfs rw,nosuid - fuseblk /dev/sdb1 rw
88 84 254:1 / /mnt/nfs/local rw - ext4 /dev/vdb rw
89 30 254:2 / /dev/shm rw - ext4 /dev/vdc rw
";

    #[test]
    fn a_directory_is_on_the_mount_that_covers_it_last() {
        let rows = [
            ("/var/lib/bearer-proxy", "ext4", None, None),
            ("/state", "xfs", Some("an emptyDir volume"), None),
            ("/secrets/x", "tmpfs", Some("a file system in memory"), None),
            ("/container/var/lib", "overlay", Some("the writable layer of a container"), None),
            ("/mnt/nfs", "nfs4", None, Some("nfs4")),
            ("/mnt/nfsx", "ext4", None, None),
            ("/mnt/nfs/local/state", "ext4", None, None),
            ("/mnt/smb share/state", "cifs", None, Some("cifs")),
            ("/mnt/ssh", "fuse.sshfs", None, Some("fuse.sshfs")),
            ("/mnt/ntfs", "fuseblk", None, None),
            ("/dev/shm/state", "ext4", None, None),
        ];
        for (path, kind, ephemeral, network) in rows {
            let mount = find(RECORDED, Path::new(path)).unwrap();
            assert_eq!((mount.kind.as_str(), mount.ephemeral(), mount.network()), (kind, ephemeral, network), "{path}");
        }
        assert_eq!(find("", Path::new("/")), None);
        assert_eq!(find("no mountinfo\n1 2 3\n - \n", Path::new("/")), None);
    }
}
