//! Where this process runs: what the browser of a person needs in order to reach its loopback listener.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// What can separate the browser from this process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// The pod and its namespace.
    pub(super) pod: Option<(String, Option<String>)>,
    pub(super) container: bool,
    /// VS Code or Codespaces, which forward ports by themselves.
    pub(super) dev_container: bool,
    pub(super) wsl: bool,
    /// This machine's address and port, as the SSH client sees them.
    pub(super) ssh: Option<(String, String)>,
    pub(super) user: String,
}

const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

// === impl Surroundings ===

impl Surroundings {
    pub(super) fn detect() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        // A pod's host name is its own name, unless its manifest says otherwise.
        let pod = text("KUBERNETES_SERVICE_HOST").and_then(|_| line("/proc/sys/kernel/hostname"));
        let ssh = text("SSH_CONNECTION").and_then(|connection| {
            let mut fields = connection.split(' ').skip(2).map(str::to_owned);
            Some((fields.next()?, fields.next()?))
        });
        Self {
            pod: pod.map(|pod| (pod, line(NAMESPACE))),
            container: Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists(),
            dev_container: ["REMOTE_CONTAINERS", "CODESPACES", "DEVCONTAINER"].iter().any(|name| text(name).is_some()),
            wsl: text("WSL_DISTRO_NAME").is_some(),
            ssh,
            user: text("USER").unwrap_or_else(|| "USER".to_owned()),
        }
    }

    /// The command that makes the listener reachable for the browser, or an alternative. Empty: the browser can reach it. Pure.
    pub(super) fn advice(&self, listener: SocketAddr) -> String {
        let port = listener.port();
        // Also in a container or a pod, where a person came by SSH.
        if let Some((host, ssh_port)) = &self.ssh {
            let option = if ssh_port == "22" { String::new() } else { format!(" -p {ssh_port}") };
            return format!(
                "This is an SSH session. Your browser reaches it while this runs on your computer:\n\n  \
                 ssh -N{option} -L {port}:{listener} {}@{host}\n\n",
                self.user
            );
        }
        if let Some((pod, namespace)) = &self.pod {
            let namespace = namespace.as_ref().map(|namespace| format!(" --namespace {namespace}")).unwrap_or_default();
            return format!(
                "This is a pod. Your browser reaches it while this runs on your computer:\n\n  \
                 kubectl port-forward{namespace} pod/{pod} {port}:{port}\n\n"
            );
        }
        if self.dev_container {
            return format!("This is a development container. Its editor forwards port {port}, or can be told to.\n");
        }
        if self.container {
            return "This is a container, whose loopback your browser does not reach unless it was started with \
                    `--network host`: paste the URL.\n"
                .to_owned();
        }
        if self.wsl {
            return format!(
                "This is WSL. Windows forwards its port {port} to it, unless localhostForwarding is off.\n"
            );
        }
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_the_line_that_makes_it_work() {
        let text = |text: &str| Some(text.to_owned());
        let pod = |namespace| Surroundings {
            pod: Some(("web-0".into(), namespace)),
            container: true,
            ..Surroundings::default()
        };
        let ssh = |port: &str| Surroundings {
            ssh: Some(("203.0.113.5".into(), port.into())),
            user: "ana".into(),
            ..Surroundings::default()
        };
        let container = Surroundings { container: true, ..Surroundings::default() };
        for (place, expected) in [
            (Surroundings::default(), ""),
            (pod(text("prod")), "\n  kubectl port-forward --namespace prod pod/web-0 4000:4000\n"),
            (pod(None), "\n  kubectl port-forward pod/web-0 4000:4000\n"),
            (Surroundings { container: true, ..ssh("22") }, "ssh -N -L 4000:"),
            (ssh("22"), "\n  ssh -N -L 4000:127.0.0.1:4000 ana@203.0.113.5\n"),
            (ssh("2222"), "\n  ssh -N -p 2222 -L 4000:127.0.0.1:4000 ana@203.0.113.5\n"),
            (Surroundings { dev_container: true, container: true, ..Surroundings::default() }, "forwards port 4000"),
            (container, "paste the URL"),
            (Surroundings { wsl: true, ..Surroundings::default() }, "Windows forwards its port 4000"),
        ] {
            let advice = place.advice("127.0.0.1:4000".parse().unwrap());
            assert!(advice.contains(expected) && advice.is_empty() == expected.is_empty(), "{advice}");
        }
        let advice = ssh("22").advice("[::1]:4000".parse().unwrap());
        assert!(advice.contains("ssh -N -L 4000:[::1]:4000 ana@"), "{advice}");
    }
}
