//! A service user owns the state directory and plants links, pipes, devices and hard links there. Root runs the commands.
//!
//! Root's commands change nothing that the program did not create. They succeed or say why not. The test runs only as root, with
//! two users that need no account.

#![allow(clippy::print_stdout, reason = "a test that is not run says so")]

mod victims;

use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use simulator::{Options, Simulator};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use self::victims::{Look, Victims};
use testkit::{Proxy, Setup, program};

const SERVICE: u32 = 61_001;
/// A bound for tests that fail, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);
const DAMAGED: &str = ".damaged-20260101T000000.000Z";
/// Every name that the program uses.
const NAMES: [&str; 6] = ["", ".tmp", ".lock", ".lease", ".lease.tmp", DAMAGED];

/// What the service user plants under the name of one of the program's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    LinkToPrivate,
    LinkToPublic,
    LinkToNothing,
    HardLinkToPrivate,
    HardLinkToPublic,
    Pipe,
    Device,
    Socket,
    Directory,
}

/// The service user's directory and the program where both users reach them, and root's files.
struct Site {
    folder: tempfile::TempDir,
    victims: Victims,
}

/// A plant, with the original state of it and of root's files.
struct Planted {
    what: String,
    at: PathBuf,
    look: Look,
    victims: [Look; 3],
}

impl Plant {
    const ALL: [Self; 9] = [
        Self::LinkToPrivate,
        Self::LinkToPublic,
        Self::LinkToNothing,
        Self::HardLinkToPrivate,
        Self::HardLinkToPublic,
        Self::Pipe,
        Self::Device,
        Self::Socket,
        Self::Directory,
    ];

    fn put(self, victims: &Victims, at: &Path) {
        match self {
            Self::LinkToPrivate => symlink(victims.private(), at).unwrap(),
            Self::LinkToPublic => symlink(victims.public(), at).unwrap(),
            Self::LinkToNothing => symlink(victims.missing(), at).unwrap(),
            Self::HardLinkToPrivate => fs::hard_link(victims.private(), at).unwrap(),
            Self::HardLinkToPublic => fs::hard_link(victims.public(), at).unwrap(),
            Self::Pipe => mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap(),
            // The memory device `zero`, which has no end. Not every container may make one.
            Self::Device => {
                let zero = rustix::fs::makedev(1, 5);
                if mknodat(CWD, at, FileType::CharacterDevice, Mode::from_raw_mode(0o666), zero).is_err() {
                    fs::create_dir(at).unwrap();
                }
            }
            Self::Socket => drop(UnixListener::bind(at).unwrap()),
            Self::Directory => fs::DirBuilder::new().mode(0o777).create(at).unwrap(),
        }
        if !matches!(self, Self::HardLinkToPrivate | Self::HardLinkToPublic) {
            lchown(at, Some(SERVICE), Some(SERVICE)).unwrap();
        }
    }
}

impl Site {
    /// `None`: this test is not run by root.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("not run: only root can act for two users");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        // Cargo's own directory may be closed to the service user.
        fs::copy(program(), folder.path().join("program")).unwrap();
        let victims = Victims::new(folder.path());
        let site = Self { folder, victims };
        fs::create_dir(site.home()).unwrap();
        chown(site.home(), Some(SERVICE), Some(SERVICE)).unwrap();
        site.renew();
        Some(site)
    }

    /// The service user's own directory.
    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn state(&self) -> PathBuf {
        self.home().join("state")
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.state().join(format!("grant.json{suffix}"))
    }

    /// An empty state directory of the service user.
    fn renew(&self) {
        let _ = fs::remove_dir_all(self.state());
        fs::DirBuilder::new().mode(0o700).create(self.state()).unwrap();
        chown(self.state(), Some(SERVICE), Some(SERVICE)).unwrap();
    }

    /// The setup of root's commands.
    fn setup(&self, simulator: &Simulator) -> Setup {
        Proxy::without_grant(simulator)
            .program(self.folder.path().join("program").display().to_string())
            .set("STORE__PATH", self.file("").display())
    }

    /// A new state directory with this plant, and the state that must not change.
    fn plant(&self, plant: Plant, name: &str) -> Planted {
        self.renew();
        if name == DAMAGED {
            // A damaged document makes the program keep a copy.
            fs::write(self.file(""), "{\"format\":").unwrap();
            chown(self.file(""), Some(SERVICE), Some(SERVICE)).unwrap();
        }
        let at = self.file(name);
        plant.put(&self.victims, &at);
        Planted {
            what: format!("{plant:?} as grant.json{name}"),
            look: victims::look(&at),
            at,
            victims: self.victims.look(),
        }
    }

    /// Neither the plant nor a file of root has changed. All other files belong to the service user, and none is a copy of root's
    /// files.
    fn is_as_it_was(&self, planted: &Planted) {
        let what = &planted.what;
        assert_eq!(victims::look(&planted.at), planted.look, "{what}");
        assert_eq!(self.victims.look(), planted.victims, "{what}");
        for path in fs::read_dir(self.state()).unwrap().map(|entry| entry.unwrap().path()) {
            if path != planted.at {
                assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), SERVICE, "{what}: {}", path.display());
                assert!(!self.victims.is_in(&fs::read(&path).unwrap()), "{what}: {}", path.display());
            }
        }
    }

    /// Runs a command of root to its end. It must succeed, or say why not.
    async fn command(&self, setup: &Setup, words: &[&str], input: &str) -> (i32, String) {
        let (code, out, err) = match words {
            ["import"] => timeout(PATIENCE, setup.import(&[], input)).await,
            words => timeout(PATIENCE, setup.run(words)).await,
        }
        .unwrap_or_else(|_| panic!("{words:?} did not end"));
        assert!(matches!(code, 0 | 1 | 3), "{words:?}: {code}\n{out}\n{err}");
        assert!(code == 0 || !format!("{out}{err}").is_empty(), "{words:?} failed without a word");
        (code, format!("{out}{err}"))
    }
}

#[tokio::test]
async fn root_s_commands_work_beside_the_proxy_of_a_service_user() {
    let Some(site) = Site::new() else { return };
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let user = SERVICE.to_string();
    let as_service = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--"];
    let setup = site.setup(&simulator).set("OAUTH__REFRESH_TOKEN", simulator.grant().refresh_token);
    let proxy = setup.under(&as_service).start().await;
    proxy.ready().await;
    let commands = proxy.commands();
    let (code, said) = site.command(&commands, &["import"], &simulator.grant().refresh_token).await;
    assert_eq!(code, 0, "{said}");
    proxy.wait_for_status("the imported grant", |status| status["generation"] == 2).await;
    // Within a second of a refresh, a request for one gets its outcome.
    proxy.rested().await;
    for words in [&["refresh"][..], &["status"]] {
        let (code, said) = site.command(&commands, words, "").await;
        assert!(code == 0 && said.contains("generation 3"), "{words:?}: {said}");
    }
    proxy.stop().await;
    let (code, said) = site.command(&commands, &["status"], "").await;
    assert!(code == 0 && said.contains("generation 3"), "{said}");
    let (code, said) = site.command(&commands, &["import"], &simulator.grant().refresh_token).await;
    assert_eq!(code, 0, "{said}");
    for entry in fs::read_dir(site.state()).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (SERVICE, 0o600), "{}", entry.path().display());
    }
}

#[tokio::test]
async fn whatever_is_planted_root_s_import_and_status_change_nothing_of_it() {
    let Some(site) = Site::new() else { return };
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = site.setup(&simulator);
    for (plant, name) in Plant::ALL.into_iter().flat_map(|plant| NAMES.map(|name| (plant, name))) {
        let planted = site.plant(plant, name);
        for words in [&["status"][..], &["import"], &["status"]] {
            let (code, said) = site.command(&setup, words, &simulator.grant().refresh_token).await;
            assert!(code == 0 || words == ["status"] || said.contains("grant.json"), "{plant:?} as {name}: {said}");
        }
        site.is_as_it_was(&planted);
    }
}

#[tokio::test]
async fn whatever_is_planted_root_s_serve_and_refresh_change_nothing_of_it() {
    let Some(site) = Site::new() else { return };
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let plants = [Plant::LinkToPublic, Plant::HardLinkToPrivate, Plant::Pipe];
    for (plant, name) in plants.into_iter().flat_map(|plant| NAMES.map(|name| (plant, name))) {
        let planted = site.plant(plant, name);
        let setup = site.setup(&simulator).set("OAUTH__REFRESH_TOKEN", simulator.grant().refresh_token);
        let mut serve = setup.command(&["serve"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = String::new();
        let mut lines = BufReader::new(serve.stderr.take().unwrap()).lines();
        while let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
            log += &line;
            log.push('\n');
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let fields = line.get("fields").unwrap_or(&line);
            if fields["message"] == "admin listening" {
                let admin = fields["address"].as_str().unwrap().to_owned();
                site.command(&setup.again().set("ADMIN__LISTEN", admin), &["refresh"], "").await;
                interrupt(&serve);
            }
        }
        timeout(PATIENCE, serve.wait()).await.unwrap().unwrap();
        // A file with the name of a kept copy does no harm.
        assert!(name == DAMAGED || log.contains("grant.json"), "{plant:?} as {name}: {log}");
        site.is_as_it_was(&planted);
    }
}

/// A thread of the service user swaps every name, and the directory itself, while root's commands run.
#[tokio::test]
async fn names_that_change_under_root_s_commands_mislead_none_of_them() {
    let Some(site) = Site::new() else { return };
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = site.setup(&simulator);
    let plants = site.home().join("plants");
    fs::create_dir(&plants).unwrap();
    for plant in Plant::ALL {
        plant.put(&site.victims, &plants.join(format!("{plant:?}")));
    }
    let away = site.home().join("away");
    symlink(site.victims.folder(), &away).unwrap();
    lchown(&away, Some(SERVICE), Some(SERVICE)).unwrap();
    let victims = site.victims.look();

    let done = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (done, state) = (Arc::clone(&done), site.state());
        move || {
            // The two names are exchanged and exchanged back.
            let swap = |one: &Path, two: &Path| {
                let exchange = || renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).is_ok();
                let swapped = exchange();
                std::thread::yield_now();
                u64::from(swapped && exchange())
            };
            let mut swaps = 0;
            while !done.load(Ordering::Relaxed) {
                for (plant, name) in Plant::ALL.into_iter().flat_map(|plant| NAMES.map(|name| (plant, name))) {
                    swaps += swap(&plants.join(format!("{plant:?}")), &state.join(format!("grant.json{name}")));
                    swaps += swap(&away, &state);
                }
            }
            swaps
        }
    });
    let mut stored = 0;
    for _ in 0..30 {
        let (code, _) = site.command(&setup, &["import"], &simulator.grant().refresh_token).await;
        stored += u32::from(code == 0);
        site.command(&setup, &["status"], "").await;
    }
    done.store(true, Ordering::Relaxed);
    assert!(swapper.join().unwrap() > 0, "no name was swapped");
    println!("{stored} of 30 imports succeeded");
    // The hard links are still there: root's files have two names, and all else is as it was.
    assert_eq!(site.victims.look(), victims);
    // A last import, without the swapping thread.
    site.renew();
    let (code, said) = site.command(&setup, &["import"], &simulator.grant().refresh_token).await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test]
async fn the_demo_keeps_its_grant_in_a_directory_that_nobody_made_before() {
    let Some(site) = Site::new() else { return };
    let shared = site.folder.path().join("tmp");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    // A name that is made of the process ID is predictable.
    let script = r#"echo $$; read -r line; exec "$0" demo"#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(site.folder.path().join("program")).env("TMPDIR", &shared).kill_on_drop(true);
    let mut demo = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let number = lines.next_line().await.unwrap().unwrap();
    let planted = shared.join(format!("bearer-proxy-demo-{number}"));
    fs::create_dir(&planted).unwrap();
    fs::set_permissions(&planted, Permissions::from_mode(0o777)).unwrap();
    symlink(site.victims.public(), planted.join("grant.json.lock")).unwrap();
    lchown(&planted, Some(SERVICE), Some(SERVICE)).unwrap();
    let before = (victims::look(&planted), site.victims.look());

    demo.stdin.take().unwrap().write_all(b"\n").await.unwrap();
    while !timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("the demo ended").contains("curl") {}
    let made: Vec<_> = fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(made.len(), 2, "{made:?}");
    let made = made.into_iter().find(|path| *path != planted).unwrap();
    let found = fs::metadata(&made).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o700));
    assert!(made.join("grant.json").exists());
    interrupt(&demo);
    assert!(timeout(PATIENCE, demo.wait()).await.unwrap().unwrap().success());
    assert!(!made.exists());
    assert_eq!((victims::look(&planted), site.victims.look()), before);
}

fn interrupt(process: &Child) {
    let pid = rustix::process::Pid::from_raw(process.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}
