//! An abandoned call is reset, so no byte of it can arrive later. An answered call is not reset.

use std::io;

use rcgen::CertificateParams;
use tokio::io::AsyncRead;
use tokio::sync::oneshot;

use super::*;
use crate::upstream::testing::Authority509;

/// How the connection ended for the server, once it had read the request.
async fn end(mut stream: impl AsyncRead + Unpin) -> io::Result<usize> {
    stream.read(&mut [0; 1]).await
}

/// Serves one connection: reads the request, writes this, and reports how the connection ended. With `waits`, it pauses the clock
/// after the write, so that the limits of the client pass at once.
async fn served(answer: &'static str, waits: bool) -> (Server, oneshot::Receiver<io::Result<usize>>) {
    let (tell, told) = oneshot::channel();
    let tell = std::cell::Cell::new(Some(tell));
    let server = Server::start(move |mut peer| {
        let tell = tell.take();
        async move {
            peer.request().await;
            peer.stream.write_all(answer.as_bytes()).await.unwrap();
            if waits {
                tokio::time::pause();
            }
            tell.unwrap().send(end(&mut peer.stream).await).unwrap();
        }
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_with_a_reset() {
    local(async {
        // Silent, and in the middle of a response.
        for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
            let (server, end) = served(answer, true).await;
            assert_eq!(failure(&server.endpoint()).await.outcome, RefreshOutcome::Ambiguous);
            assert_eq!(end.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{answer:?}");
            tokio::time::resume();
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_whose_task_is_aborted_ends_with_a_reset() {
    local(async {
        let (server, end) = served("", false).await;
        let endpoint = server.endpoint();
        let task = tokio::task::spawn_local(async move { call(&endpoint).await });
        while server.counts().1 == 0 {
            tokio::task::yield_now().await;
        }
        task.abort();
        assert_eq!(end.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_with_a_reset_under_tls_too() {
    local(async {
        let authority = Authority509::new();
        let acceptor = authority.acceptor_with(CertificateParams::new(vec!["localhost".into()]).unwrap(), &[], false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
        let end = tokio::task::spawn_local(async move {
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let mut read = Vec::new();
            while !read.windows(9).any(|word| word == b"client_id") {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
            }
            tokio::time::pause();
            end(stream).await
        });
        let endpoint = Endpoint::new(config(&url), &authority.outbound()).unwrap();
        let failure = failure(&endpoint).await;
        assert_eq!(failure.outcome, RefreshOutcome::Ambiguous, "{failure:?}");
        assert_eq!(end.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn only_a_call_that_may_be_repeated_is_reset_after_its_answer() {
    local(async {
        let rows = [("200 OK", false), ("400 Bad Request", false), ("429 Too Many Requests", true), ("503 Away", true)];
        for (status, reset) in rows {
            let (server, end) = served(http(status, "{}").leak(), false).await;
            failure(&server.endpoint()).await;
            let end = end.await.unwrap();
            assert_eq!(
                end.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset),
                reset,
                "{status}: {end:?}"
            );
        }
    })
    .await;
}
