use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use super::{CLIENT, Files, warnings};
use crate::config::{Config, Sources};

#[test]
fn a_key_without_use_under_the_grant_or_the_store_warns() {
    for (toml, expected) in [
        (
            "oauth.access_token = 't'",
            vec!["oauth.access_token (file DIR/x.toml line 1): has no effect with the grant `refresh_token`"],
        ),
        (
            "[oauth]\ngrant = 'client_credentials'\nrefresh_token_file = '/none'\n[store]\npath = '/p'",
            vec![
                "oauth.refresh_token_file (file DIR/x.toml line 3): has no effect with the grant `client_credentials`",
                "store.path (file DIR/x.toml line 5): has no effect with the store `memory`",
            ],
        ),
        (
            "store.namespace = 'n'",
            vec!["store.namespace (file DIR/x.toml line 1): has no effect with the store `file`"],
        ),
        #[cfg(feature = "postgres")]
        ("[store]\nkind = 'postgres'\nurl = 'postgres://p'\nname = 'n'", vec![]),
        ("oauth.refresh_token = 't'", vec![]),
    ] {
        assert_eq!(warnings(toml, &[]), expected, "{toml}");
    }
}

#[test]
fn an_open_door_warns() {
    let open = [
        "listen (file DIR/x.toml line 1): anyone who reaches this listener can use the grant: set guard.client_keys, \
                 tls.client_ca_file or guard.hosts",
    ];
    let digest = "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcdefABCD";
    for (toml, expected) in [
        ("listen = '0.0.0.0:8080'".to_owned(), &open[..]),
        ("listen = '0.0.0.0:8080'\nguard.hosts = ['*', 'a']".to_owned(), &open[..]),
        ("listen = '0.0.0.0:8080'\ntls = { cert_file = 'c', key_file = 'k' }".to_owned(), &open[..]),
        ("listen = '0.0.0.0:8080'\ntls = { cert_file = 'c', key_file = 'k', client_ca_file = 'a' }".to_owned(), &[]),
        (format!("listen = '0.0.0.0:8080'\nguard.client_keys = ['{digest}']"), &[]),
        ("listen = '0.0.0.0:8080'\nguard.hosts = ['a']".to_owned(), &[]),
        ("listen = 'unix:/p.sock'".to_owned(), &[]),
        ("guard.hosts = ['*']".to_owned(), &[]),
    ] {
        assert_eq!(warnings(&toml, &[]), expected, "{toml}");
    }
}

#[test]
fn what_is_valid_and_hardly_meant_warns() {
    for (toml, expected) in [
        ("guard.hosts = []", "guard.hosts (file DIR/x.toml line 1): an empty list counts as unset"),
        (
            "refresh.margin = '5s'",
            "refresh.margin (file DIR/x.toml line 1): the margin is at least 60s and at most 30d",
        ),
        (
            "upstream.replay_budget = '1KiB'",
            "upstream.replay_budget (file DIR/x.toml line 1): is less than upstream.replay_limit: a body of that size is never kept",
        ),
        (
            "otlp.endpoint = 'http://collector:4318'",
            "otlp.endpoint (file DIR/x.toml line 1): this version does not send traces; the key has no effect",
        ),
    ] {
        assert_eq!(warnings(toml, &[]), [expected], "{toml}");
    }
}

#[test]
fn an_exception_from_the_proxy_that_is_no_host_warns_and_is_not_shown() {
    let proxy = ("HTTPS_PROXY", "proxy:3128");
    assert!(warnings("", &[proxy, ("NO_PROXY", "localhost, 10.0.0.0/8,*.internal")]).is_empty());
    assert_eq!(
        warnings("", &[proxy, ("no_proxy", "localhost,https://user:canary@a/?key=canary")]),
        [
            "outbound.proxy (environment no_proxy): 1 entry is ignored: expected a host, `*`, an address or a block of addresses"
        ]
    );
    assert!(warnings("", &[("NO_PROXY", "http://a")]).is_empty(), "there is no proxy");
}

#[test]
fn a_secret_that_every_user_may_read_warns_with_its_file_and_mode() {
    let files = Files::new();
    let directory = files.0.path().to_string_lossy().into_owned();
    let text = "tls = { cert_file = '/c', key_file = 'DIR/key' }\nupstream = { cert_file = '/c', key_file = 'DIR/key' }\n\
                [oauth]\nclient_id = 'x'\nclient_secret_file = 'DIR/secret'\nrefresh_token = 'one'\n[admin]\nkey = 'two'\n";
    let toml = files.write("x.toml", text.replace("DIR", &directory));
    let all = [files.write("key", "k"), files.write("secret", "s"), toml.clone()];
    for (mode, is_warned) in [(0o644, true), (0o444, true), (0o640, false), (0o600, false)] {
        for path in &all {
            set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let loaded = Config::load(&Sources::new(Some(toml.clone()), [("BEARER_PROXY_VIA", "v")])).unwrap();
        let found: Vec<_> = loaded.warnings.iter().map(|w| w.to_string().replace(&directory, "DIR")).collect();
        let expected: Vec<_> = [
            ("admin.key (file DIR/x.toml line 8)", "x.toml"),
            ("tls.key_file (file DIR/x.toml line 1)", "key"),
            ("upstream.key_file (file DIR/x.toml line 2)", "key"),
            ("oauth.client_secret_file (file DIR/x.toml line 5)", "secret"),
        ]
        .map(|(key, file)| {
            format!(
                "{key}: every user of this machine may read DIR/{file} (mode {mode:04o}), which contains a secret: chmod o-r DIR/{file}"
            )
        })
        .into();
        assert_eq!(found, if is_warned { expected } else { vec![] }, "{mode:o}");
    }
    // The file contains no secret.
    let toml = files.write("y.toml", "via = 'v'");
    set_permissions(&toml, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Config::load(&Sources::new(Some(toml), CLIENT)).unwrap().warnings, []);
}
