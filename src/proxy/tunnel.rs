//! A tunnel after a protocol switch (RFC 9110 §7.8; WebSocket): copies bytes both ways until both sides end, one fails, or both are
//! idle for too long.

use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::body::Body;
use super::headers::Hygiene;
use super::in_flight::Place;
use crate::upstream::pool::UpstreamBody;

/// The size of the buffer for each direction, in bytes.
const PIECE: usize = 16 * 1024;

/// Returns the 101 for the client, and joins the two connections when both have switched.
pub fn switch(
    mut response: Response<UpstreamBody>,
    downstream: OnUpgrade,
    idle: Duration,
    mut place: Option<Place>,
    hygiene: &Hygiene,
) -> Response<Body> {
    let upstream = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    let protocol = parts.headers.get(UPGRADE).cloned();
    hygiene.response(&mut parts.headers);
    parts.extensions.clear();
    if let Some(protocol) = protocol {
        parts.headers.insert(UPGRADE, protocol);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(place) = &mut place {
        place.becomes_tunnel();
    }
    tokio::task::spawn_local(async move {
        let _place = place;
        match (downstream.await, upstream.await) {
            (Ok(downstream), Ok(upstream)) => join(downstream, upstream, idle).await,
            (Err(error), _) | (_, Err(error)) => tracing::debug!(%error, "the protocol was not switched"),
        }
    });
    Response::from_parts(parts, Body::empty())
}

async fn join(downstream: Upgraded, upstream: Upgraded, idle: Duration) {
    let (client_read, client_write) = tokio::io::split(TokioIo::new(downstream));
    let (server_read, server_write) = tokio::io::split(TokioIo::new(upstream));
    // The limit applies to both directions together: one side may be silent while the other one sends.
    let moved = std::cell::Cell::new(Instant::now());
    let both = async {
        // Ends when both directions have ended, or one has failed.
        let _ = tokio::try_join!(carry(client_read, server_write, &moved), carry(server_read, client_write, &moved));
    };
    let silence = async {
        loop {
            let end = moved.get() + idle;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    };
    tokio::select! {
        () = both => {}
        () = silence => tracing::debug!("a tunnel was idle for too long"),
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &std::cell::Cell<Instant>,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).await?;
        moved.set(Instant::now());
        match piece.get(..count) {
            Some(data) if !data.is_empty() => to.write_all(data).await?,
            _ => return to.shutdown().await,
        }
        to.flush().await?;
        moved.set(Instant::now());
    }
}
