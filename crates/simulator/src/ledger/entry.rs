//! The ledger's rows.

use serde::Serialize;

use crate::clock::UnixMs;
use crate::options::GrantType;

/// One access token, and the refresh token that was issued with it.
#[derive(Clone, Debug, Serialize)]
pub struct Issued {
    /// The login from which it descends.
    pub grant: u64,
    /// 1 at the login, plus one for each refresh.
    pub generation: u64,
    /// Serial of the access token.
    pub access: u64,
    /// Serial of the refresh token, if one was issued.
    pub refresh: Option<u64>,
    /// Serial of the refresh token that was exchanged for it.
    pub parent: Option<u64>,
    /// The token call that issued it. None if it was issued without a call.
    pub call: Option<u64>,
    pub at: UnixMs,
    pub expires_at: UnixMs,
    /// The tick of the first use of one of the two tokens.
    pub used: Option<u64>,
}

/// One call of the token endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct TokenCall {
    /// Counts from 1.
    pub seq: u64,
    pub connection: u64,
    pub at: UnixMs,
    /// The tick at which its head was read.
    pub began: u64,
    /// The tick at which its delivery was known.
    pub ended: Option<u64>,
    pub grant_type: Option<GrantType>,
    pub client_id: Option<String>,
    pub presented: Presented,
    pub outcome: Outcome,
    /// Whether the server issued tokens and, if they are single-use, spent the presented one.
    pub committed: bool,
    /// Serial of the access token that was issued.
    pub issued: Option<u64>,
    pub status: Option<u16>,
    pub delivery: Delivery,
    /// The fault that it met.
    pub fault: Option<String>,
}

/// What a token call presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presented {
    /// No refresh token, or the call was not read.
    #[default]
    Nothing,
    Refresh {
        serial: u64,
    },
    /// A refresh token that this server never issued.
    Unknown,
}

/// The server's decision. [`Delivery`] says whether the response arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No decision yet, or a fault came first.
    #[default]
    Undecided,
    Granted,
    /// With the error's code and hint.
    Refused(String),
    Throttled,
    /// The client left before its request was complete.
    Aborted,
}

/// The delivery of a response, up to the socket's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    #[default]
    Pending,
    /// The socket has accepted all of it.
    Delivered,
    /// The connection ended first, or the client cancelled.
    Lost,
}

/// One request to the API.
#[derive(Clone, Debug, Serialize)]
pub struct ApiRequest {
    /// Counts from 1.
    pub seq: u64,
    pub connection: u64,
    pub at: UnixMs,
    /// `1` or `2`.
    pub http: u8,
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    /// `Host` or `:authority`.
    pub host: String,
    pub credential: Credential,
    pub status: Option<u16>,
    /// Whether an endpoint ran. A refused request, or one that met a fault first, had no effect.
    pub executed: bool,
    /// The length of the request's body, as far as it was read.
    pub body_length: u64,
    /// In hex; none until the body has ended.
    pub body_sha256: Option<String>,
    pub delivery: Delivery,
    /// The fault that it met.
    pub fault: Option<String>,
}

/// The `Authorization` of a request. Tokens are serials of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    None,
    /// More than one `Authorization` field.
    Several,
    /// Not `Bearer` and a text.
    Malformed,
    /// A token that this server never issued.
    Unknown,
    Live {
        token: u64,
    },
    Expired {
        token: u64,
        /// By the server's clock.
        for_ms: i64,
    },
    Revoked {
        token: u64,
    },
}

// === impl TokenCall ===

impl TokenCall {
    pub(super) fn new(seq: u64, connection: u64, at: UnixMs, began: u64) -> Self {
        Self {
            seq,
            connection,
            at,
            began,
            ended: None,
            grant_type: None,
            client_id: None,
            presented: Presented::default(),
            outcome: Outcome::default(),
            committed: false,
            issued: None,
            status: None,
            delivery: Delivery::default(),
            fault: None,
        }
    }

    pub fn refresh_token(&self) -> Option<u64> {
        match self.presented {
            Presented::Refresh { serial } => Some(serial),
            _ => None,
        }
    }

    /// Tokens were issued, and the answer that holds them was delivered.
    pub fn acknowledged(&self) -> bool {
        self.committed && self.delivery == Delivery::Delivered
    }
}

// === impl Credential ===

impl Credential {
    /// The serial, whatever the state of the token.
    pub fn token(self) -> Option<u64> {
        match self {
            Self::Live { token } | Self::Expired { token, .. } | Self::Revoked { token } => Some(token),
            Self::None | Self::Several | Self::Malformed | Self::Unknown => None,
        }
    }
}
