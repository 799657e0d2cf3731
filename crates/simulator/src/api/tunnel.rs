//! An upgraded connection: 101, then every byte comes back.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{self, AsyncWriteExt};

use super::Admitted;
use crate::answer::Answer;
use crate::body;
use crate::exchange::{Reply, Row};

/// Accepts and confirms any protocol name. HTTP/2 has no upgrade.
pub(super) fn open(mut admitted: Admitted) -> Reply {
    let on_upgrade = admitted.head.extensions.remove::<OnUpgrade>();
    let protocol = admitted.head.headers.get(UPGRADE).cloned();
    let (Some(on_upgrade), Some(protocol)) = (on_upgrade, protocol) else {
        return super::reply(
            admitted.seq,
            Answer::empty(426).header("Upgrade", "echo").header("Connection", "upgrade"),
        );
    };
    let line = Arc::clone(&admitted.exchange.line);
    tokio::spawn(async move {
        let Ok(upgraded) = on_upgrade.await else { return };
        let (mut reader, mut writer) = io::split(TokioIo::new(upgraded));
        tokio::select! {
            _ = io::copy(&mut reader, &mut writer) => {
                let _ = writer.shutdown().await;
            }
            () = line.ended() => {}
        }
    });
    let mut response = Response::new(body::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, protocol);
    Reply::Answer(response, Some(Row::Request(admitted.seq)))
}
