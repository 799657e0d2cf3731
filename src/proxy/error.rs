//! Every way in which the proxy fails a request: its status, its problem type, and its error in `Proxy-Status`.
//!
//! None of them is a 401. A client would take a 401 for the upstream's. A 401 also requires a challenge (RFC 9110 §15.5.2), which
//! no client of this gateway could answer.

use std::time::Duration;

use http::StatusCode;

use crate::outbound::ConnectError;
use crate::token::refresher::Unavailable;

/// Why the proxy sends a response of its own.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("a client key is required: send it as X-Proxy-Key, or as Authorization: Bearer")]
    ClientKeyRequired,
    #[error("{0}")]
    NotAllowed(&'static str),
    #[error(
        "a browser sent this request for a page of another site: name its origin in guard.origins, or send a client key"
    )]
    CrossSite,
    #[error("the client sent nothing of the request body for {0:?} (upstream.idle_timeout)")]
    RequestTimeout(Duration),
    #[error("the request body is slower than guard.min_body_rate ({0} bytes per second)")]
    BodyTooSlow(u64),
    #[error("the request body is larger than guard.max_body_size ({0} bytes)")]
    BodyTooLarge(u64),
    #[error("the request head is larger than guard.max_header_size ({0} bytes)")]
    HeadersTooLarge(usize),
    #[error(
        "the request names a host that is not on guard.hosts: use the address that the gateway is reached at, or add the name to guard.hosts"
    )]
    Misdirected,
    #[error("CONNECT and TRACE are not supported: set the gateway as the base URL of the client, not as its proxy")]
    MethodNotSupported,
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(ConnectError),
    #[error("the upstream sent no valid response: {0}")]
    Broken(Broken),
    #[error("{0}")]
    TokenUnavailable(Unavailable),
    #[error(
        "upstream.max_in_flight is reached, by {requests} requests and {tunnels} tunnels (WebSockets): retry later, or raise it"
    )]
    Overloaded { requests: usize, tunnels: usize },
    #[error("this gateway is shutting down")]
    Draining,
    #[error("the upstream sent no response head within {0:?} (upstream.response_timeout)")]
    ResponseTimeout(Duration),
    #[error("the upstream read nothing of the request body for {0:?} (upstream.idle_timeout)")]
    WriteTimeout(Duration),
    #[error("the request passed this gateway before (Via): upstream.url must not lead back to the gateway")]
    Loop,
    #[error("the request body ended too early")]
    ClientGone,
}

/// Why there is no valid response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("the connection ended before the response head was complete")]
    Incomplete,
    #[error("it is not valid HTTP")]
    Protocol,
    #[error("its head is too large or has more than 1024 fields")]
    HeadTooLarge,
    #[error("it has a transfer coding other than chunked")]
    Coding,
}

// === impl Failure ===

impl Failure {
    /// The last part of `urn:bearer-proxy:…`.
    pub fn kind(&self) -> &'static str {
        self.row().1
    }

    pub fn status(&self) -> StatusCode {
        self.row().0
    }

    /// Status, problem type, and the error of RFC 9209 §2.3.
    pub(super) fn row(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad-request", "http_request_error"),
            Self::ClientKeyRequired => (StatusCode::FORBIDDEN, "client-key-required", "http_request_denied"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross-site", "http_request_denied"),
            Self::NotAllowed(_) => (StatusCode::FORBIDDEN, "not-allowed", "http_request_denied"),
            Self::RequestTimeout(_) | Self::BodyTooSlow(_) => {
                (StatusCode::REQUEST_TIMEOUT, "request-timeout", "http_request_error")
            }
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "http_request_error"),
            Self::HeadersTooLarge(_) => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "http_request_error")
            }
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "misdirected-request", "http_request_denied"),
            Self::MethodNotSupported => (StatusCode::NOT_IMPLEMENTED, "method-not-supported", "http_request_denied"),
            Self::Unreachable(error) => match error {
                ConnectError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", "connection_timeout"),
                // The client may retry: neither the upstream nor the network is at fault.
                ConnectError::NoDescriptor => {
                    (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "connection_limit_reached")
                }
                ConnectError::Dns(_) => (StatusCode::BAD_GATEWAY, "upstream-unreachable", "dns_error"),
                ConnectError::Refused => (StatusCode::BAD_GATEWAY, "upstream-unreachable", "connection_refused"),
                ConnectError::Unreachable(_) => {
                    (StatusCode::BAD_GATEWAY, "upstream-unreachable", "destination_ip_unroutable")
                }
                ConnectError::NotLoopback { .. } => {
                    (StatusCode::BAD_GATEWAY, "upstream-unreachable", "destination_ip_prohibited")
                }
                ConnectError::Certificate(_) | ConnectError::OutsideValidity(_) => {
                    (StatusCode::BAD_GATEWAY, "upstream-unreachable", "tls_certificate_error")
                }
                ConnectError::Tls(_) => (StatusCode::BAD_GATEWAY, "upstream-unreachable", "tls_protocol_error"),
                ConnectError::Proxy(_) => (StatusCode::BAD_GATEWAY, "upstream-unreachable", "destination_unavailable"),
            },
            Self::Broken(Broken::Incomplete) => {
                (StatusCode::BAD_GATEWAY, "upstream-broken", "http_response_incomplete")
            }
            Self::Broken(Broken::Protocol) => (StatusCode::BAD_GATEWAY, "upstream-broken", "http_protocol_error"),
            Self::Broken(Broken::HeadTooLarge) => {
                (StatusCode::BAD_GATEWAY, "upstream-broken", "http_response_header_section_size")
            }
            Self::Broken(Broken::Coding) => {
                (StatusCode::BAD_GATEWAY, "upstream-broken", "http_response_transfer_coding")
            }
            Self::TokenUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "token-unavailable", "proxy_internal_error"),
            Self::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "connection_limit_reached"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", "proxy_internal_response"),
            Self::ResponseTimeout(_) => (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", "http_response_timeout"),
            Self::WriteTimeout(_) => (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", "connection_write_timeout"),
            Self::Loop => (StatusCode::LOOP_DETECTED, "loop", "proxy_loop_detected"),
            // Only a half-closed client can read it. nginx's 499 is not a registered status.
            Self::ClientGone => (StatusCode::BAD_REQUEST, "bad-request", "http_request_error"),
        }
    }

    /// Whether an HTTP/1 connection ends with the response. After wrong framing, the next message cannot be trusted either (RFC
    /// 9112 §6.3, §11.2). The rest of a body that is too large is never read. A client without a key must not hold one of
    /// `guard.max_connections`.
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::BadRequest(_) | Self::BodyTooLarge(_) | Self::ClientKeyRequired)
    }
}
