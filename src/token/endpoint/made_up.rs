//! Presents a refresh token that never existed. The answer shows whether the server knows the client, and costs no grant.
//!
//! league/oauth2-server authenticates the client first and decrypts the refresh token after that. So "Cannot decrypt the refresh
//! token" proves that the client id and the secret are right (`RefreshTokenGrant::respondToAccessTokenRequest`).

use std::time::Duration;

use aws_lc_rs::rand;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::classify::{Received, classify};
use super::found::Search;
use super::mask::Mask;
use super::{CallResult, Document, Endpoint, Presented, decode};
use crate::clock::Clock;
use crate::outbound::{Connector, Stream};
use crate::token::RefreshToken;

/// What the server said.
#[derive(Clone, Debug)]
pub struct MadeUp {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Whether the body is an error document of OAuth or of Laravel.
    pub is_document: bool,
    /// The error code (RFC 6749 §5.2).
    pub code: Option<String>,
    /// The answer proves that the server accepts the client.
    pub proves_client: bool,
    /// The server's message. Holds no secret.
    pub said: String,
}

/// An error page of a web server is some kilobytes.
const MAX_BODY: usize = 256 * 1024;
const LEAGUE_UNDECRYPTABLE: &str = "Cannot decrypt the refresh token";

// === impl Endpoint ===

impl Endpoint {
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Makes one call on this connection. No real token is presented, so the future may be dropped.
    ///
    /// # Errors
    /// There was no complete answer.
    pub async fn present_made_up(&self, io: Stream, within: Duration) -> Result<MadeUp, String> {
        let token = made_up().ok_or("no random number could be made")?;
        let presented = Presented::RefreshToken(&token);
        let mask = Mask::new(presented, &self.config);
        let exchange = async {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(io)).await.map_err(|error| error.to_string())?;
            let driver = tokio::spawn(connection);
            let response = sender.send_request(self.template.request(presented, &self.config)).await;
            let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| error.to_string());
            driver.abort();
            Ok::<_, String>((head, body?.to_bytes()))
        };
        let (head, body) = match timeout(within, exchange).await {
            Ok(answer) => answer.map_err(|error| mask.local(&error))?,
            Err(_) => return Err(format!("no answer within {within:.1?}")),
        };
        let received = Received { status: head.status, headers: &head.headers, body: &body, cut: None };
        let said = match classify(received, presented, Clock::system().now(), &mask) {
            CallResult::Failed(failure) => failure.error,
            CallResult::SuccessorOnly(_) | CallResult::Issued(_) => {
                format!("HTTP {}, with a token", head.status.as_u16())
            }
        };
        let text = decode::text(&head.headers, &body);
        let document = Search { presented: None, cut: false }.error(&text);
        let member = |name: &str| document.as_ref().and_then(|document: &Document| document.text(name));
        let proves_client = ["hint", "error_description"]
            .iter()
            .any(|name| member(name).is_some_and(|text| text.contains(LEAGUE_UNDECRYPTABLE)));
        let code = member("error").map(|code| mask.remote(&code));
        Ok(MadeUp {
            status: head.status,
            headers: head.headers,
            is_document: document.is_some(),
            code,
            proves_client,
            said,
        })
    }
}

/// Random, so that no grant has this token, and recognizable in a server's log.
fn made_up() -> Option<RefreshToken> {
    let mut random = [0; 16];
    rand::fill(&mut random).ok()?;
    RefreshToken::parse(format!("bearer-proxy-check-{:032x}", u128::from_be_bytes(random))).ok()
}
