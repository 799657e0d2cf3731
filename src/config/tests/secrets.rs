use base64::Engine;

use crate::config::{GrantConfig, SecretSource};

use super::{CLIENT, Files, effective, load};

const CANARY: &str = "c4n4ry";

#[test]
fn a_secret_may_be_in_a_file_without_its_last_newline() {
    for (text, expected) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), (" a ", " a ")] {
        let files = Files::new();
        files.write("secret", text);
        let config = files.load("oauth.client_id = 'x'\noauth.client_secret_file = 'DIR/secret'", &[]).unwrap().config;
        assert_eq!(config.oauth.grant.endpoint().unwrap().client_secret.as_ref().unwrap().expose(), expected);
    }
}

#[test]
fn the_environments_form_replaces_the_files() {
    let files = Files::new();
    let path = files.write("secret", "from-file").to_string_lossy().into_owned();
    let secret = |toml: &str, environment: &[(&str, &str)]| {
        let config = files.load(&format!("oauth.client_id = 'x'\n{toml}"), environment).unwrap().config;
        config.oauth.grant.endpoint().unwrap().client_secret.as_ref().unwrap().expose().to_owned()
    };
    assert_eq!(
        secret("oauth.client_secret_file = 'DIR/none'", &[("BEARER_PROXY_OAUTH__CLIENT_SECRET", "inline")]),
        "inline"
    );
    assert_eq!(
        secret("oauth.client_secret = 'inline'", &[("BEARER_PROXY_OAUTH__CLIENT_SECRET_FILE", &path)]),
        "from-file"
    );
}

#[test]
fn one_secret_in_two_ways_in_the_environment_is_an_error() {
    let errors = Files::new().errors("", &[&CLIENT[..], &[("BEARER_PROXY_OAUTH__CLIENT_SECRET_FILE", "/x")]].concat());
    assert_eq!(
        errors,
        ["oauth.client_secret (environment BEARER_PROXY_OAUTH__CLIENT_SECRET_FILE): set twice, also by environment \
          BEARER_PROXY_OAUTH__CLIENT_SECRET: set only one of oauth.client_secret and oauth.client_secret_file"],
    );
}

#[test]
fn the_file_of_a_static_token_is_kept_to_be_read_again() {
    let files = Files::new();
    let path = files.write("token", "token\n");
    let loaded = files.load("oauth.grant = 'static'\noauth.access_token_file = 'DIR/token'", &[]).unwrap();
    assert!(loaded.files.iter().any(|file| file.path() == path));
    let GrantConfig::Static { access_token: SecretSource::File(kept) } = loaded.config.oauth.grant else { panic!() };
    assert_eq!(kept, path);
}

#[test]
fn every_file_that_is_named_is_to_be_watched() {
    let files = Files::new();
    files.write("secret", "s");
    let toml = "tls = { cert_file = '/c', key_file = '/k', client_ca_file = '/ca' }\noutbound.ca_file = '/o'\n\
                upstream = { cert_file = '/uc', key_file = '/uk' }\n[oauth]\nclient_id = 'x'\nclient_secret_file = 'DIR/secret'";
    let loaded = files.load(toml, &[]).unwrap();
    let mut found: Vec<_> = loaded.files.iter().map(|file| file.path().to_owned()).collect();
    found.sort();
    let directory = files.0.path();
    let mut expected: Vec<_> = ["/c", "/k", "/ca", "/o", "/uc", "/uk"].map(Into::into).to_vec();
    expected.extend([directory.join("x.toml"), directory.join("secret")]);
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn keys_of_the_store_are_a_list_in_every_form() {
    let key = |byte| base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    let (one, two) = (key(1), key(2));
    let files = Files::new();
    files.write("keys", format!("{one}\n{two}\n"));
    let environment = format!("{one},{two}");
    for (toml, variables) in [
        (format!("store.keys = ['{one}', '{two}']"), &[][..]),
        ("store.keys_file = 'DIR/keys'".to_owned(), &[]),
        (String::new(), &[("BEARER_PROXY_STORE__KEYS", environment.as_str())]),
    ] {
        let config = files.load(&toml, &[&CLIENT[..], variables].concat()).unwrap().config;
        let keys: Vec<_> = config.store.keys.iter().map(|key| *key.0).collect();
        assert_eq!(keys, [[1; 32], [2; 32]], "{toml}");
    }
}

/// Every place of a secret, with right and wrong values.
#[test]
fn no_secret_is_in_an_error_or_an_output() {
    let key = base64::engine::general_purpose::STANDARD.encode(format!("{CANARY}{CANARY}{CANARY}{CANARY}{CANARY}.."));
    let postgres = format!("kind = 'postgres'\nurl = 'postgres://me:{CANARY}@db/x'");
    let postgres = if cfg!(feature = "postgres") { postgres } else { String::new() };
    let good = format!(
        "outbound.proxy = 'http://me:{CANARY}@proxy:1'\nupstream.headers.X-Key = '{CANARY}'\nadmin.key = '{CANARY}'\n\
         [oauth]\nclient_id = 'x'\nclient_secret = '{CANARY}'\nrefresh_token = '{CANARY}'\nheaders.X-Key = '{CANARY}'\n\
         token_url = 'https://a.example/token?code={CANARY}'\n[store]\nkeys = ['{key}']\n{postgres}"
    );
    let loaded = Files::new().load(&good, &[]).unwrap();
    let admin = loaded.config.admin.as_ref().unwrap();
    assert_eq!(admin.key.as_ref().unwrap().expose(), CANARY, "the canary sings");
    let shown = format!("{:?}\n{:?}\n{:?}", loaded.effective, loaded.warnings, effective(&loaded));
    for text in [shown, crate::cli::config::print(&loaded.effective), format!("{:?}", loaded.config.store)] {
        assert!(!text.contains(CANARY) && !text.contains(&key), "{text}");
    }
    assert!(!format!("{:?} {:?}", loaded.config.upstream, loaded.config.outbound).contains(CANARY));

    let bad = [
        format!("oauth.client_secret = '{CANARY}ä'"),
        format!("oauth.refresh_token = \"{CANARY}\\n\""),
        format!("oauth.clientsecret = '{CANARY}'"),
        format!("oauth.client_secret = {CANARY}"),
        format!("oauth.client_secret = '{CANARY}"),
        CANARY.to_owned(),
        format!("oauth.client_secret = ['{CANARY}']"),
        format!("oauth.headers = '{CANARY}'"),
        format!("oauth.headers.X = ['{CANARY}']"),
        format!("oauth.headers.X = '{CANARY}ä'"),
        format!("oauth.headers.Authorization = '{CANARY}'"),
        format!("upstream.url = 'https://me:{CANARY}@a.example'"),
        format!("upstream.url = 'https://a.example/?key={CANARY}'"),
        format!("outbound.proxy = 'https://me:{CANARY}@a.example'"),
        format!("guard.client_keys = ['{CANARY}']"),
        format!("store.keys = ['{CANARY}']"),
        format!("store.keys = '{CANARY}'"),
        format!("[store]\nkind = 'postgres'\nurl = 'mysql://me:{CANARY}@db'"),
        format!("admin.key = '{CANARY} {CANARY}'"),
    ];
    for toml in bad {
        // The secret in the environment would replace the one in the file.
        let environment = if toml.contains("oauth.client_secret =") { &CLIENT[..1] } else { &CLIENT[..] };
        let error = Files::new().load(&toml, environment).map(drop).expect_err(&toml);
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    }
    for (name, value) in [
        ("BEARER_PROXY_OAUTH__HEADERS", format!("{{ A = {CANARY} }}")),
        ("BEARER_PROXY_OAUTH__HEADERS", CANARY.to_owned()),
        ("BEARER_PROXY_OAUTH__REFRESH_TOKEN", format!("{CANARY}ä")),
        ("BEARER_PROXY_OAUTH__SECRET", CANARY.to_owned()),
        ("HTTPS_PROXY", format!("socks5://me:{CANARY}@a")),
    ] {
        let error = load("", &[(name, &value)]).map(drop).expect_err(name);
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    }
}
