//! Sends a request that asks for another protocol (WebSocket, RFC 9110 §7.8): over HTTP/1.1, on a connection of its own that
//! never returns to the pool.

use std::sync::Arc;

use http::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::outbound::{ConnectError, Offer, Protocol};
use crate::upstream::failure::SendFailure;

use super::framing;
use super::transport::{Received, Transport};
use super::{MAX_HTTP1_FIELDS, Pool, RequestBody, SendResult, UpstreamBody};

impl<B: RequestBody> Pool<B> {
    /// Like [`Pool::send`], but on a connection of its own, which is opened when the future is first polled. The caller sets
    /// `Connection` and `Upgrade`, and then calls `hyper::upgrade::on(response)`.
    pub async fn send_upgrade(&self, mut request: Request<B>) -> SendResult<B> {
        let stream = match self.connector.connect(Offer::Http1).await {
            Ok((stream, _)) => stream,
            Err(error) => return Err(SendFailure::connect(error, request)),
        };
        let received = Arc::<Received>::default();
        let transport = Transport::new(stream, Protocol::Http1, &self.connections, Arc::clone(&received));
        let (mut sender, connection) =
            match http1::Builder::new().max_headers(MAX_HTTP1_FIELDS).handshake(TokioIo::new(transport)).await {
                Ok(made) => made,
                Err(error) => {
                    let error = ConnectError::Unreachable(error.to_string());
                    return Err(SendFailure::connect(error, request));
                }
            };
        let connection = connection.with_upgrades();
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection (HTTP/1, upgrade) ended");
            }
        });
        self.target.fit_http1(&mut request);
        match sender.try_send_request(request).await {
            Ok(response) => match framing::check(&response, true) {
                Ok(()) => Ok(response.map(UpstreamBody::http1)),
                Err(kind) => Err(SendFailure::unfit(kind, false, Protocol::Http1)),
            },
            Err(error) => Err(SendFailure::from_hyper(error, received.anything(), false, Protocol::Http1)),
        }
    }
}
