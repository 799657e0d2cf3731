//! The only writer of the token: when it is refreshed, one at a time, and what follows each outcome.

use std::sync::Arc;

use crate::token::live::{Live, LiveToken};
use crate::token::status::Status;

/// What the rest of the program holds of the token's journey: reads the live token, reports refusals, asks for a refresh.
#[derive(Clone, Debug)]
pub struct Tokens {
    live: Arc<Live>,
}

/// Why a refresh that a person asked for brought no new token.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotRefreshed {
    /// What happened and what to do; holds no secret.
    pub reason: String,
    /// Whether only a login helps.
    pub needs_login: bool,
}

// === impl Tokens ===

impl Tokens {
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The status document of this moment.
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Forces a refresh, or joins the one in flight, and waits for its outcome.
    pub async fn refresh(&self) -> Result<Arc<LiveToken>, NotRefreshed> {
        todo!()
    }
}
