//! The endpoints of each listener. Each route stands here once.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::answer::{Json, MetricsText, Problem};
use super::events::events;
use super::login::{CALLBACK, endpoints as login};
use super::page::{FILES, File};
use super::readiness::Readiness;
use super::visit::{Connected, Visit};
use super::{Admin, Scope, guard, settings};
use crate::config::ListenAddress;
use crate::token::refresher::NotRefreshed;
use crate::token::status::Status;

type Shared = State<Arc<Admin>>;

/// What answers the requests to one listener.
#[derive(Clone)]
pub(super) struct Site {
    admin: Arc<Admin>,
    scope: Scope,
    bound: Arc<ListenAddress>,
    router: Router,
}

// === impl Site ===

impl Site {
    /// `bound`: the address of the listener.
    pub(super) fn new(admin: Arc<Admin>, scope: Scope, bound: Arc<ListenAddress>) -> Self {
        let router = match scope {
            Scope::Probes => probes(),
            Scope::Admin => operators(),
        };
        let router = router.fallback(not_found).with_state(Arc::clone(&admin));
        Self { admin, scope, bound, router }
    }

    /// Answers one request. Only an endpoint that needs the body reads it.
    pub(super) async fn respond(&self, mut request: Request, connection: &Connected) -> Response {
        if self.scope == Scope::Admin {
            let (method, uri) = (request.method(), request.uri());
            let settings = self.admin.settings.load_full();
            match guard::admit(&self.bound, settings.key(), method, uri, request.headers()) {
                Ok(host) => {
                    let (bound, connection) = (Arc::clone(&self.bound), connection.clone());
                    request.extensions_mut().insert(Visit { bound, host, connection });
                }
                Err(denied) => {
                    tracing::debug!(?denied, %method, path = uri.path(), "an admin request was refused");
                    return denied.into_response();
                }
            }
        }
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The endpoints that both listeners have.
fn probes() -> Router<Arc<Admin>> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

fn operators() -> Router<Arc<Admin>> {
    let router = probes()
        .route("/status", get(status))
        .route("/config", get(config))
        .route("/events", get(events))
        .route("/refresh", post(refresh))
        .route("/drain", post(drain))
        .route("/login", post(login::begin))
        .route("/login/code", post(login::paste))
        // HEAD must not end a login.
        .route(CALLBACK, get_only(login::callback));
    let serve = |file: &'static File| get(async |headers: HeaderMap| file.response(&headers));
    FILES.iter().fold(router, |router, file| router.route(file.path, serve(file)))
}

fn get<H: Handler<T, Arc<Admin>>, T: 'static>(handler: H) -> MethodRouter<Arc<Admin>> {
    routing::get(handler).fallback(async || not_allowed("GET, HEAD"))
}

fn get_only<H: Handler<T, Arc<Admin>>, T: 'static>(handler: H) -> MethodRouter<Arc<Admin>> {
    let refuse = async || not_allowed("GET");
    routing::get(handler).head(refuse).fallback(refuse)
}

fn post<H: Handler<T, Arc<Admin>>, T: 'static>(handler: H) -> MethodRouter<Arc<Admin>> {
    routing::post(handler).fallback(async || not_allowed("POST"))
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "This path does not exist.")
}

fn not_allowed(methods: &'static str) -> impl IntoResponse {
    let detail = "This path does not allow the method: see Allow.";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
    ([(ALLOW, HeaderValue::from_static(methods))], problem)
}

async fn livez() -> Json<Value> {
    Json(StatusCode::OK, json!({"status": "alive"}))
}

async fn readyz(State(admin): Shared) -> Json<Readiness> {
    let live = admin.tokens.live();
    let readiness = Readiness::new(&live.view(), admin.tokens.status().state, live.clock().now());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Json(status, readiness)
}

async fn metrics(State(admin): Shared) -> MetricsText {
    let _turn = admin.turn().await;
    MetricsText(admin.metrics.render(&admin.tokens.live().view()))
}

async fn status(State(admin): Shared) -> Json<Status> {
    let _turn = admin.turn().await;
    Json(StatusCode::OK, admin.tokens.status())
}

async fn config(State(admin): Shared) -> Json<Vec<settings::Value>> {
    let _turn = admin.turn().await;
    Json(StatusCode::OK, admin.settings.load().values())
}

async fn refresh(State(admin): Shared) -> Result<Json<Status>, Problem> {
    tracing::info!("an admin request starts a refresh");
    match admin.tokens.refresh().await {
        Ok(_) => Ok(Json(StatusCode::OK, admin.tokens.status())),
        Err(NotRefreshed { reason, needs_login }) => {
            let grant = serde_json::to_value(admin.tokens.status()).unwrap_or_default();
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "refresh-failed", reason);
            Err(problem.with("needs_login", needs_login).with("grant", grant))
        }
    }
}

async fn drain(State(admin): Shared) -> Json<Value> {
    tracing::info!("an admin request starts the drain");
    admin.drain.send_replace(true);
    Json(StatusCode::ACCEPTED, json!({"draining": true}))
}
