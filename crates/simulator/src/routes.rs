//! The part of the server that a path belongs to.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;

use super::body::SimBody;
use super::exchange::{Exchange, Reply};
use super::options::Flavour;
use super::{api, authorize, control, laravel, token_endpoint};
use crate::answer::Answer;

pub(super) async fn answer(exchange: Exchange, request: Request<Incoming>) -> Result<Response<SimBody>, Infallible> {
    let method = request.method().clone();
    let reply = route(&exchange, request).await;
    Ok(exchange.deliver(reply, &method).await)
}

async fn route(exchange: &Exchange, request: Request<Incoming>) -> Reply {
    let flavour = exchange.shared.read(|state| state.options.flavour);
    let path = request.uri().path();
    let expects_json = laravel::expects_json(request.headers());
    let is_api = path.strip_prefix(flavour.api_prefix()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match (path, flavour) {
        _ if path.starts_with("/_sim/") => control::serve(exchange, request).await.into(),
        // The documentation gives a path that can be read in two ways.
        ("/api/rest/oauth/token" | "/rest/oauth/token", Flavour::Priava) => {
            token_endpoint::serve(exchange, request).await
        }
        _ if is_api => api::serve(exchange, request).await,
        (_, Flavour::Priava) => laravel::not_found(expects_json).into(),
        ("/oauth/token", _) => token_endpoint::serve(exchange, request).await,
        ("/oauth/authorize", _) => authorize::serve(exchange, request).await,
        // Passport's renewal of a browser's cookie, behind the session and its CSRF guard: not the OAuth refresh.
        ("/oauth/token/refresh", Flavour::League8 | Flavour::League9) => laravel::page_expired(expects_json).into(),
        ("/login", _) => laravel::login_page().into(),
        // The redirect loses the query.
        ("/", _) => Answer::redirect(302, "/en").into(),
        _ => laravel::not_found(expects_json).into(),
    }
}
