use crate::config::{Config, Sources};

use super::*;

fn load(toml: &str, environment: &[(&str, &str)]) -> crate::config::Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    std::fs::write(&path, toml).unwrap();
    Config::load(&Sources::new(Some(path), environment.iter().copied())).unwrap()
}

const CLIENT: [(&str, &str); 2] =
    [("BEARER_PROXY_OAUTH__CLIENT_ID", "client"), ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "sesame")];

#[test]
fn every_value_has_its_origin() {
    let text = print(&load("", &CLIENT).effective);
    for line in [
        "profile = \"passolution\"  # default",
        "listen = [\"127.0.0.1:8080\"]  # default",
        "[upstream]",
        "url = \"https://api.passolution.eu\"  # profile passolution",
        "max_in_flight = 1024  # default",
        "[oauth]",
        "client_id = \"client\"  # environment BEARER_PROXY_OAUTH__CLIENT_ID",
        "# client_secret = \"***\"  # environment BEARER_PROXY_OAUTH__CLIENT_SECRET",
        "send_redirect_uri_on_refresh = false  # profile passolution",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn what_is_printed_can_be_used_as_a_file() {
    let toml = "profile = 'priava'\nlisten_mode = '0600'\nlisten = ['127.0.0.1:1', 'unix:/a \"b\" #c.sock']\n\
                [oauth]\nredirect_uri = 'https://a.example'\n[oauth.headers]\nTenantRegion = 'EU'\n\
                [upstream.headers]\n\"x.y\" = 'masked'\n[guard]\nallow = ['GET /a/**']\npass_cookies = true\nmax_body_size = 4096";
    let first = load(toml, &CLIENT);
    let printed = print(&first.effective);
    assert!(
        printed.contains("headers.TenantRegion = \"EU\"") && printed.contains("# headers.\"x.y\" = \"***\""),
        "{printed}"
    );
    let again = load(&printed, &[CLIENT[1]]);
    let changed: Vec<_> = first.effective.changes(&again.effective).into_iter().map(|change| change.key).collect();
    assert_eq!(changed, ["upstream.headers"], "what is masked is all that is lost");
}

#[test]
fn a_place_stays_in_its_comment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a\nvia = 'b'");
    std::fs::write(&path, "").unwrap();
    std::fs::write(&path, "via = 'c'").unwrap();
    let loaded = Config::load(&Sources::new(Some(path), CLIENT)).unwrap();
    assert!(print(&loaded.effective).lines().all(|line| line != "via = 'b'"));
}
