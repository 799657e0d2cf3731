//! The control interface for other processes: `/_sim/…` on the server's port.
//!
//! | request | does |
//! |---|---|
//! | `GET /_sim/ledger` | the ledger as JSON, with serials instead of tokens |
//! | `POST /_sim/fault` | sets the fault in the body (see `fault.rs` for its members) |
//! | `DELETE /_sim/fault` | clears all faults |
//! | `POST /_sim/revoke` | `{"access":3}`, `{"refresh":2}`, `{"grant":1}`, or `{"all":"access"}`, `"refresh"`, `"both"` |
//! | `POST /_sim/grant` | a new grant, as after a login elsewhere: the only response with tokens |
//! | `POST /_sim/clock` | `{"offset_ms":-60000}` from the system's time |
//! | `POST /_sim/connections` | `{"end":"close"}`, `"reset"` or `"drain"`: ends all connections after this response |

use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::clock::millis;
use super::exchange::Exchange;
use super::fault::Fault;
use super::line::End;
use super::options::Options;
use super::state::State;
use super::tokens::Draft;

/// A grant that was issued without a token call.
#[derive(Clone, Debug)]
pub struct Grant {
    pub access_token: String,
    pub refresh_token: String,
    /// Serial of the access token.
    pub access: u64,
    /// Serial of the refresh token.
    pub refresh: u64,
    /// The number of the login, which its descendants share.
    pub grant: u64,
    pub expires_at: i64,
}

/// The tokens to revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Revocation {
    /// One access token.
    Access(u64),
    All(Kind),
    /// All tokens of a grant.
    Grant(u64),
    /// One refresh token.
    Refresh(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Access,
    Both,
    Refresh,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    offset_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Connections {
    end: Ending,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ending {
    Close,
    Drain,
    Reset,
}

const MAX_BODY: usize = 16 * 1024 * 1024;

pub(super) async fn serve(exchange: &Exchange, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else { return Answer::empty(413) };
    let body = body.to_bytes();
    let shared = &exchange.shared;
    let done = match (&head.method, head.uri.path()) {
        (&Method::GET, "/_sim/ledger") => {
            return shared.read(|state| match serde_json::to_value(&state.ledger) {
                Ok(ledger) => Answer::json(200, &ledger),
                Err(error) => bad(500, &error),
            });
        }
        (&Method::POST, "/_sim/fault") => match read::<Fault>(&body) {
            Ok(fault) if fault.is_possible() => {
                shared.change(|state| state.faults.add(fault));
                Ok(())
            }
            Ok(_) => return Answer::json(400, &json!({"message": "The act can't happen at that step."})),
            Err(error) => Err(error),
        },
        (&Method::DELETE, "/_sim/fault") => {
            shared.change(|state| state.faults.clear());
            Ok(())
        }
        (&Method::POST, "/_sim/revoke") => match read::<Revocation>(&body) {
            Ok(what) if shared.change(|state| what.apply(state)) => Ok(()),
            Ok(_) => return Answer::json(404, &json!({"message": "There is no such token."})),
            Err(error) => Err(error),
        },
        (&Method::POST, "/_sim/grant") => {
            let now = exchange.now();
            return match shared.change(|state| state.grant(None, now)) {
                Some(grant) => Answer::json(200, &grant.to_json()),
                None => Answer::json(404, &json!({"message": "There is no client."})),
            };
        }
        (&Method::POST, "/_sim/clock") => {
            read::<Clock>(&body).map(|clock| shared.change(|_| shared.clock.set_offset_ms(clock.offset_ms)))
        }
        (&Method::POST, "/_sim/connections") => read::<Connections>(&body).map(|connections| {
            shared.end_lines(&match connections.end {
                Ending::Close => End::Close,
                Ending::Drain => End::Drain,
                Ending::Reset => End::Reset,
            });
        }),
        _ => return Answer::json(404, &json!({"message": "There is no such control."})),
    };
    match done {
        Ok(()) => Answer::empty(204),
        Err(error) => bad(400, &error),
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body)
}

fn bad(status: u16, error: &serde_json::Error) -> Answer {
    Answer::json(status, &json!({"message": error.to_string()}))
}

// === impl Grant ===

impl Grant {
    /// The response of a token endpoint, and the serials.
    fn to_json(&self) -> Value {
        json!({
            "token_type": "Bearer",
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "access": self.access,
            "refresh": self.refresh,
            "grant": self.grant,
            "expires_at": self.expires_at,
        })
    }
}

// === impl Revocation ===

impl Revocation {
    /// Returns false for an unknown token.
    pub(super) fn apply(self, state: &mut State) -> bool {
        match self {
            Self::Access(serial) => return state.tokens.revoke_access(serial),
            Self::Refresh(serial) => return state.tokens.revoke_refresh(serial),
            Self::Grant(grant) => state.tokens.revoke_grant(grant),
            Self::All(kind) => {
                if kind != Kind::Refresh {
                    state.tokens.revoke_all_access();
                }
                if kind != Kind::Access {
                    state.tokens.revoke_all_refresh();
                }
            }
        }
        true
    }
}

// === impl State ===

impl State {
    /// A new grant of a client, the first one by default, with the options' lifetimes. None if there is no such client.
    pub(super) fn grant(&mut self, client: Option<&str>, now: i64) -> Option<Grant> {
        let Options { clients, access_lifetime, refresh_lifetime, .. } = &self.options;
        let client = clients.iter().find(|known| client.is_none_or(|id| known.id == id))?;
        let draft = Draft {
            client: client.id.clone(),
            scopes: vec!["*".to_owned()],
            after: None,
            access_expires_at: now.saturating_add(millis(*access_lifetime)),
            refresh_expires_at: Some(now.saturating_add(millis(*refresh_lifetime))),
        };
        let fresh = self.issue_out_of_band(draft, now);
        let (refresh, refresh_token) = fresh.refresh?;
        Some(Grant {
            access_token: fresh.access_text,
            refresh_token,
            access: fresh.access,
            refresh,
            grant: fresh.grant,
            expires_at: fresh.expires_at,
        })
    }
}
