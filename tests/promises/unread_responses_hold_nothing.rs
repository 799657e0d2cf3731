//! The proxy ends an HTTP/2 connection whose client opens no window and leaves the proxy's own responses unread.

use std::time::Duration;

use h2::client::Builder;
use http::Request;
use simulator::{Options, Simulator};
use tokio::net::TcpStream;
use tokio::time::timeout;

use testkit::Proxy;

#[tokio::test]
async fn a_client_that_hoards_the_proxys_own_responses_is_ended_and_one_that_reads_is_not() {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let proxy = Proxy::before(&simulator).set("GUARD__ALLOW", "GET /api/**").start().await;
    proxy.ready().await;
    for (window, ends) in [(0, true), (65_535, false)] {
        let tcp = TcpStream::connect(proxy.address()).await.unwrap();
        let (sender, connection) =
            Builder::new().initial_window_size(window).handshake::<_, bytes::Bytes>(tcp).await.unwrap();
        let mut connection = tokio::spawn(connection);
        let mut responses = Vec::new();
        for _ in 0..100 {
            let request = Request::get("http://localhost/not-allowed").body(()).unwrap();
            let mut sender = sender.clone().ready().await.unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            responses.push(response.await.unwrap());
        }
        assert!(responses.iter().all(|response| response.status() == 403));
        if ends {
            timeout(Duration::from_secs(30), connection).await.expect("the connection ends").unwrap().unwrap_err();
        } else {
            // Longer than the proxy tolerates unread responses.
            let ended = timeout(Duration::from_secs(4), &mut connection).await;
            assert!(ended.is_err(), "{ended:?}");
        }
    }
    proxy.stop().await;
}
