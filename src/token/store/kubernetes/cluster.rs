//! Calls to the API server of the cluster: the two named objects, and nothing else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;
use url::Url;
use zeroize::Zeroizing;

use super::fault::{Fault, Place, Resource, Rule, Verb};
use super::stream::Events;
use crate::files;
use crate::outbound::client::{Client, RequestError};

/// The API server, and the names of the two objects.
pub(super) struct Cluster {
    pub(super) place: Place,
    /// The directory of the service account: `token`, `ca.crt`.
    account: PathBuf,
    /// The client, and the trust anchors that it was built with.
    client: Mutex<Option<(Vec<CertificateDer<'static>>, Client)>>,
    /// The server asked not to be called before this moment.
    quiet_until: Mutex<Option<Instant>>,
}

/// What the API server answers, apart from faults.
pub(super) enum Reply<T> {
    Found(T),
    Missing,
    /// The object exists, or is not of the stated version.
    Conflict,
}

/// The time limit of one call.
const CALL: Duration = Duration::from_secs(4);
/// A Secret has at most 1 MiB, and base64 and the other fields add to it.
const LARGEST: usize = 4 << 20;
/// The range of an accepted `Retry-After`.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The server closes a watch after this time, and the next one begins with a read. The random part separates the replicas.
const WATCH_SECONDS: (f64, f64) = (240.0, 60.0);

// === impl Cluster ===

impl Cluster {
    pub(super) fn new(place: Place, account: &Path) -> Self {
        Self { place, account: account.to_owned(), client: Mutex::default(), quiet_until: Mutex::default() }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, resource: Resource) -> Result<Reply<T>, Fault> {
        self.call(Verb::Get, resource, None, false).await
    }

    /// A merge patch with `metadata.resourceVersion` changes exactly that version.
    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        resource: Resource,
        patch: &Value,
    ) -> Result<Reply<T>, Fault> {
        self.call(Verb::Patch, resource, Some(patch), false).await
    }

    pub(super) async fn create<T: DeserializeOwned>(
        &self,
        resource: Resource,
        object: &Value,
    ) -> Result<Reply<T>, Fault> {
        self.call(Verb::Create, resource, Some(object), false).await
    }

    /// Whether the API server lets this process do that. It changes nothing. `Some`: the missing rule.
    pub(super) async fn forbids(&self, verb: Verb, resource: Resource, body: &Value) -> Result<Option<Rule>, Fault> {
        let outcome = match verb {
            Verb::Watch => self.watch(None, 1).await.map(drop),
            Verb::Get => self.get::<Value>(resource).await.map(drop),
            Verb::Patch | Verb::Create => self.call::<Value>(verb, resource, Some(body), true).await.map(drop),
        };
        match outcome {
            Ok(()) => Ok(None),
            Err(Fault::Forbidden(rule)) => Ok(Some(rule)),
            // The question was whether it is forbidden.
            Err(Fault::Refused(_)) => Ok(None),
            Err(fault @ (Fault::Unavailable(_) | Fault::Expired)) => Err(fault),
        }
    }

    /// Watches the Secret: from this version on, or from its present state if it does not exist.
    pub(super) async fn watch_secret(&self, version: Option<&str>) -> Result<Events, Fault> {
        let (shortest, random) = WATCH_SECONDS;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 240 to 300")]
        let seconds = (shortest + random * crate::token::policy::random()) as u32;
        self.watch(version, seconds).await
    }

    async fn watch(&self, version: Option<&str>, seconds: u32) -> Result<Events, Fault> {
        let mut url = self.url(Verb::Watch, Resource::Secret)?;
        let selector = format!("metadata.name={}", self.place.name);
        url.query_pairs_mut()
            .append_pair("watch", "1")
            // RBAC by name admits a watch only with this selector.
            .append_pair("fieldSelector", &selector)
            .append_pair("allowWatchBookmarks", "true")
            .append_pair("timeoutSeconds", &seconds.to_string());
        if let Some(version) = version {
            url.query_pairs_mut().append_pair("resourceVersion", version);
        }
        self.must_not_be_quiet()?;
        let (client, request) = self.request(Method::GET, url)?;
        let response = client.open(request, CALL).await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::OK => Ok(Events::new(response)),
            StatusCode::GONE => Err(Fault::Expired),
            status => Err(self.refusal(status, response.headers(), Verb::Watch, Resource::Secret)),
        }
    }

    /// Makes a call. A call that got no answer is made once more: a write states a version, so the second one changes nothing.
    async fn call<T: DeserializeOwned>(
        &self,
        verb: Verb,
        resource: Resource,
        body: Option<&Value>,
        dry_run: bool,
    ) -> Result<Reply<T>, Fault> {
        let mut url = self.url(verb, resource)?;
        if dry_run {
            url.query_pairs_mut().append_pair("dryRun", "All");
        }
        let mut again = true;
        let response = loop {
            self.must_not_be_quiet()?;
            let (client, mut request) = self.request(verb.method(), url.clone())?;
            if let Some(body) = body {
                let bytes = serde_json::to_vec(body).map_err(|error| Fault::Refused(error.to_string()))?;
                request = request.header(CONTENT_TYPE, verb.content_type()).body(bytes);
            }
            match client.send(request, LARGEST, CALL).await {
                Ok(response) => break response,
                Err(RequestError::Broken(_)) if again => again = false,
                Err(error) => return Err(self.unreachable(&error)),
            }
        };
        match response.status {
            StatusCode::OK | StatusCode::CREATED => {
                let object = serde_json::from_slice(&response.body);
                // The text of serde would quote the object.
                let odd =
                    |_| Fault::Refused(format!("{} answered with another object than a {resource}", self.place.server));
                object.map(Reply::Found).map_err(odd)
            }
            StatusCode::NOT_FOUND => Ok(Reply::Missing),
            StatusCode::CONFLICT => Ok(Reply::Conflict),
            status => Err(self.refusal(status, &response.headers, verb, resource)),
        }
    }

    fn url(&self, verb: Verb, resource: Resource) -> Result<Url, Fault> {
        let Place { server, namespace, name } = &self.place;
        let group = resource.path();
        let name = if matches!(verb, Verb::Get | Verb::Patch) { format!("/{name}") } else { String::new() };
        let url = format!("{server}{group}/namespaces/{namespace}/{}{name}", resource.plural());
        Url::parse(&url).map_err(|error| Fault::Refused(format!("{url}: {error}")))
    }

    /// A request with the present token and trust anchors, because both rotate.
    fn request(&self, method: Method, url: Url) -> Result<(Client, RequestBuilder), Fault> {
        let client = self.client()?;
        let path = self.account.join("token");
        let unusable = |what: String| {
            Fault::Refused(format!(
                "the service account token {} cannot be used: {what}; mount one into this container (a projected volume)",
                path.display()
            ))
        };
        let token = files::read_text(&path).map_err(|error| unusable(error.to_string()))?;
        let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut bearer = HeaderValue::try_from(&**bearer).map_err(|_| unusable("it is no token".to_owned()))?;
        bearer.set_sensitive(true);
        let request = client.request(method, url).header(AUTHORIZATION, bearer).header(ACCEPT, "application/json");
        Ok((client, request))
    }

    fn client(&self) -> Result<Client, Fault> {
        let path = self.account.join("ca.crt");
        let unusable =
            |what: String| Fault::Refused(format!("the CA of the cluster, {}, cannot be used: {what}", path.display()));
        let anchors = files::read_certificates(&path).map_err(|error| {
            unusable(match error {
                tokio_rustls::rustls::pki_types::pem::Error::Io(error) => error.to_string(),
                _ => "it is not PEM".to_owned(),
            })
        })?;
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = &*client
            && *known == anchors
        {
            return Ok(client.clone());
        }
        let built = Client::cluster(&anchors).map_err(|error| unusable(error.what))?;
        *client = Some((anchors, built.clone()));
        Ok(built)
    }

    fn must_not_be_quiet(&self) -> Result<(), Fault> {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
        match left {
            None => Ok(()),
            Some(left) => {
                let text = format!(
                    "{} throttles this client (Retry-After): the next call is possible in {left:.1?}",
                    self.place.server
                );
                Err(Fault::Unavailable(text))
            }
        }
    }

    fn unreachable(&self, error: &RequestError) -> Fault {
        let hint = if error.to_string().contains("certificate") {
            format!("; here, the trusted CA is {}", self.account.join("ca.crt").display())
        } else {
            String::new()
        };
        Fault::Unavailable(format!("{}: {error}{hint}", self.place.server))
    }

    /// The text of the server is left out, because it can quote an object.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, verb: Verb, resource: Resource) -> Fault {
        let server = &self.place.server;
        let code = status.as_u16();
        match status {
            StatusCode::FORBIDDEN => Fault::Forbidden(Rule { verb, resource, place: self.place.clone() }),
            StatusCode::UNAUTHORIZED => Fault::Refused(format!(
                "{server} does not accept the service account token {} (401): it has expired, or is for another audience",
                self.account.join("token").display()
            )),
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => Fault::Refused(format!(
                "{server} refuses the change of the {resource} {}/{} ({code}): it is immutable, too large, or an admission policy \
                 forbids the change",
                self.place.namespace, self.place.name
            )),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::INTERNAL_SERVER_ERROR => {
                let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let pause = asked.map(|seconds| Duration::from_secs(seconds).clamp(RETRY.0, RETRY.1));
                if let Some(pause) = pause.or((status == StatusCode::TOO_MANY_REQUESTS).then_some(RETRY.0)) {
                    *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + pause);
                }
                Fault::Unavailable(format!("{server} answered with {status}"))
            }
            status => Fault::Refused(format!("{server} refused to {verb} the {resource} with {status}")),
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("place", &self.place).finish_non_exhaustive()
    }
}
