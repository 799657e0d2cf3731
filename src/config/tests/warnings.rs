use super::warnings;

#[test]
fn a_key_without_use_under_the_grant_or_the_store_warns() {
    for (toml, expected) in [
        (
            "oauth.access_token = 't'",
            vec!["oauth.access_token (file DIR/x.toml line 1): has no use under the grant `refresh_token`"],
        ),
        (
            "[oauth]\ngrant = 'client_credentials'\nrefresh_token_file = '/none'\n[store]\npath = '/p'",
            vec![
                "oauth.refresh_token_file (file DIR/x.toml line 3): has no use under the grant `client_credentials`",
                "store.path (file DIR/x.toml line 5): has no use under the store `memory`",
            ],
        ),
        ("store.namespace = 'n'", vec!["store.namespace (file DIR/x.toml line 1): has no use under the store `file`"]),
        #[cfg(feature = "postgres")]
        ("[store]\nkind = 'postgres'\nurl = 'postgres://p'\nname = 'n'", vec![]),
        ("oauth.refresh_token = 't'", vec![]),
    ] {
        assert_eq!(warnings(toml, &[]), expected, "{toml}");
    }
}

#[test]
fn an_open_door_warns() {
    let open =
        ["listen (file DIR/x.toml line 1): whoever reaches this listener can use the grant: set guard.client_keys, \
                 tls.client_ca_file or guard.hosts"];
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
        ("guard.allow = []", "guard.allow (file DIR/x.toml line 1): an empty list is an unset one"),
        (
            "refresh.margin = '5s'",
            "refresh.margin (file DIR/x.toml line 1): is taken as 60s if less, and as 30d if more",
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
            "outbound.proxy (environment no_proxy): has 1 entry that is neither a host, `*`, an address nor a block of addresses, and of no use"
        ]
    );
    assert!(warnings("", &[("NO_PROXY", "http://a")]).is_empty(), "there is no proxy");
}
