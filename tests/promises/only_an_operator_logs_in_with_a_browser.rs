//! The login in the browser works, and no other page and no other service on the machine can start, end, repeat, fixate or read one.
//!
//! Each request is sent as a browser would send it for the page that attacks.

use std::net::SocketAddr;

use serde_json::Value;
use simulator::{Options, Simulator};
use testkit::Proxy;
use url::Url;

use crate::browser::{Events, OWN, Page, ask};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A proxy, and the browser of its operator.
struct Site {
    simulator: Simulator,
    proxy: Proxy,
    admin: SocketAddr,
}

/// A login that the operator has started.
struct Login {
    authorize_url: Url,
    /// `name=value`
    cookie: String,
}

impl Site {
    async fn new() -> Self {
        let simulator = Simulator::start(Options::league8()).await.unwrap();
        let setup = Proxy::before(&simulator).set("ADMIN__KEY", KEY);
        let proxy = setup.set("OAUTH__AUTHORIZE_URL", simulator.authorize_url()).start().await;
        proxy.ready().await;
        let admin = proxy.admin_address();
        Self { simulator, proxy, admin }
    }

    /// As the operator's page asks.
    async fn own(&self, line: &str, fields: &str, body: &str) -> Page {
        let origin = format!("Origin: http://{}\r\n{OWN}Authorization: Bearer {KEY}\r\n", self.admin);
        ask(self.admin, &self.admin.to_string(), line, &format!("{origin}{fields}"), body).await
    }

    async fn begin(&self) -> Login {
        let page = self.own("POST /login", "", "").await;
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(page.json()["callback"], true, "{page:?}");
        let set = page.field("set-cookie");
        let attributes = "; Path=/callback; Max-Age=600; HttpOnly; SameSite=Lax";
        assert!(set.starts_with(&format!("bp_login_{}=", self.admin.port())) && set.ends_with(attributes), "{set}");
        let authorize_url = page.json()["authorize_url"].as_str().unwrap().parse().unwrap();
        Login { authorize_url, cookie: set.split(';').next().unwrap().to_owned() }
    }

    /// Where the authorization server sends the browser.
    async fn redirect(&self, url: &Url) -> String {
        let line = format!("GET {}?{}", url.path(), url.query().unwrap());
        let page = ask(self.simulator.address(), url.authority(), &line, "", "").await;
        let location: Url = page.field("location").parse().unwrap();
        assert_eq!(location.authority(), self.admin.to_string());
        format!("{}?{}", location.path(), location.query().unwrap())
    }

    /// The browser follows a redirect or a link to this path, with these cookies.
    async fn navigate(&self, target: &str, cookies: &str) -> Page {
        let fields = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
        let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
        ask(self.admin, &self.admin.to_string(), &format!("GET {target}"), &format!("{fields}{cookies}"), "").await
    }

    async fn generation(&self) -> u64 {
        self.proxy.status().await["generation"].as_u64().unwrap()
    }

    fn lineage(&self) -> Value {
        self.proxy.setup().document()["lineage"].clone()
    }

    /// Nobody else has disturbed the login.
    async fn completes(&self, login: &Login) {
        let before = self.lineage();
        let target = self.redirect(&login.authorize_url).await;
        let page = self.navigate(&target, &login.cookie).await;
        assert_eq!((page.status, page.field("location")), (303, "/"), "{page:?}");
        assert_ne!(self.lineage(), before);
    }

    async fn last(&self) -> Value {
        let mut events = Events::open(self.admin, &format!("Authorization: Bearer {KEY}\r\n")).await;
        events.next().await.1["login"]["last"].clone()
    }
}

fn refused(page: &Page, status: u16, kind: &str) {
    assert_eq!((page.status, page.problem().as_str()), (status, kind), "{page:?}");
    assert!(page.headers.get("access-control-allow-origin").is_none(), "{page:?}");
}

#[tokio::test]
async fn a_click_stores_a_new_grant_before_the_browser_is_sent_on() {
    let site = Site::new().await;
    let (lineage, generation) = (site.lineage(), site.generation().await);
    let login = site.begin().await;
    let target = site.redirect(&login.authorize_url).await;
    let page = site.navigate(&target, &login.cookie).await;
    assert_eq!((page.status, page.field("location")), (303, "/"), "{page:?}");
    assert_eq!((page.field("cache-control"), page.field("referrer-policy")), ("no-store", "no-referrer"));
    assert!(page.field("set-cookie").contains("=; Path=/callback; Max-Age=0;"), "{page:?}");
    // Stored by now, and adopted within a second.
    assert_ne!(site.lineage(), lineage);
    site.proxy.wait_for_status("renewed", |status| status["generation"].as_u64() > Some(generation)).await;
    assert_eq!(site.proxy.get("/api/v2/version").await.status, 200);
    assert_eq!(site.last().await["ok"], true);
    assert!(!site.proxy.log().join("\n").contains("code="));
    site.proxy.stop().await;
}

/// The redirect of another host does not arrive.
#[tokio::test]
async fn a_redirect_that_does_not_arrive_is_pasted() {
    let site = Site::new().await;
    let host = format!("localhost:{}", site.admin.port());
    let own = format!("Origin: http://{host}\r\n{OWN}Authorization: Bearer {KEY}\r\n");
    for part in ["url", "code"] {
        let lineage = site.lineage();
        let begun = ask(site.admin, &host, "POST /login", &own, "").await.json();
        assert_eq!(begun["callback"], false, "{begun}");
        let url: Url = begun["authorize_url"].as_str().unwrap().parse().unwrap();
        let line = format!("GET {}?{}", url.path(), url.query().unwrap());
        let location = ask(site.simulator.address(), url.authority(), &line, "", "").await;
        let location: Url = location.field("location").parse().unwrap();
        let code = location.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
        let input = if part == "url" { location.to_string() } else { code };
        let body = serde_json::json!({ "input": input }).to_string();
        let page = ask(site.admin, &host, "POST /login/code", &own, &body).await;
        assert_eq!((page.status, &page.json()["ok"]), (200, &true.into()), "{page:?}");
        assert_ne!(site.lineage(), lineage, "{part}");
        refused(&ask(site.admin, &host, "POST /login/code", &own, &body).await, 400, "login-unknown");
    }
    let bad = site.own("POST /login/code", "", r#"{"input": "two words"}"#).await;
    refused(&bad, 400, "bad-request");
    refused(&site.own("POST /login/code", "", "{").await, 400, "bad-request");
    site.proxy.stop().await;
}

#[tokio::test]
async fn a_denied_login_says_so_and_changes_nothing() {
    let site = Site::new().await;
    let (lineage, login) = (site.lineage(), site.begin().await);
    let target = site.redirect(&login.authorize_url).await;
    let (_, state) = target.split_once("state=").unwrap();
    let page = site.navigate(&format!("/callback?error=access_denied&state={state}"), &login.cookie).await;
    assert_eq!((page.status, page.field("location")), (303, "/"), "{page:?}");
    let last = site.last().await;
    assert_eq!(last["ok"], false);
    assert!(last["message"].as_str().is_some_and(|text| text.starts_with("access was denied")), "{last}");
    assert_eq!(site.lineage(), lineage);
    site.proxy.stop().await;
}

#[tokio::test]
async fn without_a_key_there_is_no_login_on_the_loopback() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).set("OAUTH__AUTHORIZE_URL", simulator.authorize_url());
    let proxy = setup.start().await;
    proxy.ready().await;
    let admin = proxy.admin_address();
    let own = format!("Origin: http://{admin}\r\n{OWN}");
    let page = ask(admin, &admin.to_string(), "POST /login", &own, "").await;
    refused(&page, 403, "login-not-offered");
    assert!(page.json()["detail"].as_str().is_some_and(|detail| detail.contains("bearer-proxy login")), "{page:?}");
    proxy.stop().await;
}

/// A page of another site, and one of another port of this host, which is same-site.
fn foreign(admin: SocketAddr) -> [String; 3] {
    [
        "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n".to_owned(),
        format!("Origin: http://{}:3000\r\nSec-Fetch-Site: same-site\r\n", admin.ip()),
        // Without `Origin`: an image or a form of an old browser.
        "Sec-Fetch-Site: same-site\r\n".to_owned(),
    ]
}

#[tokio::test]
async fn attack_start_a_login() {
    let site = Site::new().await;
    let host = site.admin.to_string();
    for fields in foreign(site.admin) {
        // Even with a key that it has learned.
        let with_key = format!("{fields}Authorization: Bearer {KEY}\r\nContent-Type: text/plain\r\n");
        refused(&ask(site.admin, &host, "POST /login", &with_key, "").await, 403, "foreign-origin");
    }
    // A service on the machine is no browser, and has no key.
    refused(&ask(site.admin, &host, "POST /login", "", "").await, 401, "admin-key-required");
    site.proxy.stop().await;
}

#[tokio::test]
async fn attack_end_a_login() {
    let site = Site::new().await;
    let (lineage, login) = (site.lineage(), site.begin().await);
    // The page sends the operator's browser here, which adds the cookie. It does not know the state.
    let code = site.simulator.code("http://127.0.0.1/callback", None);
    for target in [
        format!("/callback?code={code}&state=guess"),
        format!("/callback?code={code}"),
        "/callback?error=access_denied&state=guess".to_owned(),
        "/callback?error=access_denied".to_owned(),
        "/callback".to_owned(),
    ] {
        refused(&site.navigate(&target, &login.cookie).await, 400, "login-unknown");
    }
    let body = serde_json::json!({ "input": code }).to_string();
    let host = site.admin.to_string();
    for fields in foreign(site.admin) {
        refused(&ask(site.admin, &host, "POST /login/code", &fields, &body).await, 403, "foreign-origin");
    }
    refused(&ask(site.admin, &host, "POST /login/code", "", &body).await, 401, "admin-key-required");
    let target = site.redirect(&login.authorize_url).await;
    let body = ask(site.admin, &host, &format!("DELETE {target}"), &format!("Cookie: {}\r\n", login.cookie), "").await;
    refused(&body, 401, "admin-key-required");
    assert_eq!((site.lineage(), site.last().await), (lineage, Value::Null));
    site.completes(&login).await;
    site.proxy.stop().await;
}

#[tokio::test]
async fn attack_replay_a_redirect() {
    let site = Site::new().await;
    let login = site.begin().await;
    let target = site.redirect(&login.authorize_url).await;
    assert_eq!(site.navigate(&target, &login.cookie).await.status, 303);
    let lineage = site.lineage();
    refused(&site.navigate(&target, &login.cookie).await, 400, "login-unknown");
    assert_eq!(site.lineage(), lineage);
    site.proxy.stop().await;
}

/// The code belongs to the attacker's account. It would replace the operator's.
#[tokio::test]
async fn attack_fixate_a_login() {
    let site = Site::new().await;
    let lineage = site.lineage();
    let login = site.begin().await;
    let target = site.redirect(&login.authorize_url).await;
    // Another browser has no cookie of this login.
    refused(&site.navigate(&target, "").await, 400, "login-unknown");
    let other = site.begin().await;
    refused(&site.navigate(&target, &other.cookie).await, 400, "login-unknown");
    // A service on the host has read the cookie, and somehow the state: its own code has another challenge.
    let (_, state) = target.split_once("state=").unwrap();
    let code = site
        .simulator
        .code(&format!("http://{}/callback", site.admin), Some("another-challenge-of-the-attacker-0123456789"));
    let page = site.navigate(&format!("/callback?code={code}&state={state}"), &login.cookie).await;
    assert_eq!(page.status, 303);
    assert_eq!((site.last().await["ok"].clone(), site.lineage()), (false.into(), lineage));
    site.completes(&other).await;
    site.proxy.stop().await;
}

#[tokio::test]
async fn attack_overwrite_the_cookie() {
    let site = Site::new().await;
    let login = site.begin().await;
    let target = site.redirect(&login.authorize_url).await;
    let name = login.cookie.split('=').next().unwrap();
    for cookies in
        [format!("{name}=evil"), format!("{name}="), format!("x{}", login.cookie), format!("{}x", login.cookie)]
    {
        refused(&site.navigate(&target, &cookies).await, 400, "login-unknown");
    }
    // A second cookie of another path is sent too.
    let page = site.navigate(&target, &format!("{name}=evil; a=b; {}", login.cookie)).await;
    assert_eq!(page.status, 303, "{page:?}");
    site.proxy.stop().await;
}

#[tokio::test]
async fn attack_read_a_login_the_status_or_the_events() {
    let site = Site::new().await;
    let login = site.begin().await;
    let host = site.admin.to_string();
    for path in ["/status", "/events", "/config", "/metrics", "/readyz", "/assets/app.js"] {
        for fields in foreign(site.admin) {
            let with_key = format!("{fields}Authorization: Bearer {KEY}\r\n");
            refused(&ask(site.admin, &host, &format!("GET {path}"), &with_key, "").await, 403, "foreign-origin");
        }
    }
    for path in ["/status", "/events", "/config", "/metrics"] {
        refused(&ask(site.admin, &host, &format!("GET {path}"), "", "").await, 401, "admin-key-required");
    }
    // Not even the page learns what a login waits for.
    let mut events = Events::open(site.admin, &format!("Authorization: Bearer {KEY}\r\n")).await;
    let page = events.next().await.1.to_string();
    let state = login.authorize_url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let cookie = login.cookie.split('=').nth(1).unwrap();
    for secret in [state.as_str(), cookie, KEY] {
        assert!(!page.contains(secret), "{page}");
    }
    site.proxy.stop().await;
}

#[tokio::test]
async fn attack_frame_the_page() {
    let site = Site::new().await;
    let fields = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n";
    let page = ask(site.admin, &site.admin.to_string(), "GET /", fields, "").await;
    assert_eq!(page.field("x-frame-options"), "DENY");
    assert!(page.field("content-security-policy").contains("frame-ancestors 'none'"), "{page:?}");
    assert_eq!(page.field("cross-origin-opener-policy"), "same-origin");
    site.proxy.stop().await;
}

/// The name of the attacker's page has become an address of this listener.
#[tokio::test]
async fn attack_rebind_a_name() {
    let site = Site::new().await;
    let host = format!("rebound.example:{}", site.admin.port());
    let own = format!("Origin: http://{host}\r\n{OWN}Authorization: Bearer {KEY}\r\n");
    for line in
        ["GET /", "GET /status", "GET /events", "GET /callback?code=c&state=s", "POST /login", "POST /login/code"]
    {
        refused(&ask(site.admin, &host, line, &own, "").await, 421, "misdirected-request");
    }
    site.proxy.stop().await;
}

/// A browser reaches a unix socket through a forwarded port, where no key is needed.
#[tokio::test]
async fn attack_rebind_a_name_to_a_forwarded_unix_socket() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).set("OAUTH__AUTHORIZE_URL", simulator.authorize_url());
    let socket = setup.folder().join("admin.sock");
    let started = setup.unset("ADMIN__LISTEN").set("ADMIN__LISTEN", format!("unix:{}", socket.display())).spawn();
    let ask = async |host: &str, line: &str| {
        let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let mut raw = testkit::raw::Raw::new(Box::new(stream));
        raw.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\r\n"))
            .await;
        raw.read_answer().await
    };
    testkit::within(async {
        while !socket.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    for line in ["GET /status", "POST /login"] {
        assert_eq!(ask("rebound.example:8000", line).await.problem(), "misdirected-request", "{line}");
    }
    // The operator's own forwarded port.
    let begun = ask("127.0.0.1:8000", "POST /login").await;
    assert_eq!((begun.status.as_u16(), &begun.json()["callback"]), (200, &true.into()));
    assert!(begun.field("set-cookie").starts_with("bp_login_8000="));
    let request = ask("localhost:8000", "GET /status").await;
    assert_eq!(request.status.as_u16(), 200);
    started.kill().await;
}

/// A browser sends the cookie to every port of the host.
#[tokio::test]
async fn the_upstream_never_sees_the_cookie() {
    let stage = testkit::stage::Stage::plain(|setup| setup.set("GUARD__PASS_COOKIES", "true")).await;
    let mut record = stage.origin.record("/seen");
    let mut raw = stage.raw().await;
    let cookie = format!("a=1; bp_login_{}=secret; b=2", stage.proxy.admin_address().port());
    raw.send(format!("GET /seen HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n")).await;
    assert_eq!(raw.read_answer().await.status, 200);
    assert_eq!(record.recv().await.unwrap().values("cookie"), ["a=1; b=2"]);
    stage.proxy.stop().await;
}
