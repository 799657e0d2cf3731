//! Token servers that need other parameters, or send odd responses. The simulator does not imitate them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use simulator::{Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use testkit::Proxy;

/// Answers each request with status 200 and the next of its bodies. It repeats the last one.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn answering(bodies: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                // The client's id and secret are the last parameters of the protocol.
                while !read.windows(9).any(|word| word == b"client_id") {
                    assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
                }
                let text = String::from_utf8(read).unwrap();
                let body = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(text.split_once("\r\n\r\n").unwrap().1.to_owned());
                    bodies[(seen.len() - 1).min(bodies.len() - 1)]
                };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        Self { url, requests }
    }

    fn request(&self, number: usize) -> String {
        self.requests.lock().unwrap()[number].clone()
    }
}

/// A proxy whose first refresh token is `r0`.
async fn proxy(simulator: &Simulator, server: &Server, variables: &[(&str, &str)]) -> Proxy {
    let setup = Proxy::before(simulator)
        .set("OAUTH__TOKEN_URL", &server.url)
        .set("OAUTH__TOKEN_FORMAT", "form")
        .set("OAUTH__REFRESH_TOKEN", "r0");
    variables.iter().fold(setup, |setup, (name, value)| setup.set(name, value)).start().await
}

#[tokio::test]
async fn additional_parameters_and_the_scope_reach_the_token_endpoint() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let server = Server::answering(&[r#"{"access_token":"a1","refresh_token":"r1","expires_in":3600}"#]).await;
    let variables = [
        ("OAUTH__PARAMETERS", r#"{ audience = "https://api.example", resource = "canary-resource" }"#),
        ("OAUTH__SCOPE", "openid offline_access"),
        ("OAUTH__SEND_SCOPE_ON_REFRESH", "true"),
    ];
    let proxy = proxy(&simulator, &server, &variables).await;
    proxy.ready().await;
    let request = server.request(0);
    for parameter in [
        "audience=https%3A%2F%2Fapi.example",
        "resource=canary-resource",
        "scope=openid+offline_access",
        "refresh_token=r0",
    ] {
        assert!(request.split('&').any(|given| given == parameter), "{parameter} in {request}");
    }
    let setup = proxy.stop().await;
    let (exit, shown, _) = setup.run(&["config"]).await;
    assert_eq!(exit, 0);
    assert!(shown.contains("audience") && !shown.contains("canary") && !shown.contains("api.example"), "{shown}");
    // The parameters are not part of the binding: the grant works without them.
    let without = setup.again().unset("OAUTH__PARAMETERS").start().await;
    without.ready().await;
    assert_eq!(server.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_successor_in_an_odd_response_is_stored_and_presented_next() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let server = Server::answering(&[
        r#"{"access_token":"a1","refresh_token":"r1","expires_in":3600,"token_type":"BearerToken"}"#,
        r#"{"access_token":"a2","refresh_token":"r2","token_type":"mac"}"#,
        r#"<br />Deprecated: x<br />{"refresh_token":"r3"}"#,
        "access_token=a4&refresh_token=r4&expires_in=3600",
    ])
    .await;
    let proxy = proxy(&simulator, &server, &[]).await;
    proxy.ready().await;
    let presented =
        |number| move |server: &Server| server.request(number).contains(&format!("refresh_token=r{number}&"));
    assert!(presented(0)(&server));

    proxy.refresh().await;
    assert!(presented(1)(&server));
    let status = proxy.wait_for_status("misconfigured", |status| outcome(status) == "misconfigured").await;
    assert_eq!((&status["persisted"], &status["state"]), (&Value::from(true), &Value::from("valid")), "{status}");
    assert!(stored(&proxy).contains("\"r2\""), "{}", stored(&proxy));

    proxy.refresh().await;
    assert!(presented(2)(&server));
    // After an ambiguous outcome, the program tries again by itself, with the successor.
    proxy.wait_for_status("renewed", |status| outcome(status) == "ok" && status["generation"] == 4).await;
    assert!(presented(3)(&server));
    assert!(stored(&proxy).contains("\"r4\""));
    assert_eq!(server.requests.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn tokens_that_live_for_a_second_cost_one_scheduled_call_in_five() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let server = Server::answering(&[
        r#"{"access_token":"a1","refresh_token":"r1","expires_in":1}"#,
        r#"{"access_token":"a2","refresh_token":"r2","expires_in":1}"#,
        r#"{"access_token":"a3","refresh_token":"r3","expires_in":1}"#,
        r#"{"access_token":"a4","refresh_token":"r4","expires_in":1}"#,
    ])
    .await;
    let began = Instant::now();
    let _proxy = proxy(&simulator, &server, &[]).await;
    // The start makes the first call. The second call is the first scheduled one.
    let fourth = async {
        while server.requests.lock().unwrap().len() < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), fourth).await.expect("the program goes on refreshing");
    assert!(began.elapsed() >= Duration::from_secs(10), "four calls in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_token_that_the_server_repeats_in_pieces_is_shown_nowhere() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let token: String = (0..120_u32).map(|number| char::from_digit(number * number % 31 % 16, 16).unwrap()).collect();
    let pieces: Vec<&str> = (0..120).step_by(38).map(|at| &token[at..(at + 38).min(120)]).collect();
    let body = format!(r#"{{"error":"unknown","error_description":"token {} is bad"}}"#, pieces.join(" "));
    let bodies: &'static [&'static str] = vec![&*body.leak()].leak();
    let server = Server::answering(bodies).await;
    let proxy = proxy(&simulator, &server, &[("OAUTH__REFRESH_TOKEN", &token)]).await;
    let status = proxy.wait_for_status("ambiguous", |status| outcome(status) == "ambiguous").await;
    proxy.wait_for_log("the failure", |line| line.to_string().contains("is bad")).await;
    for text in [status.to_string(), proxy.log().join("\n")] {
        for piece in pieces.iter().flat_map(|piece| piece.as_bytes().chunks(12)).filter(|piece| piece.len() == 12) {
            assert!(!text.contains(str::from_utf8(piece).unwrap()), "{text}");
        }
    }
    assert!(status.to_string().contains("is bad"), "{status}");
}

fn outcome(status: &Value) -> &str {
    status["last_refresh"]["outcome"].as_str().unwrap_or_default()
}

fn stored(proxy: &Proxy) -> String {
    std::fs::read_to_string(proxy.setup().store()).unwrap()
}
