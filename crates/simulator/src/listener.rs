//! Accepts connections for HTTP/1.1 and HTTP/2 on one port, and serves each until it ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::exchange::{Exchange, Met};
use super::fault::{Step, Target};
use super::line::{End, Line};
use super::routes;
use super::state::Shared;
use super::wire::{Socket, Wire};

/// More than any client here sends.
const MAX_HEADERS: u32 = 256 * 1024;

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let tls = shared.read(|state| state.options.tls.clone()).map(TlsAcceptor::from);
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let exchange = Exchange { line: shared.open_line(), shared: Arc::clone(&shared) };
                let tls = tls.clone();
                tokio::spawn(async move {
                    connection(tcp, tls, exchange.clone()).await;
                    exchange.shared.change(|state| state.ledger.end_connection());
                });
            }
            // Usually no file descriptor is free. The next attempt may find one.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, exchange: Exchange) {
    let _ = tcp.set_nodelay(true);
    let line = Arc::clone(&exchange.line);
    match exchange.meet(Target::Accept, Step::BeforeBody, "", None).await {
        Met::Gone => return unserved(tcp, line).await,
        Met::Nothing | Met::Answer(_) | Met::Act(_) => {}
    }
    let socket = match tls {
        None => Socket::Plain(tcp),
        Some(acceptor) => match acceptor.accept(tcp).await {
            Ok(tls) => Socket::Tls(Box::new(tls)),
            // Some tests use a client that does not trust this certificate.
            Err(_) => return,
        },
    };
    serve(Wire::new(socket, line), exchange).await;
}

/// An unread connection.
async fn unserved(tcp: TcpStream, line: Arc<Line>) {
    let _wire = Wire::new(Socket::Plain(tcp), Arc::clone(&line));
    line.ended().await;
}

async fn serve(wire: Wire, exchange: Exchange) {
    let mut endings = exchange.line.endings();
    // An end may have been requested before this receiver existed.
    endings.mark_changed();
    let service = service_fn(move |request| routes::answer(exchange.clone(), request));
    let mut builder = Builder::new(TokioExecutor::new());
    // The server has no idle timeout.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_headers(1000);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(MAX_HEADERS);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(wire), service));
    loop {
        tokio::select! {
            // Errors are ignored: the ledger records the delivery of each response.
            _ = connection.as_mut() => return,
            Ok(()) = endings.changed() => {
                let ending = endings.borrow_and_update().clone();
                match ending {
                    Some(End::Drain) => connection.as_mut().graceful_shutdown(),
                    Some(End::Close | End::Raw(_) | End::Reset) => return,
                    None => {}
                }
            }
        }
    }
}
