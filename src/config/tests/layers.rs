use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use crate::config::{Config, KEYS, ListenAddress, Sources};

use super::{CLIENT, Files, effective, load};

#[test]
fn the_environment_is_over_the_file_is_over_the_profile_is_over_the_default() {
    let toml = "via = 'file'\n[upstream]\nurl = 'https://file.example'\nconnect_timeout = '7s'";
    let loaded = load(toml, &[("BEARER_PROXY_UPSTREAM__CONNECT_TIMEOUT", "8s")]).unwrap();
    let shown: Vec<_> = effective(&loaded).into_iter().map(|line| line.replace(&*file_of(&loaded), "FILE")).collect();
    for expected in [
        r#"profile = Text("passolution") (default)"#,
        r#"via = Text("file") (file FILE line 1)"#,
        r#"upstream.url = Text("https://file.example") (file FILE line 3)"#,
        r#"upstream.connect_timeout = Text("8s") (environment BEARER_PROXY_UPSTREAM__CONNECT_TIMEOUT)"#,
        r#"oauth.token_url = Text("https://web.passolution.eu/oauth/token") (profile passolution)"#,
    ] {
        assert!(shown.contains(&expected.to_owned()), "{expected} in {shown:#?}");
    }
}

fn file_of(loaded: &crate::config::Loaded) -> String {
    loaded.files.first().unwrap().path().to_string_lossy().into_owned()
}

#[test]
fn an_empty_value_is_an_unset_one_in_every_layer() {
    let toml = "via = ''\nlisten = []\n[upstream]\nconnect_timeout = ''\nmax_in_flight = ''\nheaders = {}\n\
                [guard]\npass_cookies = ''\nhosts = ['']\norigins = []\n[oauth]\nclient_id = 'file'";
    let environment = [("BEARER_PROXY_OAUTH__CLIENT_ID", ""), ("BEARER_PROXY_GUARD__HOSTS", ","), CLIENT[1]];
    let loaded = Files::new().load(toml, &environment).unwrap();
    let config = loaded.config;
    assert_eq!((config.via.as_str(), config.upstream.max_in_flight), ("bearer-proxy", 1024));
    assert!(config.guard.hosts.unwrap().contains(&"localhost".to_owned()) && config.guard.origins.is_empty());
    assert_eq!(config.oauth.grant.endpoint().unwrap().client_id, "file");
}

#[test]
fn headers_merge_by_name_without_regard_to_case() {
    let toml = "[upstream.headers]\nX-One = 'file'\nX-Two = 'file'\nX-Three = 'file'";
    let environment =
        [("BEARER_PROXY_UPSTREAM__HEADERS", r#"{ "x-two" = "environment", X-Four = 'environment', X-Three = "" }"#)];
    let loaded = load(toml, &environment).unwrap();
    let value = |name| loaded.config.upstream.headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(
        (value("x-one"), value("x-two"), value("x-three"), value("x-four")),
        ("file", "environment", "file", "environment")
    );
    assert_eq!(loaded.config.upstream.headers.len(), 4);
}

#[test]
fn parameters_are_a_table_whose_values_are_masked() {
    let toml =
        "oauth.send_scope_on_refresh = true\noauth.parameters = { audience = 'canary-a', resource = 'canary-b' }";
    let environment = [("BEARER_PROXY_OAUTH__PARAMETERS", r#"{ resource = "canary-c" }"#)];
    let loaded = load(toml, &environment).unwrap();
    let endpoint = loaded.config.oauth.grant.endpoint().unwrap();
    let parameters: Vec<_> = endpoint.parameters.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(parameters, [("audience", "canary-a"), ("resource", "canary-c")]);
    assert!(endpoint.scope_on_refresh);
    let shown = effective(&loaded).join("\n");
    assert!(shown.contains("oauth.parameters.audience = Masked"), "{shown}");
    assert!(!shown.contains("canary") && !format!("{endpoint:?}").contains("canary"), "{shown}");
}

#[test]
fn a_list_in_the_environment_is_separated_by_commas() {
    let environment =
        [("BEARER_PROXY_LISTEN", "127.0.0.1:1, unix:/p.sock,"), ("BEARER_PROXY_GUARD__ALLOW", "GET /a,* /b/**")];
    let config = load("listen = '127.0.0.1:9'", &environment).unwrap().config;
    assert_eq!(config.listen, [ListenAddress::parse("127.0.0.1:1").unwrap(), ListenAddress::Unix("/p.sock".into())]);
    assert_eq!(config.guard.allow.unwrap().len(), 2);
}

#[test]
fn a_number_may_be_written_in_every_way_of_toml() {
    for (text, expected) in [("1024", 1024), ("1_000", 1000), ("0x10", 16), ("+5", 5)] {
        let config = load(&format!("upstream.max_in_flight = {text}"), &[]).unwrap().config;
        assert_eq!(config.upstream.max_in_flight, expected, "{text}");
    }
}

#[test]
fn what_kubernetes_injects_for_a_service_is_ignored() {
    let injected = [
        ("BEARER_PROXY_PORT", "tcp://10.0.0.1:80"),
        ("BEARER_PROXY_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("BEARER_PROXY_SERVICE_HOST", "10.0.0.1"),
        ("BEARER_PROXY_SERVICE_PORT_HTTP", "80"),
        // From a Service `bearer-proxy-admin` in the same namespace.
        ("BEARER_PROXY_ADMIN_SERVICE_HOST", "10.0.0.2"),
        ("BEARER_PROXY_ADMIN_SERVICE_PORT", "9901"),
        ("BEARER_PROXY_ADMIN_PORT", "tcp://10.0.0.2:9901"),
        ("BEARER_PROXY_ADMIN_PORT_9901_TCP", "tcp://10.0.0.2:9901"),
        ("BEARER_PROXY_ADMIN_PORT_9901_TCP_PROTO", "tcp"),
        ("BEARER_PROXYLISTEN", "another program's"),
        ("LISTEN", "another program's"),
    ];
    load("", &injected).unwrap();
}

#[test]
fn a_variable_names_the_file_where_no_argument_does() {
    let files = Files::new();
    let named = files.write("named.toml", "via = 'named'");
    let named = named.to_string_lossy().into_owned();
    let environment = [&CLIENT[..], &[("BEARER_PROXY_CONFIG", &named)]].concat();
    let load = |file| Config::load(&Sources::new(file, environment.iter().copied())).unwrap().config.via;
    assert_eq!(load(None), "named");
    assert_eq!(load(Some(files.write("argument.toml", "via = 'argument'"))), "argument");
}

#[test]
fn the_outbound_proxy_defaults_to_what_other_programs_use() {
    let proxy = |toml, environment: &[(&str, &str)]| load(toml, environment).unwrap().config.outbound.proxy;
    let usual = [("https_proxy", "http://proxy:3128"), ("NO_PROXY", "LOCALHOST, *.internal,.corp")];
    let found = proxy("", &usual).unwrap();
    assert_eq!((found.host.as_str(), found.port), ("proxy", 3128));
    assert_eq!(
        ["localhost", "a.internal", "b.corp", "other"].map(|name| found.no_proxy.covers(name, 443)),
        [true, true, true, false]
    );
    assert!(proxy("outbound.proxy = 'off'", &usual).is_none());
    assert_eq!(proxy("outbound.proxy = 'mine:1'", &usual).unwrap().host, "mine");
    assert!(proxy("", &[("HTTPS_PROXY", "")]).is_none());
}

#[test]
fn a_value_that_is_not_unicode_is_an_error_only_if_it_is_ours() {
    let bytes = OsString::from_vec(vec![0xff]);
    let with = |name: &str| {
        let ours = CLIENT.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config::load(&Sources::new(None, ours.chain([(OsString::from(name), bytes.clone())])))
    };
    assert!(with("LS_COLORS").is_ok());
    let error = with("BEARER_PROXY_VIA").unwrap_err().to_string();
    assert!(error.starts_with("via (environment BEARER_PROXY_VIA): invalid value: not UTF-8; expected "), "{error}");
}

/// Texts that resemble accepted values.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC*",
        "[0-9]{0,25}(ms|s|m|h|d|KiB|MiB|GiB|%)?",
        "(https?://)?[a-z0-9.:@/?#%\\[\\]-]{0,20}",
        "(GET|\\*|302)? ?[/*a]{0,10}",
        "\\{ ?[a-zA-Z-]{0,5} ?= ?[\"'a-z]{0,6} ?\\}",
        "\\[?[\"', a-z0-9:]{0,12}\\]?",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_file_panics(toml in "(\\PC|\n){0,200}") {
        let _ = load(&toml, &[]);
    }

    #[test]
    fn no_value_panics(index in 0..KEYS.len(), value in value(), quoted: bool, file: bool) {
        let key = &KEYS[index];
        let suffix = if file { "_FILE" } else { "" };
        let _ = load("", &[(&format!("{}{suffix}", key.variable()), &value)]);
        let literal = if quoted { toml::Value::from(value.as_str()).to_string() } else { value };
        let _ = load(&format!("{} = {literal}", key.name), &[]);
    }
}
