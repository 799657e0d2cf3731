use crate::config::Effective;

use super::{CLIENT, Files, load};

fn of(toml: &str) -> Effective {
    load(toml, &[]).unwrap().effective
}

fn changed(old: &Effective, new: &Effective) -> Vec<(&'static str, bool)> {
    old.changes(new).into_iter().map(|change| (change.key, change.needs_restart)).collect()
}

#[test]
fn a_changed_key_is_named_and_whether_it_needs_a_restart() {
    let old = of("via = 'a'\nlisten = '127.0.0.1:1'\n[upstream.headers]\nX-A = 'a'\nX-B = 'b'");
    assert_eq!(
        changed(&old, &of("[upstream.headers]\nX-A='a'\nX-B='b'\n[upstream]\n")),
        [("listen", true), ("via", false)]
    );
    let other = "via = 'a'\nlisten = '127.0.0.1:1'\n[upstream.headers]\n";
    for headers in ["X-A = 'a'", "X-A = 'a'\nX-B = 'c'", "X-A = 'a'\nX-B = 'b'\nX-C = 'c'"] {
        assert_eq!(changed(&old, &of(&format!("{other}{headers}"))), [("upstream.headers", false)], "{headers}");
    }
}

#[test]
fn a_value_that_only_moved_is_no_change() {
    let old = of("via = 'a'\nlisten = '127.0.0.1:1'");
    let new = load("", &[("BEARER_PROXY_VIA", "a"), ("BEARER_PROXY_LISTEN", "127.0.0.1:1")]).unwrap().effective;
    assert_eq!(changed(&old, &new), []);
}

#[test]
fn a_changed_secret_is_told_without_keeping_it() {
    let with =
        |secret| Files::new().load("", &[CLIENT[0], ("BEARER_PROXY_OAUTH__CLIENT_SECRET", secret)]).unwrap().effective;
    assert_eq!(changed(&with("a"), &with("a")), []);
    assert_eq!(changed(&with("a"), &with("b")), [("oauth.client_secret", false)]);
}

#[test]
fn a_secret_whose_file_changed_is_a_change() {
    let files = Files::new();
    let load = || files.load("oauth.client_id = 'x'\noauth.client_secret_file = 'DIR/secret'", &[]).unwrap();
    files.write("secret", "a\n");
    let old = load();
    files.write("secret", "b\n");
    let new = load();
    assert_eq!(changed(&old.effective, &new.effective), [("oauth.client_secret", false)]);
    assert_eq!(new.config.oauth.grant.endpoint().unwrap().client_secret.as_ref().unwrap().expose(), "b");
}

#[test]
fn a_list_is_not_its_items_joined() {
    let hosts = |list: &str| of(&format!("guard.hosts = {list}"));
    assert_eq!(changed(&hosts("['ab', 'c']"), &hosts("['a', 'bc']")), [("guard.hosts", false)]);
}
