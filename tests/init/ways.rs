//! Each way to run that `init` prints serves from the files that it has written, as far as a machine without systemd as its first
//! process and without a container engine can tell.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Stdio;

use tokio::process::Command;

use crate::site::{Serving, Site, User, acting_as};

/// The lines after a heading, up to the next one.
fn part<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("no {heading:?} in\n{text}"));
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split("\n# ").next().unwrap()
}

/// The content of a here-document.
fn here_document<'a>(text: &'a str, file: &str) -> &'a str {
    let (_, rest) =
        text.split_once(&format!("cat >{file} <<'END'\n")).unwrap_or_else(|| panic!("no {file} in\n{text}"));
    rest.split_once("END\n").unwrap().0
}

/// The values of a key of a unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap();
    (name.to_owned(), value.to_owned())
}

/// The number of a user: of another one by its number, of the service's user by sysusers.
fn uid(user: &str, sysusers: &str) -> u32 {
    user.parse().unwrap_or_else(|_| {
        let line = sysusers.lines().find_map(|line| line.strip_prefix(&format!("u {user} "))).unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    })
}

async fn serves_without_another_token_call(site: &Site, words: &[String], environment: &[(String, String)]) {
    let calls = || site.simulator.with_ledger(|ledger| ledger.token_calls().len());
    let before = calls();
    let serving = Serving::start(words, environment).await;
    assert_eq!(serving.get("/api/v2/countries").await, 200, "{words:?} {environment:?}");
    assert_eq!(calls(), before);
}

/// The words that run a program as this user. A process that is that user already needs none.
fn as_user(uid: u32, gid: u32, user: User) -> Vec<String> {
    if user == User::Own && !rustix::process::geteuid().is_root() { Vec::new() } else { acting_as(uid, gid) }
}

#[tokio::test]
async fn every_way_serves_from_the_grant_that_init_has_stored() {
    for user in User::all() {
        let site = Site::new(user).await;
        let token = site.simulator.grant().refresh_token;
        let out = site.init("refresh_token", &["--refresh-token-file", "-"], &token).await.out;
        let program = site.program().display().to_string();
        let serve = |uid, gid| [as_user(uid, gid, user), vec![program.clone(), "serve".to_owned()]].concat();

        let here: Vec<_> = part(&out, "# Run it here").split_whitespace().map(str::to_owned).collect();
        assert_eq!(here.last().unwrap(), "serve");
        serves_without_another_token_call(&site, &[user.wrapper(), here].concat(), &[]).await;

        let docker = part(&out, "# Run it in Docker").replace("\\\n", " ");
        let words: Vec<_> = docker.split_whitespace().collect();
        let after = |flag| words.windows(2).filter(move |two| two[0] == flag).map(|two| two[1]);
        let environment: Vec<_> = after("-e").map(pair).collect();
        let (uid_, gid) = after("--user").next().unwrap().split_once(':').unwrap();
        let ids = (uid_.parse().unwrap(), gid.parse().unwrap());
        assert_eq!(ids.0, user.owner());
        let dir = site.dir().display().to_string();
        let mounts: Vec<_> = after("-v").map(str::to_owned).collect();
        assert_eq!(mounts, [format!("{dir}:{dir}:ro"), format!("{dir}/state:{dir}/state")]);
        serves_without_another_token_call(&site, &serve(ids.0, ids.1), &environment).await;

        let compose = part(&out, "# Run it in Compose");
        let lines = || compose.lines().map(str::trim);
        let environment: Vec<_> = lines()
            .filter(|line| line.starts_with("BEARER_PROXY_"))
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
            .collect();
        assert!(lines().any(|line| line == format!("user: \"{}:{}\"", ids.0, ids.1)), "{compose}");
        assert!(lines().any(|line| line == format!("- \"{dir}/state:{dir}/state\"")), "{compose}");
        serves_without_another_token_call(&site, &serve(ids.0, ids.1), &environment).await;

        let working = part(&out, "# Is it working?");
        let container = words.windows(2).find(|two| two[0] == "--name").unwrap()[1];
        // The admin listener of a container is reached only within.
        for line in [
            format!("docker exec {container} /bearer-proxy status"),
            "docker compose exec bearer-proxy /bearer-proxy status".to_owned(),
        ] {
            assert!(working.contains(&line), "{working}");
        }
        let service = part(&out, "# Run it as a service");
        let unit = here_document(service, "/etc/systemd/system/bearer-proxy.service");
        let sysusers = if service.contains("sysusers.d") {
            here_document(service, "/usr/lib/sysusers.d/bearer-proxy.conf")
        } else {
            ""
        };
        is_verified(unit).await;
        let owner = uid(values(unit, "User")[0], sysusers);
        assert_eq!(owner, user.owner());
        let gid = uid(values(unit, "Group")[0], sysusers);
        // What systemd does with LoadCredential=.
        let (name, source) = values(unit, "LoadCredential")[0].split_once(':').unwrap();
        let credentials = tempfile::tempdir().unwrap();
        fs::set_permissions(credentials.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let credential = credentials.path().join(name);
        fs::copy(source, &credential).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&credential, Some(owner), Some(gid)).unwrap();
        }
        let directory = credentials.path().display().to_string();
        let environment: Vec<_> = values(unit, "Environment")
            .into_iter()
            .map(|variable| pair(&variable.replace("/run/credentials/%n", &directory)))
            .collect();
        let start = values(unit, "ExecStart")[0];
        assert_eq!(start, format!("{program} serve"));
        serves_without_another_token_call(&site, &serve(owner, gid), &environment).await;
    }
}

/// By systemd itself, where it is installed.
#[allow(clippy::print_stdout, reason = "a test that did not run says so")]
async fn is_verified(unit: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bearer-proxy.service");
    fs::write(&file, unit).unwrap();
    let analyze = |words: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(words).arg(&file).stdin(Stdio::null());
        command
    };
    let verify = analyze(&["verify", "--man=no", "--generators=no", "--recursive-errors=no"]).output().await;
    let Ok(verified) = verify else { return println!("not run: systemd-analyze is missing") };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    // The other words are about the machine: it has neither this program nor a manager to ask.
    let about_unit: Vec<_> = said.lines().filter(|line| line.contains("bearer-proxy.service:")).collect();
    assert_eq!(about_unit, Vec::<&str>::new(), "{said}");
    let exposure = analyze(&["security", "--offline=true", "--threshold=12", "--no-pager"]).output().await.unwrap();
    assert!(exposure.status.success(), "{}", String::from_utf8_lossy(&exposure.stdout));
}
