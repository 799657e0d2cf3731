//! Each failure has its own message, ends with exit code 1, in time, and leaves the old grant alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use simulator::{Act, Client, DeadCode, Fault, Options, Simulator, Step, Target, TokenError};
use tokio_rustls::rustls;

use crate::program::{Ended, Login, Setup};
use crate::{STDINS, Stdin, browser, expected};

/// A server, a grant from before, and one run for each kind of standard input.
struct Case {
    name: &'static str,
    stdin: Stdin,
    simulator: Simulator,
    setup: Setup,
    names: Vec<(String, &'static str)>,
}

async fn cases(name: &'static str, options: Options) -> Vec<Case> {
    let mut cases = Vec::new();
    for stdin in STDINS {
        let simulator = Simulator::start(options.clone()).await.unwrap();
        let setup = Setup::new(&simulator).with_old_grant();
        cases.push(Case { name, stdin, simulator, setup, names: Vec::new() });
    }
    cases
}

impl Case {
    fn login(&self, options: &[&str]) -> Login {
        self.setup.login(self.stdin, options)
    }

    /// Ends as it must: exit code 1, no token in the text, the old grant as it was, and the kept output.
    async fn fails(&self, login: Login) -> Ended {
        let old = std::fs::read(self.setup.store()).unwrap();
        let ended = login.ended().await;
        assert_eq!(ended.code, 1, "{}: {}", self.name, ended.text);
        assert_eq!(std::fs::read(self.setup.store()).unwrap(), old, "{}: the old grant has changed", self.name);
        let names: Vec<_> = self.names.iter().map(|(found, name)| (found.as_str(), *name)).collect();
        expected::check(self.name, self.stdin, &ended, &self.simulator, &self.setup, &names);
        expected::holds_no_secret(&ended.text, &["old-refresh"]);
        ended
    }
}

#[tokio::test]
async fn a_denial_ends_the_login_within_a_second() {
    for case in cases("denied", Options::league8()).await {
        case.simulator
            .fault(Fault::new(Target::Authorize, Step::BeforeBody, Act::Error(TokenError::AccessDenied)).forever());
        let mut login = case.login(&[]);
        let url = login.url().await;
        let back = browser::redirect(&url).await;
        let denied = Instant::now();
        let page = browser::open(&back).await;
        assert_eq!(page.status, 400);
        case.fails(login).await;
        assert!(denied.elapsed() < Duration::from_secs(1), "{:?}", denied.elapsed());
    }
}

#[tokio::test]
async fn a_forged_response_is_ignored_counted_and_reported() {
    for case in cases("forged", Options::league8()).await {
        // Long enough for three requests on a loaded machine. The end of the wait reports them too, as an interrupt does.
        let timeout = if case.stdin == Stdin::Closed { "10s" } else { "10m" };
        let mut login = case.login(&["--timeout", timeout]);
        let mut back = browser::redirect(&login.url().await).await;
        for forged in ["error=access_denied", "code=forged&state=forged"] {
            back.set_query(Some(forged));
            let page = browser::open(&back).await;
            assert!(page.status == 400 && page.body.contains("was ignored"), "{page:?}");
        }
        back.set_path("/favicon.ico");
        assert_eq!(browser::open(&back).await.status, 404);
        assert!(!login.has_ended());
        if case.stdin != Stdin::Closed {
            login.signal(Signal::TERM);
        }
        case.fails(login).await;
    }
}

#[tokio::test]
async fn nobody_is_waited_for_without_an_end() {
    for case in cases("timeout", Options::league8()).await {
        let ended = case.fails(case.login(&["--timeout", "500ms"])).await;
        assert!(ended.after >= Duration::from_millis(500));
    }
}

/// A pipe that nobody writes to.
#[tokio::test]
async fn a_file_that_blocks_does_not_hold_up_the_end() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let mut login = Setup::new(&simulator).login(Stdin::Pipe, &["--from-file", "/dev/stdin"]);
    login.says("Then write").await;
    login.signal(Signal::INT);
    let ended = login.ended().await;
    assert!(ended.code == 1 && ended.text.contains("the login was interrupted (SIGINT)"), "{}", ended.text);
}

#[tokio::test]
async fn an_interrupt_is_a_failure() {
    for case in cases("interrupted", Options::league8()).await {
        let mut login = case.login(&[]);
        login.url().await;
        login.says("waits for 10m.").await;
        match case.stdin {
            Stdin::Terminal => {
                login.says("Nothing is shown.").await;
                login.keys(b"\x03");
            }
            Stdin::Pipe => login.signal(Signal::INT),
            Stdin::Closed => login.signal(Signal::TERM),
        }
        case.fails(login).await;
    }
}

#[tokio::test]
async fn a_dead_code_is_told_as_such() {
    for options in [Options::league8(), Options::league9()] {
        let name = if options.flavour == simulator::Flavour::League8 { "dead_code_8" } else { "dead_code_9" };
        for case in cases(name, options).await {
            let fault = Act::Error(TokenError::Code(DeadCode::Expired));
            case.simulator.fault(Fault::token(Step::BeforeCommit, fault));
            let mut login = case.login(&[]);
            let back = browser::redirect(&login.url().await).await;
            let page = browser::open(&back).await;
            assert!(page.status == 400 && page.body.contains("did not succeed"), "{page:?}");
            case.fails(login).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_client_secret_is_told_as_such() {
    for mut case in cases("wrong_secret", Options::league8()).await {
        case.setup = case.setup.set("OAUTH__CLIENT_SECRET", "canary-secret");
        let mut login = case.login(&[]);
        let back = browser::redirect(&login.url().await).await;
        assert_eq!(browser::open(&back).await.status, 400);
        let ended = case.fails(login).await;
        expected::holds_no_secret(&ended.text, &["canary-secret"]);
    }
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_registered_is_found_without_the_browser() {
    let client = Client { redirect_uris: vec!["https://app.example/callback".into()], ..Client::default() };
    for case in cases("not_registered", Options { clients: vec![client], ..Options::league8() }).await {
        let login = case.login(&[]);
        case.fails(login).await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_told_with_its_owner() {
    for mut case in cases("port_in_use", Options::league8()).await {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port().to_string();
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        case.names = vec![
            (format!("{} (process {})", comm.trim(), std::process::id()), "NAME (process PID)"),
            (port.clone(), "PORT"),
        ];
        let ended = case.fails(case.login(&["--port", &port])).await;
        // Found before anything else is shown.
        assert!(!ended.text.contains("/oauth/authorize"), "{}", ended.text);
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_told_at_once() {
    for case in cases("server_down", Options::league8()).await {
        case.simulator.stop_listening().await;
        case.fails(case.login(&[])).await;
    }
}

#[tokio::test]
async fn a_response_without_a_refresh_token_stores_nothing() {
    for case in cases("no_refresh_token", Options::league8()).await {
        let without = Act::Edit(vec![("refresh_token".to_owned(), None)]);
        case.simulator.fault(Fault::token(Step::AfterCommit, without));
        let mut login = case.login(&[]);
        let back = browser::redirect(&login.url().await).await;
        assert_eq!(browser::open(&back).await.status, 400);
        case.fails(login).await;
    }
}

#[tokio::test]
async fn an_exchange_without_an_answer_is_told_as_unclear() {
    for case in cases("unclear", Options::league8()).await {
        case.simulator.fault(Fault::token(Step::AfterCommit, Act::Close));
        let mut login = case.login(&[]);
        let back = browser::redirect(&login.url().await).await;
        assert_eq!(browser::open(&back).await.status, 400);
        case.fails(login).await;
    }
}

#[tokio::test]
async fn pasting_without_anything_to_paste_from_says_so() {
    for case in cases("input_ended", Options::league8()).await {
        let mut login = case.login(&["--paste"]);
        login.url().await;
        match case.stdin {
            Stdin::Terminal => {
                login.says("Nothing is shown.").await;
                login.keys(b"\x04");
            }
            Stdin::Pipe => login.end_input(),
            Stdin::Closed => {}
        }
        case.fails(login).await;
    }
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_found_before_the_login() {
    for mut case in cases("no_store", Options::league8()).await {
        let missing = case.setup.folder().join("missing/grant.json");
        case.setup = case.setup.set("STORE__PATH", missing.to_str().unwrap());
        let ended = case.fails(case.login(&[])).await;
        assert!(!ended.text.contains("/oauth/authorize"), "{}", ended.text);
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_as_such() {
    let authority = rcgen::CertifiedIssuer::self_signed(
        {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params
        },
        rcgen::KeyPair::generate().unwrap(),
    )
    .unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2200, 1, 1), rcgen::date_time_ymd(2201, 1, 1));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let tls = tls.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    for mut case in cases("clock", Options { tls: Some(Arc::new(tls)), ..Options::league8() }).await {
        let ca_file = case.setup.folder().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        case.setup = case.setup.set("OUTBOUND__CA_FILE", ca_file.to_str().unwrap());
        case.fails(case.login(&[])).await;
    }
}
