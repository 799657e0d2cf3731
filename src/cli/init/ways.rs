//! How to run the proxy on the files that `init` has written: as a service, in Docker, and in Compose. Pure.

use std::path::{Component, Path};

use http::uri::PathAndQuery;

use super::options::Grant;
use super::owner::{Owner, SERVICE};

/// The values that the texts contain.
pub(super) struct Site<'a> {
    /// Absolute, and made of characters that need no quoting: see [`needs_no_quoting`].
    pub(super) dir: &'a str,
    pub(super) program: &'a str,
    pub(super) owner: Owner,
    pub(super) grant: Grant,
    /// Whether the client has a secret, which systemd then passes as a credential.
    pub(super) has_secret: bool,
    pub(super) request_path: &'a str,
}

const UNIT: &str = include_str!("../../../deploy/systemd/bearer-proxy.service");
const SYSUSERS: &str = include_str!("../../../deploy/systemd/bearer-proxy.sysusers");
const IMAGE: &str = concat!("bearer-proxy:", env!("CARGO_PKG_VERSION"));
/// The paths of the unit as it is in the repository.
const UNIT_DIR: &str = "/etc/bearer-proxy";
const UNIT_PROGRAM: &str = "/usr/local/bin/bearer-proxy";
/// What `ProtectHome=` hides from the service.
const HOMES: [&str; 3] = ["/home/", "/root/", "/run/user/"];
/// What `PrivateTmp=` hides.
const TEMPORARY: [&str; 2] = ["/tmp/", "/var/tmp/"];

/// Whether the shell, systemd, Docker and Compose all read this path as it is. systemd ignores a path with `..`.
pub(super) fn needs_no_quoting(path: &Path) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    let is_normal = path.components().all(|part| part != Component::ParentDir);
    is_normal && path.to_str().is_some_and(|path| path.starts_with('/') && path.chars().all(is_plain))
}

/// Whether it is a target in origin form (RFC 9112 §3.2.1) that a shell reads unchanged within single quotes.
pub(super) fn is_request_path(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\'') && path.parse::<PathAndQuery>().is_ok()
}

/// The texts, one after the other.
pub(super) fn ways(site: &Site<'_>) -> String {
    let Site { dir, program, request_path, .. } = *site;
    let mut text = format!(
        "\
# Run it here:
{program} --config {dir}/config.toml serve

# Run it as a service of systemd 247 or later (as root):
{}
# Run it in Docker (the image: docker build -t {IMAGE} .):
{}
# Run it in Compose (compose.yaml):
{}
# Is it working?
curl 'http://127.0.0.1:8080{request_path}'
{program} --config {dir}/config.toml status
docker exec bearer-proxy /bearer-proxy status          # in Docker
docker compose exec bearer-proxy /bearer-proxy status  # in Compose
",
        service(site),
        docker(site),
        compose(site),
    );
    text += "\n# Run only one of these at a time. ";
    text += match site.grant {
        Grant::ClientCredentials => "They listen on the same port.\n",
        Grant::RefreshToken | Grant::Login => {
            "\
Each refresh replaces the refresh token, and the server accepts only the newest one.
# A second proxy on a copy of this directory would present a token that the first one has already spent,
# and the server may then end the grant. Several proxies can share one grant in PostgreSQL (store.kind).
"
        }
    };
    text
}

fn service(site: &Site<'_>) -> String {
    let mut text = String::new();
    if site.owner.is_service {
        text += &here_document("/usr/lib/sysusers.d/bearer-proxy.conf", &sysusers(site.owner.uid));
        text += "systemd-sysusers\n";
    }
    text += &here_document("/etc/systemd/system/bearer-proxy.service", &unit(site));
    text + "systemctl daemon-reload && systemctl enable --now bearer-proxy\n"
}

fn here_document(file: &str, content: &str) -> String {
    format!("cat >{file} <<'END'\n{content}END\n")
}

fn sysusers(uid: u32) -> String {
    without_comments(SYSUSERS).replace(&format!(" {} ", super::owner::IMAGE_USER), &format!(" {uid} "))
}

fn unit(site: &Site<'_>) -> String {
    let Site { dir, program, owner, has_secret, .. } = *site;
    let mut unit = without_comments(UNIT);
    if !has_secret {
        // systemd does not start a unit whose credential is missing.
        unit = without_lines(&unit, |line| line.contains("client-secret"));
    }
    unit = unit.replace(UNIT_DIR, dir).replace(UNIT_PROGRAM, program);
    if !owner.is_service {
        unit = unit
            .replace(&format!("User={SERVICE}\n"), &format!("User={}\n", owner.uid))
            .replace(&format!("Group={SERVICE}\n"), &format!("Group={}\n", owner.gid));
    }
    let is_in = |folders: &[&str], path: &str| folders.iter().any(|folder| path.starts_with(folder));
    let is_hidden = |path| is_in(&HOMES, path) || is_in(&TEMPORARY, path);
    if is_hidden(dir) {
        let bound = format!("BindReadOnlyPaths={dir}\nBindPaths={dir}/state\n");
        unit = unit.replace(&format!("ReadWritePaths=-{dir}/state\n"), &bound);
    }
    if is_hidden(program) {
        unit = unit.replace("ProtectHome=yes\n", &format!("ProtectHome=yes\nBindReadOnlyPaths={program}\n"));
    }
    if is_in(&HOMES, dir) || is_in(&HOMES, program) {
        // With `yes`, nothing can be mounted there.
        unit = unit.replace("ProtectHome=yes\n", "ProtectHome=tmpfs\n");
    }
    unit
}

fn without_comments(text: &str) -> String {
    without_lines(text, |line| line.starts_with('#'))
}

fn without_lines(text: &str, unwanted: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| !unwanted(line)).map(|line| format!("{line}\n")).collect()
}

fn docker(site: &Site<'_>) -> String {
    let Site { dir, owner: Owner { uid, gid, .. }, .. } = *site;
    format!(
        "\
docker run -d --name bearer-proxy --restart unless-stopped --stop-timeout 90 \\
  --user {uid}:{gid} --read-only --cap-drop ALL --security-opt no-new-privileges --memory 1g \\
  -v {dir}:{dir}:ro -v {dir}/state:{dir}/state \\
  -e BEARER_PROXY_CONFIG={dir}/config.toml \\
  -e BEARER_PROXY_LISTEN=0.0.0.0:8080 -e BEARER_PROXY_GUARD__HOSTS=localhost,127.0.0.1 \\
  -p 127.0.0.1:8080:8080 {IMAGE}
"
    )
}

fn compose(site: &Site<'_>) -> String {
    let Site { dir, owner: Owner { uid, gid, .. }, .. } = *site;
    format!(
        "\
services:
  bearer-proxy:
    image: {IMAGE}
    restart: unless-stopped
    user: \"{uid}:{gid}\"
    environment:
      BEARER_PROXY_CONFIG: \"{dir}/config.toml\"
      BEARER_PROXY_LISTEN: \"0.0.0.0:8080\"
      BEARER_PROXY_GUARD__HOSTS: \"localhost,127.0.0.1,bearer-proxy\"
    volumes:
      - \"{dir}:{dir}:ro\"
      - \"{dir}/state:{dir}/state\"
    ports: [\"127.0.0.1:8080:8080\"]
    read_only: true
    cap_drop: [ALL]
    security_opt: [\"no-new-privileges:true\"]
    mem_limit: 1g
    stop_grace_period: 90s
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE_USER: Owner = Owner { uid: 65532, gid: 65532, is_service: true };
    const ALICE: Owner = Owner { uid: 1000, gid: 100, is_service: false };

    fn site<'a>(dir: &'a str, program: &'a str, owner: Owner) -> Site<'a> {
        Site { dir, program, owner, grant: Grant::Login, has_secret: true, request_path: "/v1" }
    }

    #[test]
    fn the_unit_of_root_is_the_one_of_the_repository() {
        assert_eq!(unit(&site(UNIT_DIR, UNIT_PROGRAM, SERVICE_USER)), without_comments(UNIT));
        assert_eq!(sysusers(65532), without_comments(SYSUSERS));
        assert_eq!(sysusers(990), "u bearer-proxy 990 \"bearer-proxy\" - -\n");
    }

    #[test]
    fn a_unit_reaches_files_that_a_service_does_not_see() {
        let unit = unit(&site("/home/alice/bearer-proxy", "/home/alice/.cargo/bin/bearer-proxy", ALICE));
        for line in [
            "ExecStart=/home/alice/.cargo/bin/bearer-proxy serve",
            "Environment=BEARER_PROXY_CONFIG=/home/alice/bearer-proxy/config.toml",
            "LoadCredential=client-secret:/home/alice/bearer-proxy/client-secret",
            "User=1000",
            "Group=100",
            "ProtectHome=tmpfs",
            "BindReadOnlyPaths=/home/alice/bearer-proxy",
            "BindReadOnlyPaths=/home/alice/.cargo/bin/bearer-proxy",
            "BindPaths=/home/alice/bearer-proxy/state",
        ] {
            assert!(unit.lines().any(|found| found == line), "{line}\n{unit}");
        }
        assert!(!unit.contains("/etc/bearer-proxy") && !unit.contains("ReadWritePaths"), "{unit}");
    }

    #[test]
    fn the_unit_of_a_public_client_needs_no_credential() {
        let unit = unit(&Site { has_secret: false, ..site(UNIT_DIR, UNIT_PROGRAM, SERVICE_USER) });
        assert!(!unit.contains("LoadCredential=") && !unit.contains("CLIENT_SECRET"), "{unit}");
        assert!(unit.contains("ExecStart="), "{unit}");
    }

    #[test]
    fn a_request_path_begins_with_a_slash_and_has_no_quote() {
        for (path, valid) in
            [("/", true), ("/a?b=1&c=2", true), ("a", false), ("", false), ("/a b", false), ("/a'", false)]
        {
            assert_eq!(is_request_path(path), valid, "{path}");
        }
    }

    #[test]
    fn a_path_that_a_shell_would_read_in_another_way_is_told_apart() {
        for (path, plain) in [
            ("/etc/bearer-proxy", true),
            ("/home/a.b/x_1@2+", true),
            ("relative", false),
            ("/a/../b", false),
            ("/a b", false),
            ("/a%n", false),
            ("/a:b", false),
            ("/a$b", false),
            ("/é", false),
        ] {
            assert_eq!(needs_no_quoting(Path::new(path)), plain, "{path}");
        }
    }
}
