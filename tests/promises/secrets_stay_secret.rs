//! Every place for a secret holds a canary, and the log level is `trace`. No output contains a canary.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use simulator::{Client as Registered, Fault, Kind, Options, Revocation, Simulator};

use testkit::{Proxy, output};

use crate::browser::Events;

const SECRET: &str = "canary-client-secret-7c1f";
const ADMIN_KEY: &str = "canary-admin-key-91ab";
const CLIENT_TOKEN: &str = "canary-client-authorization-55de";
const COOKIE: &str = "canary-cookie-0f3a";
const QUERY: &str = "canary-query-a7b2";

#[tokio::test]
async fn no_output_holds_a_secret() {
    let client = Registered { secret: Some(SECRET.into()), ..Registered::default() };
    let simulator = Simulator::start(Options { clients: vec![client], ..Options::league8() }).await.unwrap();
    let grant = simulator.grant();
    let mut canaries =
        vec![SECRET.to_owned(), ADMIN_KEY.to_owned(), CLIENT_TOKEN.to_owned(), COOKIE.to_owned(), QUERY.to_owned()];
    canaries.extend([grant.access_token.clone(), grant.refresh_token.clone()]);
    let setup = Proxy::without_grant(&simulator)
        .set("OAUTH__CLIENT_SECRET", SECRET)
        .set("OAUTH__REFRESH_TOKEN", &grant.refresh_token)
        .set("ADMIN__KEY", ADMIN_KEY)
        .set("LOG__LEVEL", "trace")
        .set("LOG__REQUESTS", "all");
    let mut printed = Vec::new();
    for arguments in [&["--help"][..], &["serve", "--help"], &["config"], &["status"], &["status", "--json"]] {
        let (_, out, err) = output(setup.command(arguments)).await;
        printed.extend([out, err]);
    }

    let proxy = setup.start().await;
    proxy.ready().await;
    let mut store = vec![std::fs::read_to_string(proxy.setup().store()).unwrap()];
    let faults = [
        None,
        Some(Fault::answer_lost()),
        Some(Fault::html_502()),
        Some(Fault::html_200()),
        Some(Fault::half_json()),
        Some(Fault::throttled(None)),
        Some(Fault::redirect(302, "https://elsewhere.example/")),
        Some(Fault::access_token("with\u{7}control")),
    ];
    for fault in faults {
        simulator.revoke(Revocation::All(Kind::Access));
        if let Some(fault) = fault {
            simulator.fault(fault);
        }
        let ask = |method: Method, path: &str| {
            Request::builder()
                .method(method)
                .uri(path)
                .header("authorization", format!("Bearer {CLIENT_TOKEN}"))
                .header("cookie", format!("session={COOKIE}"))
                .body(Full::default())
                .unwrap()
        };
        let path = format!("/api/v2/version?key={QUERY}");
        for request in [ask(Method::GET, &path), ask(Method::TRACE, &path)] {
            let answer = proxy.http1().await.send(request).await.unwrap();
            printed.push(answer.text());
            printed.push(format!("{:?}", answer.headers));
        }
        for (method, path) in [
            (Method::POST, "/refresh"),
            (Method::GET, "/status"),
            (Method::GET, "/readyz"),
            (Method::GET, "/metrics"),
            (Method::GET, "/livez"),
            (Method::GET, "/config"),
        ] {
            let answer = proxy.admin(method, path).await;
            printed.push(answer.text());
            printed.push(format!("{:?}", answer.headers));
        }
        // The page's document has the text of every problem so far.
        let mut events = Events::open(proxy.admin_address(), &format!("Authorization: Bearer {ADMIN_KEY}\r\n")).await;
        let page = events.next().await.1;
        assert_eq!(page["status"]["grant"], "refresh_token");
        printed.push(page.to_string());
        store.push(std::fs::read_to_string(proxy.setup().store()).unwrap());
    }
    for arguments in [&["status"][..], &["status", "--json"], &["refresh"]] {
        let admin = proxy.admin_address();
        let mut command = proxy.setup().command(arguments);
        command.env("BEARER_PROXY_ADMIN__LISTEN", admin.to_string());
        let (_, out, err) = output(command).await;
        printed.extend([out, err]);
    }
    assert!(!proxy.log().is_empty());
    printed.extend(proxy.log());
    proxy.stop().await;

    // Every token that the store ever held is secret too.
    for document in &store {
        canaries.extend(tokens_in(document));
    }
    assert!(canaries.len() > 8, "the store held the tokens that were looked for");
    for canary in &canaries {
        for text in &printed {
            assert!(!text.contains(canary.as_str()), "{canary} stands in: {text}");
        }
    }
}

/// The keys of the store and of clients. The sealed store would hide the tokens that the other test looks for.
#[tokio::test]
async fn no_output_holds_a_key() {
    const STORE_KEY: &str = "Y2FuYXJ5LXN0b3JlLWtleS1vZi0zMi1ieXRlcy0tLS0=";
    const CLIENT_KEY: &str = "canary-client-key-3b8e6d1f";
    let digest = "5ff1b2ed3ab0dd6b66ef2ea5c7c2ad18bb1e5ebcfe3c0ad7c0f9a3a2dd8dd2cb";
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let grant = simulator.grant();
    let proxy = Proxy::without_grant(&simulator)
        .set("OAUTH__REFRESH_TOKEN", &grant.refresh_token)
        .set("STORE__KEYS", STORE_KEY)
        .set("GUARD__CLIENT_KEYS", digest)
        .set("LOG__LEVEL", "trace")
        .set("LOG__REQUESTS", "all")
        .start()
        .await;
    proxy.ready().await;
    let mut printed = vec![std::fs::read_to_string(proxy.setup().store()).unwrap()];
    for name in ["x-proxy-key", "authorization"] {
        let key = if name == "authorization" { format!("Bearer {CLIENT_KEY}") } else { CLIENT_KEY.to_owned() };
        let request = Request::builder().uri("/api/v2/version").header(name, key).body(Full::default()).unwrap();
        let answer = proxy.http1().await.send(request).await.unwrap();
        assert_eq!(answer.problem(), "client-key-required", "the digest is another's");
        printed.push(answer.text());
    }
    for path in ["/status", "/readyz", "/metrics"] {
        printed.push(proxy.admin(Method::GET, path).await.text());
    }
    let (_, out, err) = output(proxy.setup().command(&["config"])).await;
    printed.extend([out, err]);
    printed.extend(proxy.log());
    proxy.stop().await;
    for canary in [STORE_KEY, CLIENT_KEY, &grant.refresh_token, &grant.access_token] {
        for text in &printed {
            assert!(!text.contains(canary), "{canary} stands in: {text}");
        }
    }
}

/// Every text of a stored document that looks like a token.
fn tokens_in(document: &str) -> Vec<String> {
    document
        .split('"')
        .filter(|text| text.starts_with("eyJ") || text.starts_with("def502"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_secret_that_every_user_may_read_is_named_with_its_mode_at_the_start_and_at_a_reload() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::before(&simulator).unset("OAUTH__CLIENT_SECRET");
    let secret = setup.folder().join("secret");
    fs::write(&secret, simulator::CLIENT_SECRET).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    let proxy = setup.set("OAUTH__CLIENT_SECRET_FILE", secret.display()).start().await;
    let warnings = || {
        let expected = format!("every user of this machine may read {} (mode 0644)", secret.display());
        proxy.log().into_iter().filter(|line| line.contains("\"WARN\"") && line.contains(&expected)).count()
    };
    assert_eq!(warnings(), 1, "{:#?}", proxy.log());
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_for_log("a reload", |line| line.to_string().contains("the configuration was read again")).await;
    assert_eq!(warnings(), 2, "{:#?}", proxy.log());
    proxy.stop().await;
}

/// Root owns the `/proc` entries of a process that cannot be dumped, whoever runs it.
#[tokio::test]
#[allow(clippy::print_stdout, reason = "a test that is not run says so")]
async fn no_process_with_secrets_can_be_dumped() {
    const USER: u32 = 61_001;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    // Cargo's own directory may be closed to another user.
    let program = folder.path().join("program");
    fs::copy(testkit::program(), &program).unwrap();
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Proxy::without_grant(&simulator)
        .program(program.display().to_string())
        .set("OAUTH__GRANT", "client_credentials")
        .set("STORE__KIND", "memory")
        .unset("STORE__PATH");
    // `import` waits for its input, and `wait` for a proxy.
    for words in [&["serve"][..], &["import"], &["wait", "--timeout", "60s"]] {
        let mut command = setup.command(words);
        if words == ["import"] {
            command.env("BEARER_PROXY_OAUTH__GRANT", "refresh_token").env("BEARER_PROXY_STORE__KIND", "file");
        }
        if rustix::process::geteuid().is_root() {
            command.uid(USER).gid(USER);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let environ = format!("/proc/{}/environ", process.id().unwrap());
        let protected = async {
            while fs::metadata(&environ).unwrap().uid() != 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(30), protected).await;
        assert!(process.try_wait().unwrap().is_none(), "{words:?} ended");
        outcome.unwrap_or_else(|_| panic!("{words:?} can be dumped"));
        process.kill().await.unwrap();
    }
}
