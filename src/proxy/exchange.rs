//! One request and its response, from the request's head to the response's last byte: counted, and logged if configured.

use std::rc::Rc;

use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use tokio::time::Instant;

use super::error::Failure;
use crate::config::LogRequests;
use crate::metrics::{InFlight, Source, WorkerMetrics};

/// Where one worker's exchanges are counted, and which of them are logged.
pub struct Observer {
    pub metrics: WorkerMetrics,
    pub log: LogRequests,
    /// The gateway's name, for `Proxy-Status`.
    pub via: String,
}

/// The exchange is counted when it is dropped.
pub struct Exchange {
    observer: Rc<Observer>,
    began: Instant,
    method: Method,
    path: Option<PathAndQuery>,
    /// `None`: the client left before there was a response.
    response: Option<(StatusCode, Source)>,
    /// Problem type and text of the proxy's own response.
    failure: Option<(&'static str, String)>,
    cut: bool,
    _in_flight: InFlight,
}

/// The status that is counted if the client left before its response. It is nginx's, and not registered.
const CLIENT_GONE: u16 = 499;

// === impl Exchange ===

impl Exchange {
    pub(super) fn new<B>(observer: &Rc<Observer>, request: &Request<B>) -> Box<Self> {
        Box::new(Self {
            began: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned().filter(|_| observer.log != LogRequests::None),
            response: None,
            failure: None,
            cut: false,
            _in_flight: observer.metrics.in_flight(),
            observer: Rc::clone(observer),
        })
    }

    pub(super) fn via(&self) -> &str {
        &self.observer.via
    }

    pub(super) fn responded(&mut self, status: StatusCode) {
        self.response = Some((status, Source::Upstream));
    }

    /// The proxy responds itself.
    pub(super) fn failed(&mut self, failure: &Failure) {
        if !matches!(failure, Failure::ClientGone) {
            if self.observer.log != LogRequests::None {
                self.failure = Some((failure.kind(), failure.to_string()));
            }
            self.response = Some((failure.status(), Source::Proxy));
        }
    }

    /// The response body ended. `cut`: it ended too early.
    pub(super) fn body_ended(&mut self, cut: bool) {
        self.cut = cut;
    }

    fn log(&self, status: StatusCode, source: Source) {
        let wanted = match self.observer.log {
            LogRequests::None => false,
            LogRequests::All => true,
            LogRequests::Errors => source == Source::Proxy || status.is_server_error() || self.cut,
        };
        if wanted {
            let (kind, error) = self.failure.as_ref().map(|(kind, error)| (*kind, error.as_str())).unzip();
            tracing::info!(
                method = self.method.as_str(),
                // Never the query, which may hold personal data.
                path = self.path.as_ref().map_or("-", PathAndQuery::path),
                status = status.as_u16(),
                source = source.name(),
                kind,
                error,
                cut = self.cut,
                duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "request"
            );
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let gone = StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST);
        let (status, source) = self.response.unwrap_or((gone, Source::Proxy));
        self.observer.metrics.request(&self.method, status, source, self.began.elapsed());
        if self.response.is_some() {
            self.log(status, source);
        }
    }
}
