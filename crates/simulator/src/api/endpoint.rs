//! Which endpoint a path names, and what it does.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, Uri};
use url::form_urlencoded;

use super::{Admitted, Upload, drain, fixed, stream, tunnel};
use crate::answer::Answer;
use crate::exchange::{Reply, Row};
use crate::laravel;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    AlwaysEarly { read: bool },
    AlwaysLate,
    Broken,
    Bytes { length: u64, chunk: usize, every: Duration, announced: bool },
    Countries { limit: usize },
    Custom(Answer),
    Delay(Duration),
    Echo,
    EchoStream,
    Events { count: u64, every: Duration },
    Forbidden,
    Hang { read: bool },
    Health,
    Infosystem,
    Pdf,
    Quota,
    Status(u16),
    Subscription,
    Trailers,
    Tunnel,
    Unknown,
    Version,
}

struct Query(HashMap<String, Vec<String>>);

pub(super) async fn run(endpoint: Endpoint, admitted: Admitted, mut body: Upload, trailers: HeaderMap) -> Reply {
    let json = admitted.expects_json;
    let answer = match endpoint {
        Endpoint::AlwaysEarly { .. } | Endpoint::AlwaysLate => fixed::always_refused(),
        Endpoint::Broken => Answer::html(503, "Service Unavailable"),
        Endpoint::Bytes { length, chunk, every, announced } => {
            return admitted.streams(stream::bytes(length, chunk, every, announced));
        }
        Endpoint::Countries { limit } => fixed::countries(limit),
        Endpoint::Custom(answer) => answer,
        Endpoint::Delay(by) => {
            tokio::time::sleep(by).await;
            Answer::json(200, &serde_json::json!({"delayed_ms": u64::try_from(by.as_millis()).unwrap_or(u64::MAX)}))
        }
        Endpoint::Echo => fixed::echo(&admitted, &trailers),
        Endpoint::EchoStream => {
            let response = stream::echo(&admitted.head.headers, body);
            return admitted.streams(response);
        }
        Endpoint::Events { count, every } => return admitted.streams(stream::events(count, every)),
        Endpoint::Forbidden => laravel::missing_scope(json),
        Endpoint::Hang { read } => {
            if read {
                let _ = drain(&mut body).await;
            }
            // Held, so that the connection's window fills up.
            std::future::pending::<()>().await;
            return Reply::Never;
        }
        Endpoint::Health => fixed::health(),
        Endpoint::Infosystem => fixed::infosystem(),
        Endpoint::Pdf => fixed::pdf(),
        Endpoint::Quota => fixed::quota(&admitted),
        Endpoint::Status(status @ (204 | 304)) => Answer::empty(status),
        Endpoint::Status(status) => Answer::json(status, &serde_json::json!({"status": status})),
        Endpoint::Subscription => fixed::subscription(),
        Endpoint::Trailers => return admitted.streams(stream::with_trailers()),
        Endpoint::Tunnel => return tunnel::open(admitted),
        Endpoint::Unknown => laravel::not_found(json),
        Endpoint::Version => fixed::version(),
    };
    admitted.answers(answer)
}

// === impl Endpoint ===

impl Endpoint {
    pub fn read(uri: &Uri, prefix: &str) -> Self {
        let path = uri.path().strip_prefix(prefix).unwrap_or_default();
        let query = Query::read(uri.query().unwrap_or_default());
        let mut segments = path.split('/').skip(1);
        match (segments.next().unwrap_or_default(), segments.next()) {
            ("account", Some("subscription")) => Self::Subscription,
            ("always-401" | "late-401", None) => Self::AlwaysLate,
            ("answer", None) => Self::Custom(query.answer()),
            ("broken", None) => Self::Broken,
            ("bytes", Some(length)) => Self::Bytes {
                length: length.parse().unwrap_or(0),
                chunk: query.number("chunk", stream::CHUNK).clamp(1, stream::CHUNK),
                every: Duration::from_millis(query.number("every", 0)),
                announced: query.first("length") != Some("no"),
            },
            ("content", Some("all")) if path.ends_with("/pdf") => Self::Pdf,
            ("countries", None) => Self::Countries { limit: query.number("limit", 10) },
            ("delay", Some(ms)) => Self::Delay(Duration::from_millis(ms.parse().unwrap_or(0))),
            ("early-401", None) => Self::AlwaysEarly { read: query.first("read") != Some("no") },
            ("echo", _) => Self::Echo,
            ("echo-stream", None) => Self::EchoStream,
            ("events", None) => {
                Self::Events { count: query.number("n", 10), every: Duration::from_millis(query.number("every", 0)) }
            }
            ("forbidden", None) => Self::Forbidden,
            ("hang", None) => Self::Hang { read: query.first("read") != Some("no") },
            ("health", None) => Self::Health,
            ("infosystem", Some(_)) => Self::Infosystem,
            ("quota", None) => Self::Quota,
            ("status", Some(code)) => code.parse().map_or(Self::Unknown, Self::Status),
            ("trailers", None) => Self::Trailers,
            ("tunnel", None) => Self::Tunnel,
            ("version", None) => Self::Version,
            _ => Self::Unknown,
        }
    }

    /// Whether it reads the request's body itself.
    pub fn takes_the_stream(&self) -> bool {
        matches!(self, Self::EchoStream | Self::Hang { .. })
    }
}

// === impl Admitted ===

impl Admitted {
    fn answers(&self, answer: Answer) -> Reply {
        super::reply(self.seq, answer)
    }

    fn streams(&self, response: http::Response<crate::body::SimBody>) -> Reply {
        Reply::Answer(response, Some(Row::Request(self.seq)))
    }
}

// === impl Query ===

impl Query {
    fn read(query: &str) -> Self {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            values.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Self(values)
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        self.first(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    fn answer(&self) -> Answer {
        let headers = self.0.get("header").into_iter().flatten().filter_map(|line| line.split_once(':'));
        let mut answer = Answer::empty(self.number("status", 200)).body(self.first("body").unwrap_or_default());
        for (name, value) in headers {
            answer = answer.header(name, value.trim());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_one_endpoint() {
        let ms = Duration::from_millis;
        let cases = [
            ("/api/v2/health", Endpoint::Health),
            ("/api/v2/echo", Endpoint::Echo),
            ("/api/v2/echo/a/b?x=1", Endpoint::Echo),
            ("/api/v2/echoes", Endpoint::Unknown),
            ("/api/v2/status/418", Endpoint::Status(418)),
            ("/api/v2/status/teapot", Endpoint::Unknown),
            ("/api/v2/content/all/pdf?lang=de", Endpoint::Pdf),
            ("/api/v2/countries?limit=3", Endpoint::Countries { limit: 3 }),
            ("/api/v2/early-401?read=no", Endpoint::AlwaysEarly { read: false }),
            ("/api/v2/events?n=2&every=5", Endpoint::Events { count: 2, every: ms(5) }),
            (
                "/api/v2/bytes/70000?chunk=7&every=3&length=no",
                Endpoint::Bytes { length: 70_000, chunk: 7, every: ms(3), announced: false },
            ),
            ("/api/v2/", Endpoint::Unknown),
            ("/other", Endpoint::Unknown),
        ];
        for (target, expected) in cases {
            assert_eq!(Endpoint::read(&target.parse().unwrap(), "/api/v2"), expected, "{target}");
        }
    }

    #[test]
    fn a_custom_answer_is_read_from_the_query() {
        let target = "/api/v2/answer?status=299&header=X-A:%201&header=X-A:2&body=hello";
        let expected = Answer::empty(299).header("X-A", 1).header("X-A", 2).body("hello");
        assert_eq!(Endpoint::read(&target.parse().unwrap(), "/api/v2"), Endpoint::Custom(expected));
    }
}
