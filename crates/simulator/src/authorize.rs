//! `GET /oauth/authorize`: the user is logged in and agrees, so the server redirects the browser back at once.

use std::collections::HashMap;

use http::{Method, Request};
use hyper::body::Incoming;
use url::{Url, form_urlencoded};

use super::answer::Answer;
use super::clock::UnixMs;
use super::decision::is_pkce_text;
use super::exchange::{Exchange, Met, Reply};
use super::fault::{Act, Step, Target};
use super::laravel;
use super::options::{Client, GrantType, Options};
use super::redirect_uri;
use super::token_error::TokenError;
use super::tokens::{Challenge, Code};

/// League's `PT10M`.
pub(super) const CODE_LIFETIME_MS: i64 = 600_000;

/// A request that the server may answer with a redirect to the client.
#[derive(Debug)]
struct Asked {
    client: String,
    /// As given. The token call must repeat it.
    redirect_uri: Option<String>,
    send_to: Url,
    scopes: Vec<String>,
    challenge: Option<Challenge>,
    state: Option<String>,
}

pub(super) async fn serve(exchange: &Exchange, request: Request<Incoming>) -> Reply {
    if request.method() != Method::GET {
        return laravel::method_not_allowed(laravel::expects_json(request.headers()), "GET, HEAD").into();
    }
    let path = request.uri().path();
    let denied = match exchange.meet(Target::Authorize, Step::BeforeBody, path, None).await {
        Met::Answer(answer) => return answer.into(),
        Met::Act(Act::Error(error)) => Some(error),
        Met::Gone => return Reply::Never,
        Met::Nothing | Met::Act(_) => None,
    };
    let now = exchange.now();
    exchange.shared.change(|state| {
        let flavour = state.options.flavour;
        let asked = match ask(&state.options, request.uri().query().unwrap_or_default()) {
            Ok(asked) => asked,
            // No redirect to a URI that is not registered for the client.
            Err(error) => return error.answer(flavour, None).into(),
        };
        let answer = match denied {
            Some(error) => {
                let members = error.members(flavour);
                let pairs = members.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
                asked.redirect(pairs)
            }
            None => asked.redirect([("code", state.tokens.issue_code(asked.code(now)).as_str())]),
        };
        answer.into()
    })
}

fn ask(options: &Options, query: &str) -> Result<Asked, TokenError> {
    let params: HashMap<_, _> =
        form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty()).collect();
    let param = |name: &str| params.get(name).map(|value| value.as_ref());
    let missing = |name: &str| TokenError::Parameter(name.to_owned());
    let (Some("code"), Some(id)) = (param("response_type"), param("client_id")) else {
        return Err(TokenError::UnsupportedGrantType);
    };
    let client = options.clients.iter().find(|client| client.id == id).ok_or(TokenError::Client)?;
    if !client.grants.contains(&GrantType::AuthorizationCode) {
        return Err(TokenError::UnauthorizedClient);
    }
    Ok(Asked {
        client: client.id.clone(),
        redirect_uri: param("redirect_uri").map(str::to_owned),
        send_to: send_to(client, param("redirect_uri"))?,
        scopes: param("scope").unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
        challenge: match (param("code_challenge"), param("code_challenge_method").unwrap_or("plain")) {
            (None, _) if client.secret.is_none() => return Err(missing("code_challenge")),
            (None, _) => None,
            (Some(text), _) if !is_pkce_text(text) => return Err(missing("code_challenge")),
            (Some(text), "S256") => Some(Challenge::S256(text.to_owned())),
            (Some(text), "plain") => Some(Challenge::Plain(text.to_owned())),
            (Some(_), _) => return Err(missing("code_challenge_method")),
        },
        state: param("state").map(str::to_owned),
    })
}

/// The given URI if it is registered. Without one, the only registered URI.
fn send_to(client: &Client, given: Option<&str>) -> Result<Url, TokenError> {
    let uri = match (given, client.redirect_uris.as_slice()) {
        (Some(uri), _) if redirect_uri::is_registered(client, uri) => uri,
        (None, [only]) => only,
        _ => return Err(TokenError::Client),
    };
    Url::parse(uri).map_err(|_| TokenError::Client)
}

// === impl Asked ===

impl Asked {
    fn code(&self, now: UnixMs) -> Code {
        Code {
            client: self.client.clone(),
            scopes: self.scopes.clone(),
            redirect_uri: self.redirect_uri.clone(),
            challenge: self.challenge.clone(),
            expires_at: now.saturating_add(CODE_LIFETIME_MS),
            spent_for: None,
        }
    }

    fn redirect<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Answer {
        let mut to = self.send_to.clone();
        to.query_pairs_mut().extend_pairs(pairs).extend_pairs(self.state.iter().map(|state| ("state", state)));
        Answer::redirect(302, to.as_str()).header("Cache-Control", "no-cache, private")
    }
}
