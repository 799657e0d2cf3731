//! Reload: a valid configuration takes effect without dropping a request. An invalid one is rejected as a whole.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::admin::Settings;
use crate::check::{self, limits};
use crate::config::{Change, Config, Loaded, Read, Sources, Watched};
use crate::downstream::{BindError, Limits, tls};
use crate::fault;
use crate::proxy::Setup;
use crate::proxy::route::Route;
use crate::proxy::upstream::Upstream;
use crate::supervise::Task;
use crate::telemetry::Logs;
use crate::token::grant::GrantSettings;

use super::{Gateway, StartError};

/// Notices when a file of the configuration changes.
///
/// It polls, because notification misses a swapped symbolic link (Kubernetes), a file that does not exist yet, and a network file
/// system.
pub struct Watch {
    files: Vec<Watched>,
}

/// A change takes effect within 5 s, which includes a second poll.
const EVERY: Duration = Duration::from_secs(1);

// === impl Watch ===

impl Watch {
    /// The files as they were before they were read, so that no later change is missed.
    pub fn new(files: Vec<Watched>) -> Self {
        Self { files }
    }

    /// Returns when something has changed, and one more poll saw no further change: a file may be written in pieces.
    pub async fn changed(&mut self) {
        let mut changing = false;
        loop {
            tokio::time::sleep(EVERY).await;
            if self.look_again() {
                changing = true;
            } else if changing {
                return;
            }
        }
    }

    fn look_again(&mut self) -> bool {
        // No short circuit: every file must record its present state.
        self.files.iter_mut().fold(false, |changed, file| file.has_changed() | changed)
    }
}

// === impl Gateway ===

impl Gateway {
    /// Reads the configuration again, applies it, and logs the outcome. Returns the files to watch from now on. A panic ends only this
    /// reload.
    pub fn reload(&mut self, sources: &Sources, logs: &Logs) -> Option<Watch> {
        let metrics = self.metrics.clone();
        catch_unwind(AssertUnwindSafe(|| self.read_again(sources, logs))).map(Some).unwrap_or_else(|_| {
            metrics.task_restart(Task::Reload);
            tracing::error!("the reload panicked: change a file or send SIGHUP to reload again");
            None
        })
    }

    fn read_again(&mut self, sources: &Sources, logs: &Logs) -> Watch {
        fault::task("reload");
        let Read { loaded, files } = Config::read(sources);
        match loaded {
            Ok(loaded) => {
                check::log(&check::at_reload(&loaded, sources), "reload");
                if let Err(error) = self.apply(loaded, logs) {
                    tracing::error!(%error, "the changed configuration cannot be applied: the old one stays");
                }
            }
            Err(errors) => {
                tracing::error!(check = "config-invalid", %errors, "the changed configuration is invalid: the old one stays");
            }
        }
        // Also after a rejection: a missing file may appear.
        Watch::new(files)
    }

    fn apply(&mut self, loaded: Loaded, logs: &Logs) -> Result<(), StartError> {
        let Loaded { mut config, effective, .. } = loaded;
        // Everything that can fail comes first, so that nothing takes effect in part.
        let upstream = Upstream::new(&config, &self.metrics)?;
        let tls = config.tls.as_ref().map(tls::Tls::load).transpose().map_err(BindError::from)?;
        let grant = GrantSettings::new(&config)?;

        let kept = keep_bound(&mut config, &self.config);
        let changes = effective.changes(&self.effective);
        let (later, now): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| change.needs_restart || kept.contains(&change.key));
        let keys = |changes: &[&Change]| changes.iter().map(|change| change.key).collect::<Vec<_>>().join(", ");
        if !later.is_empty() {
            tracing::warn!(keys = keys(&later), "these changes take effect at the next start");
        }
        logs.set_level(config.log.level);
        if changes.iter().any(|change| change.key == "guard.max_connections") {
            check::log(&limits::judge(&config, limits::gather(&config, None)), "reload");
        }
        self.running.set_limits(Limits::new(&config));
        if let Some(tls) = tls {
            self.running.set_tls(tls);
        }
        self.grant.reconfigure(grant);
        let upstream = Arc::new(upstream.succeeding(&self.setup.load().route.upstream));
        let route = Route { upstream, tokens: self.grant.tokens().clone() };
        let config = Arc::new(config);
        self.admin.reconfigure(Settings { config: Arc::clone(&config), effective: effective.clone() });
        self.setup.store(Arc::new(Setup { config: Arc::clone(&config), route }));
        self.config = config;
        self.effective = effective;
        tracing::info!(keys = keys(&now), "the configuration was read again");
        Ok(())
    }
}

/// Listeners keep their address until the next start. They also keep the key and the accepted hosts that this address requires,
/// even if the next address needs none. Returns the keys that keep their old value.
fn keep_bound(config: &mut Config, running: &Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    if config.listen != running.listen {
        config.listen.clone_from(&running.listen);
        config.guard.hosts.clone_from(&running.guard.hosts);
        kept.push("guard.hosts");
    }
    if config.tls.is_some() != running.tls.is_some() {
        config.tls.clone_from(&running.tls);
        kept.extend(["tls.cert_file", "tls.key_file", "tls.client_ca_file"]);
    }
    let listens = |config: &Config| config.admin.as_ref().map(|admin| admin.listen.clone());
    if listens(config) != listens(running) {
        config.admin.clone_from(&running.admin);
        kept.push("admin.key");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_swapped_by_its_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, link) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("link"));
        std::fs::write(&one, "a").unwrap();
        std::fs::write(&two, "b").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let mut watch = Watch::new([link.clone(), folder.path().join("absent")].map(Watched::new).to_vec());
        assert!(!watch.look_again());
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&two, &link).unwrap();
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap();
        assert!(!watch.look_again());
    }

    #[test]
    fn a_change_between_the_read_and_the_first_look_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("proxy.toml"), folder.path().join("secret"));
        std::fs::write(&file, format!("[oauth]\nclient_id = '7'\nclient_secret_file = '{}'\n", secret.display()))
            .unwrap();
        let sources = Sources::new(Some(file), std::iter::empty::<(&str, &str)>());
        // The file of the secret does not exist at first. Then it has two secrets of the same size, one after the other.
        for text in ["first.", "second"] {
            let Read { files, .. } = Config::read(&sources);
            std::fs::write(&secret, text).unwrap();
            let mut watch = Watch::new(files);
            assert!(watch.look_again(), "{text}");
            assert!(!watch.look_again(), "{text}");
        }
    }
}
