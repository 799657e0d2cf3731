//! The PostgreSQL store: a busy proxy notices a new grant, and `serve` creates a missing table.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use simulator::{Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use testkit::postgres::Postgres;
use testkit::{Proxy, Setup};

fn stored_in(url: &str, name: &str, setup: Setup) -> Setup {
    setup.unset("STORE__PATH").set("STORE__KIND", "postgres").set("STORE__URL", url).set("STORE__NAME", name)
}

/// A path to the server with latency, as between two data centres. Returns the URL.
async fn slow_way(server: &Postgres) -> String {
    const DELAY: Duration = Duration::from_millis(50);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let port = server.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut asking, mut to_client) = client.into_split();
            let (mut answering, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asking, &mut to_server).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = answering.read(&mut bytes).await {
                    tokio::time::sleep(DELAY).await;
                    if to_client.write_all(&bytes[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("postgres://tester@{address}/postgres")
}

#[tokio::test]
async fn a_new_grant_is_seen_while_clients_send_requests_without_a_pause() {
    let server = Postgres::shared();
    let simulator = Simulator::start(Options::league9()).await.unwrap();
    let setup = stored_in(&slow_way(&server).await, "busy", Proxy::without_grant(&simulator));
    // Each request then asks the refresher, and a read of the store takes longer than the pause between two requests.
    let proxy = setup.start().await;
    proxy.wait_for_status("empty", |status| status["state"] == "needs_login").await;

    let busy = join_all((0..4).map(async |_| {
        let mut client = proxy.http1().await;
        while client.get("/api/v2/version").await.status == StatusCode::SERVICE_UNAVAILABLE {}
    }));
    let import = async {
        // Long enough for all clients to send requests.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let grant = simulator.grant();
        let answer = json!({
            "token_type": "Bearer",
            "expires_in": 3600,
            "access_token": grant.access_token,
            "refresh_token": grant.refresh_token,
        });
        let (code, _, err) = proxy.commands().import(&[], &answer.to_string()).await;
        assert_eq!(code, 0, "{err}");
    };
    let both = async { tokio::join!(busy, import) };
    let seen = tokio::time::timeout(Duration::from_secs(20), both).await;
    assert!(seen.is_ok(), "never seen: {}", proxy.status().await);
    proxy.stop().await;
}

#[tokio::test]
async fn a_table_that_vanished_is_created_again_and_holds_the_grant() {
    let server = Postgres::start();
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let setup = stored_in(&server.url(), "vanished", Proxy::before(&simulator));

    // A command that only reads does not create the table. It says how to create it.
    let (code, _, err) = setup.run(&["status"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("the table is missing: `serve` and `import` create it"), "{err}");

    let proxy = setup.start().await;
    proxy.ready().await;
    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("DROP TABLE bearer_proxy_grant").await.unwrap();
    let stored = async {
        let sql = "SELECT document IS NOT NULL FROM bearer_proxy_grant WHERE name = 'vanished'";
        while !client.query_one(sql, &[]).await.is_ok_and(|row| row.get(0)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let stored = tokio::time::timeout(Duration::from_secs(20), stored).await;
    assert!(stored.is_ok(), "never stored again:\n{}", proxy.log().join("\n"));
    assert_eq!(proxy.refresh().await.status, StatusCode::OK);
    let status = proxy.wait_for_status("stored", |status| status["persisted"] == true).await;
    assert_eq!(status["generation"], 2);
    proxy.stop().await;
}
