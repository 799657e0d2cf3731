//! A directory for the store that fails while the program runs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Setup;

/// What happens to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Vanishes,
    CanNotBeWritten,
    /// The disk of the directory.
    IsFull,
}

pub struct Disk {
    trouble: Trouble,
    folder: PathBuf,
}

/// Runs in a mount namespace of its own, which ends with the program.
const SMALL: &str = r#"mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" && shift && exec "$@""#;

/// File modes restrict root only without these capabilities.
const BOUND: [&str; 2] = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];

impl Trouble {
    pub const ALL: [Self; 3] = [Self::Vanishes, Self::CanNotBeWritten, Self::IsFull];
}

impl Disk {
    /// The directory, and the setup of a program that stores there. `None`: this machine does not let the test create it.
    pub fn new(trouble: Trouble, setup: Setup) -> Option<(Self, Setup)> {
        let folder = setup.folder().join("store");
        fs::create_dir(&folder).unwrap();
        let setup = setup.set("STORE__PATH", folder.join("grant.json").display());
        let path = folder.to_str().unwrap().to_owned();
        let setup = match trouble {
            Trouble::Vanishes => setup,
            Trouble::CanNotBeWritten if rustix::process::geteuid().is_root() => setup.under(&BOUND),
            Trouble::CanNotBeWritten => setup,
            Trouble::IsFull if may_mount(&path) => setup.under(&["unshare", "--mount", "sh", "-c", SMALL, "sh", &path]),
            Trouble::IsFull => {
                println!("SKIPPED: no disk is filled, since only root may mount one (and not in every container)");
                return None;
            }
        };
        Some((Self { trouble, folder }, setup))
    }

    /// The document as process `pid` sees it.
    pub fn document(&self, pid: u32) -> String {
        fs::read_to_string(self.seen_by(pid).join("grant.json")).unwrap()
    }

    pub fn fail(&self, pid: u32) {
        match self.trouble {
            Trouble::Vanishes => fs::rename(&self.folder, self.away()).unwrap(),
            Trouble::CanNotBeWritten => self.set_mode(0o500),
            Trouble::IsFull => {
                let mut filler = fs::File::create(self.filler(pid)).unwrap();
                while filler.write_all(&[0; 4096]).is_ok() {}
            }
        }
    }

    pub fn mend(&self, pid: u32) {
        match self.trouble {
            Trouble::Vanishes => fs::rename(self.away(), &self.folder).unwrap(),
            Trouble::CanNotBeWritten => self.set_mode(0o700),
            Trouble::IsFull => fs::remove_file(self.filler(pid)).unwrap(),
        }
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn away(&self) -> PathBuf {
        self.folder.with_extension("away")
    }

    fn filler(&self, pid: u32) -> PathBuf {
        self.seen_by(pid).join("filler")
    }

    fn seen_by(&self, pid: u32) -> PathBuf {
        match self.trouble {
            Trouble::IsFull => {
                Path::new("/proc").join(pid.to_string()).join("root").join(self.folder.strip_prefix("/").unwrap())
            }
            Trouble::Vanishes | Trouble::CanNotBeWritten => self.folder.clone(),
        }
    }
}

fn may_mount(folder: &str) -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SMALL, "sh", folder, "true"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
