//! The endpoints, by path and method.

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode};
use serde_json::json;
use tokio::sync::MutexGuard;
use tokio::task::yield_now;

use super::answer::{Answer, document, metrics, problem};
use super::readiness::Readiness;
use super::{Admin, Scope, guard};
use crate::config::ListenAddress;
use crate::token::refresher::NotRefreshed;

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Livez,
    Readyz,
    Metrics,
    Status,
    Refresh,
    Drain,
}

/// Answers one request to the listener at `bound`. The body is not read.
pub(super) async fn respond<B>(admin: &Admin, scope: Scope, bound: &ListenAddress, request: &Request<B>) -> Answer {
    let (method, path) = (request.method(), request.uri().path());
    if scope == Scope::Admin {
        let key = admin.key.load();
        let admitted = guard::admit(bound, key.as_deref(), method, request.uri(), request.headers());
        if let Err(denied) = admitted {
            tracing::debug!(?denied, %method, path, "an admin request was refused");
            return denied.answer();
        }
    }
    let Some(route) = Route::find(path, scope) else {
        return problem(StatusCode::NOT_FOUND, "not-found", "This path does not exist.", &[]);
    };
    if !route.allows(method) {
        let detail = "This path does not allow the method: see Allow.";
        let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail, &[]);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(route.methods()));
        return answer;
    }
    let _turn = match route {
        Route::Metrics | Route::Status => Some(admin.turn().await),
        Route::Livez | Route::Readyz | Route::Refresh | Route::Drain => None,
    };
    match route {
        Route::Livez => document(StatusCode::OK, &json!({"status": "alive"})),
        Route::Readyz => admin.readyz(),
        Route::Metrics => metrics(admin.metrics.render(&admin.tokens.live().view())),
        Route::Status => document(StatusCode::OK, &admin.tokens.status()),
        Route::Refresh => admin.refresh().await,
        Route::Drain => {
            tracing::info!("an admin request starts the drain");
            admin.drain.send_replace(true);
            document(StatusCode::ACCEPTED, &json!({"draining": true}))
        }
    }
}

// === impl Route ===

impl Route {
    fn find(path: &str, scope: Scope) -> Option<Self> {
        match (path, scope) {
            ("/livez", _) => Some(Self::Livez),
            ("/readyz", _) => Some(Self::Readyz),
            ("/metrics", _) => Some(Self::Metrics),
            ("/status", Scope::Admin) => Some(Self::Status),
            ("/refresh", Scope::Admin) => Some(Self::Refresh),
            ("/drain", Scope::Admin) => Some(Self::Drain),
            _ => None,
        }
    }

    fn allows(self, method: &Method) -> bool {
        match self {
            Self::Livez | Self::Readyz | Self::Metrics | Self::Status => matches!(*method, Method::GET | Method::HEAD),
            Self::Refresh | Self::Drain => *method == Method::POST,
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Livez | Self::Readyz | Self::Metrics | Self::Status => "GET, HEAD",
            Self::Refresh | Self::Drain => "POST",
        }
    }
}

// === impl Admin ===

impl Admin {
    /// Waits for the turn to render an expensive response. After each one, the other tasks of this thread (probes and the refresher) run,
    /// even if clients request such responses all the time.
    async fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.rendering.lock().await;
        yield_now().await;
        turn
    }

    fn readyz(&self) -> Answer {
        let live = self.tokens.live();
        let readiness = Readiness::new(&live.view(), self.tokens.status().state, live.clock().now());
        let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        document(status, &readiness)
    }

    async fn refresh(&self) -> Answer {
        tracing::info!("an admin request starts a refresh");
        match self.tokens.refresh().await {
            Ok(_) => document(StatusCode::OK, &self.tokens.status()),
            Err(NotRefreshed { reason, needs_login }) => {
                let grant = serde_json::to_value(self.tokens.status()).unwrap_or_default();
                let more = [("needs_login", json!(needs_login)), ("grant", grant)];
                problem(StatusCode::SERVICE_UNAVAILABLE, "refresh-failed", &reason, &more)
            }
        }
    }
}
