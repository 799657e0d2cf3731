//! The redirect of a browser, or a pasted response: one run takes either.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use simulator::{Act, Client, Fault, Options, Simulator, Step};
use url::Url;

use crate::program::{Ended, Login, Setup};
use crate::{STDINS, Stdin, browser, expected};

async fn stored(login: Login, setup: &Setup, simulator: &Simulator) -> Ended {
    let ended = login.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("stored as generation 1; a running proxy uses it within a second"), "{}", ended.text);
    assert!(fs::read_to_string(setup.store()).unwrap().contains("def50200"));
    assert_eq!(simulator.with_ledger(|ledger| ledger.committed_calls()), 1);
    expected::holds_no_secret(&ended.text, &[]);
    ended
}

async fn server() -> (Simulator, Setup) {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = Setup::new(&simulator);
    (simulator, setup)
}

#[tokio::test]
async fn the_browser_comes_back_and_is_answered_once_the_grant_is_stored() {
    for stdin in STDINS {
        let (simulator, setup) = server().await;
        simulator.fault(Fault::token(Step::BeforeCommit, Act::Delay(Duration::from_millis(300))));
        let mut login = setup.login(stdin, &[]);
        let back = browser::redirect(&login.url().await).await;
        assert!(!setup.store().exists());
        // A page that is loaded again gets the same answer.
        let (page, again) = tokio::join!(browser::open(&back), browser::open(&back));
        assert!(setup.store().exists(), "the browser was answered before the grant was stored");
        for page in [page, again] {
            assert!(page.status == 200 && page.body.contains("The grant is stored"), "{page:?}");
            assert!(page.head.to_lowercase().contains("content-security-policy: default-src 'none'"), "{page:?}");
            assert!(!page.body.contains("script"), "{page:?}");
            expected::holds_no_secret(&page.body, &[]);
        }
        let ended = stored(login, &setup, &simulator).await;
        expected::check("stored", stdin, &ended, &simulator, &setup, &[]);
    }
}

#[tokio::test]
async fn a_person_pastes_the_url_its_query_or_the_code() {
    type Cut = fn(&Url) -> String;
    let cuts: [(&str, Cut); 3] = [
        ("pasted_url", |url| url.to_string()),
        ("pasted_query", |url| url.query().unwrap().to_owned()),
        ("pasted_code", |url| url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned()),
    ];
    for (name, cut) in cuts {
        for stdin in [Stdin::Terminal, Stdin::Pipe] {
            for options in [&[][..], &["--paste"]] {
                let (simulator, setup) = server().await;
                let mut login = setup.login(stdin, options);
                let back = browser::redirect(&login.url().await).await;
                if stdin == Stdin::Terminal {
                    login.says("Nothing is shown.").await;
                }
                login.paste(&cut(&back));
                let ended = stored(login, &setup, &simulator).await;
                assert!(!ended.text.contains(&cut(&back)), "{name}: {}", ended.text);
            }
        }
    }
}

#[tokio::test]
async fn a_pasted_url_of_16_kib_is_whole() {
    for stdin in [Stdin::Terminal, Stdin::Pipe] {
        let (simulator, setup) = server().await;
        let mut login = setup.login(stdin, &[]);
        let mut back = browser::redirect(&login.url().await).await;
        let query = format!("session_state={}&{}", "a".repeat(16 * 1024), back.query().unwrap());
        back.set_query(Some(&query));
        if stdin == Stdin::Terminal {
            login.says("Nothing is shown.").await;
        }
        login.paste(back.as_str());
        let ended = stored(login, &setup, &simulator).await;
        expected::check("long_paste", stdin, &ended, &simulator, &setup, &[]);
    }
}

/// As a terminal of 80 columns shows it.
fn wrapped(url: &Url) -> Vec<String> {
    url.as_str().as_bytes().chunks(80).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_wrapped_url_that_is_pasted_without_brackets_is_one_url() {
    let (simulator, setup) = server().await;
    let mut login = setup.login(Stdin::Terminal, &[]);
    let lines = wrapped(&browser::redirect(&login.url().await).await);
    assert!(lines.len() > 3);
    login.says("Nothing is shown.").await;
    login.keys(format!("{}\r", lines.join("\r")).as_bytes());
    stored(login, &setup, &simulator).await;
}

#[tokio::test]
async fn a_line_of_a_wrapped_url_is_not_presented_as_a_code() {
    let (simulator, setup) = server().await;
    let mut login = setup.login(Stdin::Pipe, &[]);
    let back = browser::redirect(&login.url().await).await;
    login.keys(format!("{}\n", wrapped(&back).join("\n")).as_bytes());
    login.says("it may be a part of the URL before it").await;
    assert_eq!(simulator.with_ledger(|ledger| ledger.token_calls().len()), 0);
    login.paste(back.as_str());
    stored(login, &setup, &simulator).await;
}

#[tokio::test]
async fn what_does_not_belong_to_the_login_is_refused_and_the_next_is_taken() {
    for stdin in [Stdin::Terminal, Stdin::Pipe] {
        let (simulator, setup) = server().await;
        let mut login = setup.login(stdin, &[]);
        let back = browser::redirect(&login.url().await).await;
        if stdin == Stdin::Terminal {
            login.says("Nothing is shown.").await;
        }
        login.paste("two words");
        login.says("Not accepted: it has a space").await;
        login.paste("http://127.0.0.1/callback?code=old&state=old");
        login.says("belongs to another login").await;
        login.paste(back.as_str());
        let ended = stored(login, &setup, &simulator).await;
        expected::check("second_paste", stdin, &ended, &simulator, &setup, &[]);
    }
}

#[tokio::test]
async fn the_end_of_standard_input_ends_pasting_and_not_the_wait() {
    for stdin in [Stdin::Pipe, Stdin::Closed] {
        let (simulator, setup) = server().await;
        let mut login = setup.login(stdin, &[]);
        let back = browser::redirect(&login.url().await).await;
        if stdin == Stdin::Pipe {
            login.end_input();
        }
        assert_eq!(browser::open(&back).await.status, 200);
        stored(login, &setup, &simulator).await;
    }
}

#[tokio::test]
async fn a_file_may_hold_the_response() {
    for stdin in STDINS {
        let (simulator, setup) = server().await;
        let file = setup.folder().join("response");
        fs::write(&file, "http://127.0.0.1/callback?code=old&state=old").unwrap();
        let mut login = setup.login(stdin, &["--from-file", file.to_str().unwrap()]);
        let back = browser::redirect(&login.url().await).await;
        login.says("belongs to another login").await;
        fs::write(setup.folder().join("new"), back.as_str()).unwrap();
        fs::rename(setup.folder().join("new"), &file).unwrap();
        let ended = stored(login, &setup, &simulator).await;
        expected::check("from_file", stdin, &ended, &simulator, &setup, &[]);
    }
}

#[tokio::test]
async fn localhost_is_sent_as_registered_and_reached_by_both_families() {
    for (host, stdin) in ["127.0.0.1", "[::1]"].into_iter().flat_map(|host| STDINS.map(|stdin| (host, stdin))) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let registered = format!("http://localhost:{free}/callback");
        let client = Client { redirect_uris: vec![registered.clone()], ..Client::default() };
        let options = Options { clients: vec![client], ..Options::league8() };
        let simulator = Simulator::start(options).await.unwrap();
        let setup = Setup::new(&simulator).set("OAUTH__REDIRECT_URI", &registered);
        let mut login = setup.login(stdin, &[]);
        let url = login.url().await;
        assert!(url.query_pairs().any(|(name, value)| name == "redirect_uri" && value == registered), "{url}");
        let mut back = browser::redirect(&url).await;
        back.set_host(Some(host)).unwrap();
        assert_eq!(browser::open(&back).await.status, 200, "{host}");
        let ended = stored(login, &setup, &simulator).await;
        expected::check("localhost", stdin, &ended, &simulator, &setup, &[(&free.to_string(), "PORT")]);
    }
}

/// An executable in the folder of the setup.
fn script(setup: &Setup, name: &str, text: &str) -> String {
    let path = setup.folder().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_browser_neither_blocks_the_login_nor_fills_the_terminal() {
    for stdin in STDINS {
        let (simulator, setup) = server().await;
        let noise = "echo NOISE; echo NOISE >&2";
        let text = script(&setup, "w3m", &format!("{noise}; exec sleep 3600"));
        let graphical = script(&setup, "firefox", noise);
        let mut login = setup.clone().raw("BROWSER", &format!("{text}:{graphical}")).login(stdin, &[]);
        let back = browser::redirect(&login.url().await).await;
        assert_eq!(browser::open(&back).await.status, 200);
        let ended = stored(login, &setup, &simulator).await;
        expected::check("noisy_browser", stdin, &ended, &simulator, &setup, &[]);
    }
}

#[tokio::test]
async fn the_url_is_on_the_terminal_before_the_browser_is_opened_and_no_text_browser_is() {
    let (simulator, setup) = server().await;
    let script = |name: &str, text: &str| script(&setup, name, text);
    let opened = setup.folder().join("opened");
    let note = |name: &str| format!("echo {name} \"$1\" >>{0}.new && mv {0}.new {0}", opened.display());
    let (text, graphical) = (script("w3m", &note("text")), script("firefox", &note("graphical")));
    let browsers = format!("{text}:{graphical}");

    let mut login = setup.clone().raw("BROWSER", &browsers).login(Stdin::Terminal, &[]);
    let url = login.url().await;
    while !opened.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fs::read_to_string(&opened).unwrap(), format!("graphical {url}\n"));
    assert_eq!(browser::open(&browser::redirect(&url).await).await.status, 200);
    stored(login, &setup, &simulator).await;

    for (browsers, options) in [(&text, &[][..]), (&graphical, &["--no-browser"])] {
        let (simulator, other) = server().await;
        fs::remove_file(&opened).ok();
        let mut login = other.clone().raw("BROWSER", browsers).login(Stdin::Terminal, options);
        assert_eq!(browser::open(&browser::redirect(&login.url().await).await).await.status, 200);
        stored(login, &other, &simulator).await;
        assert!(!opened.exists(), "{browsers}");
    }
}

#[tokio::test]
async fn a_distant_browser_gets_the_line_that_brings_it_here() {
    for stdin in STDINS {
        let (simulator, setup) = server().await;
        let setup = setup.raw("SSH_CONNECTION", "198.51.100.7 50000 203.0.113.5 2222").raw("USER", "ana");
        let mut login = setup.login(stdin, &[]);
        let back = browser::redirect(&login.url().await).await;
        let line = format!("ssh -N -p 2222 -L {0}:127.0.0.1:{0} ana@203.0.113.5", back.port().unwrap());
        login.says(&line).await;
        assert_eq!(browser::open(&back).await.status, 200);
        let ended = stored(login, &setup, &simulator).await;
        expected::check("distant_browser", stdin, &ended, &simulator, &setup, &[]);
    }
}

#[tokio::test]
async fn a_server_without_an_authorization_page_shows_a_code_that_is_pasted() {
    for stdin in [Stdin::Terminal, Stdin::Pipe] {
        let simulator = Simulator::start(Options::priava()).await.unwrap();
        let redirect = "https://app.example/callback";
        let setup = Setup::new(&simulator)
            .set("PROFILE", "priava")
            .set("OAUTH__AUTHORIZE_URL", "")
            .set("OAUTH__HEADERS", "{ TenantRegion = \"EU\" }")
            .set("OAUTH__REDIRECT_URI", redirect);
        let code = simulator.code(redirect, None);
        let mut login = setup.login(stdin, &[]);
        login.says("oauth.authorize_url is not set").await;
        login.says("Nothing is shown.").await;
        login.paste(&code);
        let ended = stored(login, &setup, &simulator).await;
        expected::check("no_page", stdin, &ended, &simulator, &setup, &[]);
    }
}

#[tokio::test]
async fn a_damaged_document_is_replaced_and_a_copy_of_it_is_kept() {
    let (simulator, setup) = server().await;
    fs::write(setup.store(), "half a docu").unwrap();
    let mut login = setup.login(Stdin::Closed, &[]);
    let back = browser::redirect(&login.url().await).await;
    assert_eq!(fs::read_to_string(setup.store()).unwrap(), "half a docu");
    assert_eq!(browser::open(&back).await.status, 200);
    stored(login, &setup, &simulator).await;
    let copies = fs::read_dir(setup.folder()).unwrap().map(|entry| entry.unwrap().path());
    assert!(copies.filter_map(|path| fs::read_to_string(path).ok()).any(|text| text == "half a docu"));
}
