//! The service manager is told that the proxy listens, what its state is, that it lives, reloads and stops: sd_notify(3).

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::site::{PATIENCE, Site, User};

async fn message(socket: &UnixDatagram) -> String {
    wait_for(socket, |_| true).await
}

/// Passes over other messages.
async fn wait_for(socket: &UnixDatagram, what: impl Fn(&str) -> bool) -> String {
    let wanted = async {
        loop {
            let mut buffer = [0; 4096];
            let count = socket.recv(&mut buffer).await.unwrap();
            let message = String::from_utf8(buffer[..count].to_vec()).unwrap();
            if what(&message) {
                return message;
            }
        }
    };
    timeout(PATIENCE, wanted).await.expect("the message did not come")
}

#[tokio::test]
async fn a_service_manager_follows_the_life_of_the_proxy() {
    let site = Site::new(User::Own).await;
    let socket_path = site.home().join("notify");
    let socket = UnixDatagram::bind(&socket_path).unwrap();
    let store = site.home().join("grant.json").display().to_string();
    let environment = [
        ("BEARER_PROXY_LISTEN", "127.0.0.1:0"),
        ("BEARER_PROXY_ADMIN__LISTEN", "off"),
        ("BEARER_PROXY_UPSTREAM__URL", &site.simulator.origin()),
        ("BEARER_PROXY_OAUTH__TOKEN_URL", &site.simulator.token_url()),
        ("BEARER_PROXY_OAUTH__CLIENT_ID", simulator::CLIENT_ID),
        ("BEARER_PROXY_OAUTH__CLIENT_SECRET", simulator::CLIENT_SECRET),
        ("BEARER_PROXY_STORE__PATH", &store),
    ];
    let mut serve = site.command(&["serve"]);
    serve.envs(environment).env("NOTIFY_SOCKET", &socket_path).env("WATCHDOG_USEC", "400000");
    let mut child = serve.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();

    assert_eq!(message(&socket).await, "READY=1\n");
    let status = wait_for(&socket, |message| message.starts_with("STATUS=needs_login: ")).await;
    assert!(status.contains("import") || status.contains("login"), "{status}");
    for _ in 0..3 {
        wait_for(&socket, |message| message == "WATCHDOG=1\n").await;
    }

    let mut import = site.command(&["import"]);
    let token = site.simulator.grant().refresh_token;
    let mut importing = import.envs(environment).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = importing.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, token.as_bytes()).await.unwrap();
    drop(stdin);
    assert!(importing.wait().await.unwrap().success());
    wait_for(&socket, |message| message.starts_with("STATUS=valid: the token expires at 20")).await;

    kill_process(pid, Signal::HUP).unwrap();
    wait_for(&socket, |message| message.starts_with("RELOADING=1\nMONOTONIC_USEC=")).await;
    wait_for(&socket, |message| message == "READY=1\n").await;
    kill_process(pid, Signal::TERM).unwrap();
    wait_for(&socket, |message| message == "STOPPING=1\n").await;
    assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
}
