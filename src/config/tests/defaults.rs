use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::key::{Form, Kind, Preset};
use crate::config::keys;
use crate::config::profile::Profile;
use crate::config::{
    Config, KEYS, ListenAddress, LogFormat, LogRequests, Margin, Sources, StoreKindConfig, UpstreamHttp,
};

use super::{CLIENT, Loaded, load};

/// The public interface. A change here breaks existing configurations.
const INTERFACE: [(&str, &str); 83] = [
    ("profile", "passolution"),
    ("listen", "127.0.0.1:8080"),
    ("listen_mode", "0660"),
    ("via", "bearer-proxy"),
    ("tls.cert_file", "–"),
    ("tls.key_file", "–"),
    ("tls.client_ca_file", "–"),
    ("outbound.ca_file", "–"),
    ("outbound.proxy", "computed"),
    ("upstream.url", "profile"),
    ("upstream.headers", "profile"),
    ("upstream.cert_file", "–"),
    ("upstream.key_file", "–"),
    ("upstream.http", "auto"),
    ("upstream.refusal", "profile"),
    ("upstream.default_accept", "profile"),
    ("upstream.connect_timeout", "5s"),
    ("upstream.response_timeout", "60s"),
    ("upstream.idle_timeout", "60s"),
    ("upstream.connection_age", "5m"),
    ("upstream.max_in_flight", "1024"),
    ("upstream.queue_timeout", "1s"),
    ("upstream.replay_limit", "256KiB"),
    ("upstream.replay_budget", "64MiB"),
    ("oauth.grant", "refresh_token"),
    ("oauth.client_id", "–"),
    ("oauth.client_secret", "–"),
    ("oauth.authorize_url", "profile"),
    ("oauth.token_url", "profile"),
    ("oauth.redirect_uri", "profile"),
    ("oauth.scope", "profile"),
    ("oauth.token_format", "profile"),
    ("oauth.client_auth", "profile"),
    ("oauth.headers", "profile"),
    ("oauth.send_redirect_uri_on_refresh", "profile"),
    ("oauth.parameters", "–"),
    ("oauth.authorize_parameters", "–"),
    ("oauth.send_scope_on_refresh", "false"),
    ("oauth.ambiguous_retry", "profile"),
    ("oauth.refresh_token", "–"),
    ("oauth.access_token", "–"),
    ("oauth.request_timeout", "30s"),
    ("refresh.margin", "20%"),
    ("refresh.default_lifetime", "1h"),
    ("refresh.wait", "10s"),
    ("refresh.cooldown", "60s"),
    ("refresh.max_per_hour", "30"),
    ("store.kind", "computed"),
    ("store.path", "computed"),
    ("store.url", "–"),
    ("store.name", "computed"),
    ("store.namespace", "computed"),
    ("store.keys", "–"),
    ("guard.allow", "computed"),
    ("guard.hosts", "computed"),
    ("guard.origins", "computed"),
    ("guard.client_keys", "–"),
    ("guard.max_connections", "4096"),
    ("guard.header_timeout", "10s"),
    ("guard.idle_timeout", "5m"),
    ("guard.max_header_size", "64KiB"),
    ("guard.max_body_size", "–"),
    ("guard.min_body_rate", "–"),
    ("guard.pass_cookies", "false"),
    ("shutdown.delay", "0s"),
    ("shutdown.grace", "20s"),
    ("admin.listen", "127.0.0.1:9901"),
    ("admin.key", "–"),
    ("probes.listen", "off"),
    ("log.format", "computed"),
    ("log.level", "info"),
    ("log.requests", "errors"),
    ("check.path", "profile"),
    ("otlp.endpoint", "–"),
    ("runtime.workers", "computed"),
    ("runtime.event_batching", "true"),
    // A secret may also be in a file.
    ("oauth.client_secret_file", "file"),
    ("oauth.refresh_token_file", "file"),
    ("oauth.access_token_file", "file"),
    ("store.url_file", "file"),
    ("store.keys_file", "file"),
    ("admin.key_file", "file"),
    ("guard.client_keys_file", "none"),
];

#[test]
fn the_keys_and_their_defaults_are_those_of_the_interface() {
    for (name, expected) in INTERFACE {
        let found = match keys::find(name) {
            None => "none",
            Some((_, Form::File)) => "file",
            Some((key, Form::Value)) => match key.preset {
                Preset::Unset => "–",
                Preset::Profile => "profile",
                Preset::Computed(_) => "computed",
                Preset::Value(text) => text,
            },
        };
        assert_eq!(found, expected, "{name}");
    }
    let names: BTreeSet<_> = INTERFACE.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        KEYS.iter().find(|key| !names.contains(key.name)).map(|key| key.name),
        None,
        "a key beyond the interface"
    );
}

#[test]
fn without_a_file_a_client_is_enough() {
    let Loaded { config, warnings, .. } = Config::load(&Sources::new(None, CLIENT)).unwrap();
    assert_eq!(warnings, []);
    let secs = Duration::from_secs;
    let local = |port| ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!((config.profile, config.listen, config.listen_mode), (Profile::default(), vec![local(8080)], 0o660));
    assert_eq!((config.via.as_str(), config.tls, config.probes), ("bearer-proxy", None, None));
    assert!(config.outbound.ca_file.is_none() && config.outbound.proxy.is_none());
    let upstream = config.upstream;
    assert_eq!(upstream.http, UpstreamHttp::Auto);
    assert_eq!(
        (upstream.connect_timeout, upstream.response_timeout, upstream.idle_timeout),
        (secs(5), secs(60), secs(60))
    );
    assert_eq!((upstream.connection_age, upstream.max_in_flight, upstream.queue_timeout), (secs(300), 1024, secs(1)));
    assert_eq!((upstream.replay_limit, upstream.replay_budget), (256 << 10, 64 << 20));
    assert_eq!(config.oauth.grant.endpoint().unwrap().request_timeout, secs(30));
    let refresh = config.refresh;
    assert_eq!((refresh.margin, refresh.default_lifetime), (Margin::Share(0.2), secs(3600)));
    assert_eq!((refresh.wait, refresh.cooldown, refresh.max_per_hour), (secs(10), secs(60), 30));
    assert!(
        matches!(config.store.kind, StoreKindConfig::File { path } if path.ends_with("var/lib/bearer-proxy/grant.json"))
    );
    assert!(config.store.keys.is_empty());
    let guard = config.guard;
    assert_eq!(guard.hosts, Some(vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into()]));
    assert!(guard.allow.is_none() && guard.client_keys.is_empty() && !guard.pass_cookies);
    assert_eq!((guard.max_connections, guard.header_timeout, guard.idle_timeout), (4096, secs(10), secs(300)));
    assert_eq!((guard.max_header_size, guard.max_body_size), (64 << 10, None));
    assert_eq!((config.shutdown.delay, config.shutdown.grace), (secs(0), secs(20)));
    assert!(config.admin.is_some_and(|admin| admin.listen == local(9901) && admin.key.is_none()));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Auto, tracing::Level::INFO));
    assert_eq!(config.log.requests, LogRequests::Errors);
    assert!(config.runtime.event_batching);
}

#[test]
fn the_state_directory_is_where_the_grant_is_kept() {
    let path = |value| match load("", &[("STATE_DIRECTORY", value)]).unwrap().config.store.kind {
        StoreKindConfig::File { path } => path.to_string_lossy().into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(path("/run/state"), "/run/state/grant.json");
    assert_eq!(path("/run/one:/run/two"), "/run/one/grant.json");
    assert_eq!(path(""), "/var/lib/bearer-proxy/grant.json");
}

#[test]
#[cfg(feature = "kubernetes")]
fn a_pod_tells_where_its_cluster_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("namespace"), "shop\n").unwrap();
    let cluster = |toml: &str, host| {
        let account = folder.path().to_str().unwrap();
        let pod = [
            ("KUBERNETES_SERVICE_HOST", host),
            ("KUBERNETES_SERVICE_PORT", "443"),
            ("KUBERNETES_SERVICE_ACCOUNT_DIR", account),
        ];
        match load(&format!("[store]\nkind = 'kubernetes'\n{toml}"), &pod).unwrap().config.store.kind {
            StoreKindConfig::Kubernetes(cluster) => (cluster.server, cluster.namespace, cluster.name),
            other => panic!("{other:?}"),
        }
    };
    let expected = |server: &str, namespace: &str, name: &str| (server.into(), namespace.into(), name.into());
    assert_eq!(cluster("", "10.96.0.1"), expected("https://10.96.0.1:443", "shop", "bearer-proxy"));
    assert_eq!(cluster("", "fd00::1"), expected("https://[fd00::1]:443", "shop", "bearer-proxy"));
    let own = "namespace = 'other'\nname = 'grant.one'";
    assert_eq!(cluster(own, "10.96.0.1"), expected("https://10.96.0.1:443", "other", "grant.one"));
}

#[test]
fn hosts_are_guarded_where_only_this_machine_is_meant() {
    let hosts = |toml| load(toml, &[]).unwrap().config.guard.hosts;
    let loopback = ["localhost", "127.0.0.1", "[::1]"].map(String::from).to_vec();
    assert_eq!(hosts("listen = ['[::1]:1', 'unix:/p.sock']"), Some(loopback.clone()));
    assert_eq!(hosts("listen = '127.0.0.2:1'"), Some([loopback, vec!["127.0.0.2".into()]].concat()));
    assert_eq!(hosts("listen = ['127.0.0.1:1', '0.0.0.0:2']"), None);
    assert_eq!(hosts("guard.hosts = ['*']"), None);
    assert_eq!(hosts("guard.hosts = ['API.internal:80', '::1']"), Some(vec!["api.internal".into(), "[::1]".into()]));
}

#[test]
fn every_choice_of_the_table_is_known_to_the_code() {
    let needs = "upstream.url='https://a.example'\n[oauth]\ntoken_url='https://a.example'\naccess_token='t'\nredirect_uri='a:b'\n\
                 headers.TenantRegion='EU'\n[store]\nurl='postgres://p'\n";
    for key in KEYS {
        let Kind::Choice(names) = key.kind else { continue };
        for name in names {
            // These are known, and a rule refuses them.
            if (*name == "postgres" && !cfg!(feature = "postgres"))
                || *name == "kubernetes"
                || (key.name == "store.kind" && *name == "memory")
            {
                continue;
            }
            let outcome = load(needs, &[(&key.variable(), name)]);
            assert!(outcome.is_ok(), "{} = {name}: {}", key.name, outcome.unwrap_err());
        }
    }
}
