//! `GET /events`: the page's document, again whenever it changes, and a sample every ten seconds (server-sent events, HTML §9.2).
//!
//! A stream counts as an idle connection, so it keeps no probe out. It ends before its connection is too old, and the page opens it
//! again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, StatusCode};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Admin;
use super::answer::Problem;
use super::document::{Content, Page};
use super::history::Sample;
use super::visit::Visit;

/// Maximum number of open streams.
pub(super) const MOST: usize = 8;
/// How often the document is compared with the one that was sent.
const LOOK: Duration = Duration::from_secs(1);

const FIELDS: [(HeaderName, &str); 4] = [
    (CONTENT_TYPE, "text/event-stream"),
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // The next stream gets a new connection, which is not old.
    (CONNECTION, "close"),
];

/// An open stream.
struct Events {
    admin: Arc<Admin>,
    visit: Visit,
    newest: watch::Receiver<Option<Sample>>,
    look: Interval,
    /// `None`: nothing was sent.
    sent: Option<Content>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn events(State(admin): State<Arc<Admin>>, Extension(visit): Extension<Visit>) -> Response {
    if admin.tokens.live().view().draining {
        let grant = serde_json::to_value(admin.tokens.status()).unwrap_or_default();
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "The proxy is draining.");
        return ([(RETRY_AFTER, "1")], problem.with("grant", grant)).into_response();
    }
    let Ok(permit) = Arc::clone(&admin.streams).try_acquire_owned() else {
        let detail = format!("{MOST} event streams are open, and there may be no more: close another page.");
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail);
        return ([(RETRY_AFTER, "5")], problem).into_response();
    };
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let newest = admin.history.newest();
    let events = Events { admin, visit, newest, look, sent: None, over: false, _permit: permit };
    (FIELDS, Body::from_stream(unfold(events, Events::next))).into_response()
}

// === impl Events ===

impl Events {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.sent.is_none() {
            let event = self.page()?;
            return Some((Ok(event), self));
        }
        while !self.over {
            let live = self.admin.tokens.live();
            let event = tokio::select! {
                biased;
                () = self.visit.connection.over() => return None,
                () = live.wait_for(|view| view.draining.then_some(())) => {
                    self.over = true;
                    self.page()
                }
                changed = self.newest.changed() => {
                    changed.ok()?;
                    let sample = *self.newest.borrow_and_update();
                    sample.and_then(|sample| event("sample", &sample))
                }
                _ = self.look.tick() => self.page(),
            };
            if let Some(event) = event {
                return Some((Ok(event), self));
            }
        }
        None
    }

    /// The document, if it differs from the one that was sent.
    fn page(&mut self) -> Option<Bytes> {
        let content = Content::new(&self.admin, &self.visit);
        if self.sent.as_ref() == Some(&content) {
            return None;
        }
        let samples = self.sent.is_none().then(|| self.admin.history.samples());
        let page = event("page", &Page::new(&content, samples, self.admin.tokens.live().clock().now()));
        self.sent = Some(content);
        page
    }
}

fn event(name: &str, data: &impl Serialize) -> Option<Bytes> {
    match serde_json::to_string(data) {
        Ok(json) => Some(format!("event: {name}\ndata: {json}\n\n").into()),
        Err(error) => {
            tracing::error!(%error, "an event of the page could not be written as JSON");
            None
        }
    }
}
