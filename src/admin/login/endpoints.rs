//! The requests of a login.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{self, Body};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, COOKIE, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::offer::CALLBACK;
use super::{Begun, Cookie, LIFETIME, NotBegun, cookie_name};
use crate::admin::Admin;
use crate::admin::answer::{Json, Problem};
use crate::admin::visit::Visit;
use crate::secret::Secret;
use crate::token::login::{Callback, MAX_LENGTH};

type Shared = State<Arc<Admin>>;

/// Time limit for the body of a request.
const BODY: Duration = Duration::from_secs(10);
/// A text of the maximum length, of which JSON may escape each character.
const MAX_BODY: usize = 6 * MAX_LENGTH + 1024;

/// No copy of the URL, which has a code, is left in a cache or sent to another page.
const PRIVATE: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (REFERRER_POLICY, "no-referrer")];

/// The answer to `POST /login`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Started {
    authorize_url: String,
    expires_at: Timestamp,
    /// Whether the redirect arrives here.
    callback: bool,
}

/// The body of `POST /login/code`.
#[derive(Deserialize)]
struct Pasted {
    input: String,
}

/// The answer to `POST /login/code`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Ended {
    ok: bool,
    message: String,
}

/// `POST /login`
pub(in crate::admin) async fn begin(
    State(admin): Shared,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Problem> {
    let settings = admin.settings.load_full();
    let begun = admin.logins.begin(&settings.config, &visit).await;
    let Begun { authorize_url, expires_at, cookie } = begun.map_err(|error| match error {
        NotBegun::NotOffered(_) => Problem::new(StatusCode::FORBIDDEN, "login-not-offered", error.to_string()),
        NotBegun::Failed(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "login-failed", error.to_string()),
    })?;
    tracing::info!("a login in the browser begins");
    let started = Started { authorize_url: authorize_url.into(), expires_at, callback: cookie.is_some() };
    let mut response = Json(StatusCode::OK, started).into_response();
    if let Some(Cookie { name, value }) = cookie {
        set_cookie(&mut response, &name, value.expose(), LIFETIME);
    }
    Ok(response)
}

/// `GET /callback`: the browser comes back from the authorization server.
pub(in crate::admin) async fn callback(
    State(admin): Shared,
    Extension(visit): Extension<Visit>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let callback = Callback::from_query(uri.query().unwrap_or_default()).map_err(|_| unknown())?;
    let name = cookie_name(visit.host.port_u16().unwrap_or(80));
    // The page shows how it ended.
    let _ = admin.logins.redirected(callback, &cookies(&headers, &name)).await.ok_or_else(unknown)?;
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, "/")], PRIVATE).into_response();
    set_cookie(&mut response, &name, "", Duration::ZERO);
    Ok(response)
}

/// `POST /login/code`: a person pastes what the browser was sent to.
pub(in crate::admin) async fn paste(State(admin): Shared, body: Body) -> Result<Json<Ended>, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad-request", detail);
    let body = timeout(BODY, body::to_bytes(body, MAX_BODY)).await;
    let body =
        body.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "The body is incomplete."))?;
    let body = body.map_err(|_| bad("The body is incomplete or too large.".to_owned()))?;
    let pasted = serde_json::from_slice::<Pasted>(&body);
    let Pasted { input } = pasted.map_err(|_| bad("The body must be JSON with the text `input`.".to_owned()))?;
    let callback = Callback::from_pasted(&input).map_err(|malformed| {
        bad(format!("Not accepted: {malformed}. Use the whole URL that the browser was sent to, or only the code."))
    })?;
    match admin.logins.pasted(callback).await.ok_or_else(unknown)? {
        Ok(stored) => Ok(Json(StatusCode::OK, Ended { ok: true, message: stored.to_string() })),
        Err(error) => {
            let detail = format!("{error}. The stored grant is unchanged.");
            Err(Problem::new(StatusCode::BAD_GATEWAY, "login-failed", detail))
        }
    }
}

fn unknown() -> Problem {
    let detail =
        "This response belongs to no login that is waiting in this browser: start the login again on the page.";
    Problem::new(StatusCode::BAD_REQUEST, "login-unknown", detail)
}

/// The values of all cookies of this name.
fn cookies(headers: &HeaderMap, name: &str) -> Vec<Secret> {
    let pairs =
        headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('=')).map(Secret::new).collect()
}

/// The browser sends it only with the redirect: a navigation to this path.
fn set_cookie(response: &mut Response, name: &str, value: &str, life: Duration) {
    let life = life.as_secs();
    let cookie = format!("{name}={value}; Path={CALLBACK}; Max-Age={life}; HttpOnly; SameSite=Lax");
    let mut cookie = HeaderValue::try_from(cookie).ok();
    if let Some(cookie) = &mut cookie {
        cookie.set_sensitive(true);
    }
    response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
}
