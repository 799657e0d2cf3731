//! The API.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::config::address::{self, Origin};
use crate::config::header;
use crate::config::key::{DAY, GIB, MIN, MS, choice, count, duration, file, headers, list, size, text, url};
use crate::config::pattern::RefusalPattern;
use crate::config::reader::Reader;
use crate::config::section::{choice, section};

section! {
    #[derive(Clone, Debug)]
    pub struct UpstreamConfig in "upstream." {
        /// Headers that the proxy sets on every forwarded request. They replace the client's.
        headers: HeaderMap = headers().by_profile();
        /// HTTP version to the upstream. `auto` negotiates it by ALPN.
        http: UpstreamHttp = choice(UpstreamHttp::NAMES).default("auto");
        /// Responses that count as a refused token: they cause a refresh and a replay. `401` does not match if the Bearer error is
        /// `insufficient_scope` or `invalid_request`, or if all challenges are Basic, Digest, NTLM or Negotiate.
        refusal: Vec<RefusalPattern> = list("a list of statuses from 300 to 599, each alone, with a path pattern for `Location`, or with the error of a Bearer challenge: `401`, `302 **/login`, `403 invalid_token`").by_profile()
            => list(|text| Ok(RefusalPattern::parse(text)?));
        /// `Accept` value if the client sends none, or exactly `*/*`. Laravel answers a refusal in JSON only if the request asks for JSON.
        default_accept: Option<HeaderValue> = text("a header value").by_profile() => parse_if_set(header::value);
        /// Time limit for DNS, TCP and TLS together.
        connect_timeout: Duration = duration(10 * MS, 10 * MIN).default("5s");
        /// Time limit from the end of the request to the response head.
        response_timeout: Duration = duration(10 * MS, DAY).default("60s");
        /// Maximum time between two pieces of body data, in either direction. Also applies to an upgraded connection, and to a client
        /// that does not read.
        idle_timeout: Duration = duration(10 * MS, DAY).default("60s");
        /// Age at which the proxy retires a connection, so that it follows DNS changes.
        connection_age: Duration = duration(10 * MS, DAY).default("5m");
        /// Maximum number of requests forwarded at once. Bounds memory, and the backlog of a stalled upstream.
        max_in_flight: usize = count(1, 1_000_000).default("1024");
        /// How long the next request waits for its turn before it gets 503: absorbs bursts and rejects overload. At most
        /// `upstream.max_in_flight` requests wait; further ones get 503 at once.
        queue_timeout: Duration = duration(0, 10 * MIN).default("1s");
        /// Maximum size of a request body kept for a replay. A larger body is streamed and not replayed.
        replay_limit: usize = size(0, GIB).default("256KiB");
        /// Maximum total size of all bodies kept for replay. Bounds memory.
        replay_budget: usize = size(0, 64 * GIB).default("64MiB");
    }
    with {
        origin: Origin;
        /// Precedes the request's path; empty, or begins with `/` and does not end with one.
        path_prefix: String;
        client_cert: Option<ClientCert>;
    }
    keys {
        /// Origin of the API, with an optional path prefix that precedes the request's path.
        url = url("an `https` URL, or an `http` one to a loopback address, without user name, password, query and fragment").by_profile();
        /// Client certificate chain (PEM) for the upstream.
        cert_file = file();
        /// Private key (PEM) of `upstream.cert_file`.
        key_file = file();
    }
}

choice! {
    pub enum UpstreamHttp {
        Auto = "auto",
        Http1 = "1",
        Http2 = "2",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

pub(super) fn read(reader: &mut Reader) -> Option<UpstreamConfig> {
    if !reader.is_set("upstream.url") {
        reader.missing("upstream.url", "the URL of the API, which this profile does not define");
    }
    let (origin, path_prefix) = reader.parse("upstream.url", address::origin).unzip();
    let pair = reader.pair("upstream.cert_file", "upstream.key_file");
    let client_cert = pair.map(|(cert_file, key_file)| ClientCert { cert_file, key_file });
    let upstream = UpstreamConfig::read(reader, origin, path_prefix, Some(client_cert))?;
    if upstream.replay_budget < upstream.replay_limit {
        reader.warn("upstream.replay_budget", "is less than upstream.replay_limit: a body of that size is never kept");
    }
    Some(upstream)
}
