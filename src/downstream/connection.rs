//! One connection: TLS, detection of the protocol, HTTP, the end.
//!
//! The server of `hyper_util` is not used: it waits without a time limit for the first bytes, which reveal the protocol.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::admission::Admission;
use super::connections::ConnectionPermit;
use super::context::ConnectionContext;
use super::http::Http;
use super::in_flight::{Counted, InFlight};
use super::lifetime::{End, Lifetime, Recheck};
use super::protocol::Protocol;
use super::service::Service;
use super::settings::Settings;
use super::socket::Socket;
use super::stream::Stream;
use super::tls::Tls;
use super::transport::Transport;

/// A connection on which HTTP can begin.
struct Opened {
    transport: Transport,
    protocol: Protocol,
    /// `None`: no TLS.
    admission: Option<Admission>,
    /// With client certificates.
    cutter: Option<oneshot::Sender<()>>,
}

/// An error for the log, with its cause if the network is the cause. The error of HTTP/2 itself may quote what the client sent (the
/// debug data of a GOAWAY, RFC 9113 §6.8).
struct Described<'a>(&'a hyper::Error);

/// Serves one connection to its end.
pub(super) async fn serve<S: Service>(stream: Stream, permit: ConnectionPermit, worker: Rc<ConnectionContext<S>>) {
    let connected = Instant::now();
    let limits = worker.settings.limits.load_full();
    let opening = tokio::time::timeout_at(connected + limits.header_timeout, open(stream, permit, &worker.settings));
    let opened = tokio::select! {
        opened = opening => opened,
        () = worker.draining.last_call() => return,
    };
    let Opened { transport, protocol, admission, cutter } = match opened {
        Ok(Ok(Some(opened))) => opened,
        // The client closed without sending anything: a probe of the port.
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection failed before its first request"),
        Err(_) => return tracing::debug!("a connection was closed: the client sent no request in time"),
    };
    let tls_changed = admission.is_some().then(|| Recheck::new(&worker.settings.tls_changed));
    let signals = transport.signals();
    let in_flight = InFlight::new(signals, protocol, admission, worker.draining.clone(), worker.event_batching.clone());
    let service = Counted::new(worker.service.clone(), in_flight.clone());
    let http = Http::new(transport, service, &in_flight, &limits);
    let idle_timeout = limits.idle_timeout;
    match Lifetime::new(http, in_flight.clone(), connected, limits, &worker.draining, tls_changed).await {
        End::Done => {
            if let Some(cutter) = cutter {
                let recheck = Recheck::new(&worker.settings.tls_changed);
                end_revoked_tunnel(cutter, &in_flight, recheck, idle_timeout).await;
            }
        }
        End::Failed(error) => tracing::debug!(error = %Described(&error), "a connection failed"),
        End::Cut(state) => tracing::debug!(reason = state.reason(), "a connection was closed"),
    }
}

/// Cuts the tunnel that the connection has become, one idle timeout after its client's certificate was revoked. Returns at once if
/// the socket is closed.
async fn end_revoked_tunnel(
    mut socket: oneshot::Sender<()>,
    in_flight: &InFlight,
    mut recheck: Recheck,
    idle_timeout: Duration,
) {
    let overdue = async {
        loop {
            in_flight.recheck();
            if let Some(revoked) = in_flight.revoked() {
                return tokio::time::sleep_until(revoked + idle_timeout).await;
            }
            recheck.changed().await;
        }
    };
    tokio::select! {
        () = socket.closed() => return,
        () = overdue => {}
    }
    in_flight.signals().reset();
    // If the socket is closed by now, there is nothing to cut.
    let _ = socket.send(());
}

/// From the accepted connection to the point where HTTP begins.
async fn open(stream: Stream, permit: ConnectionPermit, settings: &Arc<Settings>) -> io::Result<Option<Opened>> {
    let mut socket = Socket::new(stream, permit);
    let Some(tls) = &settings.tls else {
        let protocol = socket.sniff().await?;
        let transport = Transport::Plain(socket);
        return Ok(protocol.map(|protocol| Opened { transport, protocol, admission: None, cutter: None }));
    };
    let tls = tls.load_full();
    let cutter = tls.asks_for_certificates().then(|| socket.cutter());
    let stream = Box::pin(handshake(&tls, socket)).await?;
    let session = stream.get_ref().1;
    let protocol = Protocol::negotiated(session.alpn_protocol());
    let admission = Some(Admission::new(Arc::clone(settings), tls, session));
    Ok(Some(Opened { transport: Transport::Tls(stream), protocol, admission, cutter }))
}

async fn handshake(tls: &Arc<Tls>, socket: Socket) -> io::Result<Box<tokio_rustls::server::TlsStream<Socket>>> {
    tls.acceptor().accept(socket).await.map(Box::new)
}

// === impl Described ===

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Empty;
    use hyper::server::conn::http2;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_a_client_says_in_its_goaway_is_not_logged() {
        let (mut client, server) = tokio::io::duplex(4096);
        let service = hyper::service::service_fn(async |_| {
            Ok::<_, Infallible>(::http::Response::new(Empty::<bytes::Bytes>::new()))
        });
        let connection =
            http2::Builder::new(hyper_util::rt::TokioExecutor::new()).serve_connection(TokioIo::new(server), service);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        client.write_all(b"\0\0\x0e\x07\0\0\0\0\0\0\0\0\0\0\0\0\x02canary").await.unwrap();
        let error = connection.await.unwrap_err();
        assert!(format!("{:?}", error.source()).contains("canary"), "the test's frame did not arrive: {error:?}");
        assert!(!Described(&error).to_string().contains("canary"));
    }
}
