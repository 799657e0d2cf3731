//! The table of keys, in the order in which they are printed. A section's keys stand together.

use std::time::Duration;

use super::Kind::{
    Boolean, Choice, Count, Digests, File, Headers, List, Parameters, Secret, Secrets, Size, Text, TextOrList, Url,
};
use super::Preset::{Computed, Profile, Unset, Value};
use super::{Key, Kind, Preset};

const ADDRESS_OR_OFF: &str = "`IP:port`, `[::1]:port`, `unix:/path.sock` or `off`";
const SECURE_URL: &str =
    "an `https` URL, or an `http` one to a loopback address, without user name, password and fragment";
const CALLS_TOKEN_ENDPOINT: &[&str] = &["refresh_token", "client_credentials"];
const LOGS_IN: &[&str] = &["refresh_token"];
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every key.
#[rustfmt::skip] // A row a key.
pub const KEYS: &[Key] = &[
    key("profile", Choice(&["passolution", "priava", "custom"]), Value("passolution"), "what one provider's servers differ in: the defaults of `[upstream]` and `[oauth]`"),
    key("listen", TextOrList("one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`"), Value("127.0.0.1:8080"), "where internal clients connect, by HTTP/1.1 or HTTP/2; the loopback, so that no other machine can use the grant").restart(),
    key("listen_mode", Text("an octal mode from `0` to `0777`, in quotes in the file"), Value("0660"), "mode of the unix sockets among `listen`: their owner and group may connect").restart(),
    key("via", Text("a token (RFC 9110 §5.6.2) of at most 128 characters"), Value("bearer-proxy"), "this gateway's name in `Via`; a request that comes back with it is a loop (508)"),
    //
    key("tls.cert_file", File, Unset, "certificate chain (PEM): serve TLS to internal clients"),
    key("tls.key_file", File, Unset, "its private key (PEM)"),
    key("tls.client_ca_file", File, Unset, "require client certificates signed by this CA (PEM)").never_empty("clients need no certificate"),
    //
    key("outbound.ca_file", File, Unset, "trust anchors (PEM) beside the built-in public roots, for upstream, token endpoint and the store's database"),
    key("outbound.proxy", Url("`http://[user:password@]host:port`, or `off`"), Computed("`HTTPS_PROXY`, `NO_PROXY`"), "an HTTP proxy to go out through, to upstream and token endpoint; `off` ignores the variables"),
    //
    key("upstream.url", Url("an `https` URL, or an `http` one to a loopback address, without user name, password, query and fragment"), Profile, "origin, with an optional path prefix put before the request's path"),
    key("upstream.headers", Headers, Profile, "headers set on every forwarded request, in the place of the client's"),
    key("upstream.cert_file", File, Unset, "client certificate chain (PEM) towards the upstream"),
    key("upstream.key_file", File, Unset, "its private key (PEM)"),
    key("upstream.http", Choice(&["auto", "1", "2"]), Value("auto"), "the version of HTTP towards the upstream; `auto` is by ALPN"),
    key("upstream.refusal", List("a list of a status from 300 to 599, alone, with a path pattern of `Location`, or with the error of a Bearer challenge: `401`, `302 **/login`, `403 invalid_token`"), Profile, "which responses count as a refused token: they cause a refresh and a replay; `401` does not match a Bearer error `insufficient_scope` or `invalid_request`, nor challenges that are all Basic, Digest, NTLM or Negotiate"),
    key("upstream.default_accept", Text("a header's value"), Profile, "`Accept` where the client sends none, or exactly `*/*`: Laravel answers a refusal in JSON only if it is asked to"),
    key("upstream.connect_timeout", duration(10 * MS, 10 * MIN), Value("5s"), "DNS, TCP and TLS together"),
    key("upstream.response_timeout", duration(10 * MS, DAY), Value("60s"), "from the request's end to the response's head"),
    key("upstream.idle_timeout", duration(10 * MS, DAY), Value("60s"), "between two pieces of a body, either way; also of an upgraded connection, and of a client that does not read"),
    key("upstream.connection_age", duration(10 * MS, DAY), Value("5m"), "a connection is retired after this, so that DNS changes are followed"),
    key("upstream.max_in_flight", count(1, 1_000_000), Value("1024"), "requests forwarded at once: bounds memory, and what a stalled upstream can pile up"),
    key("upstream.queue_timeout", duration(0, 10 * MIN), Value("1s"), "how long the next request waits for its turn, then it gets 503: a burst passes, an overload is told; as many wait as may be in flight, and further ones get it at once"),
    key("upstream.replay_limit", size(0, GIB), Value("256KiB"), "request body kept for a replay; a larger one is streamed and not replayed"),
    key("upstream.replay_budget", size(0, 64 * GIB), Value("64MiB"), "all bodies kept for replay together: bounds memory"),
    //
    key("oauth.grant", Choice(&["refresh_token", "client_credentials", "static"]), Value("refresh_token"), "how tokens are had").restart(),
    key("oauth.client_id", Text("a text of printable ASCII characters, in quotes in the file"), Unset, "the registered client's id").grants(CALLS_TOKEN_ENDPOINT),
    key("oauth.client_secret", Secret("printable ASCII characters"), Unset, "the registered client's secret").grants(CALLS_TOKEN_ENDPOINT),
    key("oauth.authorize_url", Url(SECURE_URL), Profile, "where a login sends the browser; without effect in this version, which has no `login`").grants(LOGS_IN),
    key("oauth.token_url", Url(SECURE_URL), Profile, "the token endpoint").grants(CALLS_TOKEN_ENDPOINT),
    key("oauth.redirect_uri", Url("an absolute URI without fragment, as it is registered"), Profile, "as it is registered; sent where `oauth.send_redirect_uri_on_refresh` says so").grants(LOGS_IN),
    key("oauth.scope", Text("scopes, separated by one blank (RFC 6749 §3.3)"), Profile, "what `client_credentials` asks for; a refresh sends it only with `oauth.send_scope_on_refresh`").grants(CALLS_TOKEN_ENDPOINT),
    key("oauth.token_format", Choice(&["json", "form"]), Profile, "body of a token call").grants(CALLS_TOKEN_ENDPOINT),
    key("oauth.client_auth", Choice(&["body", "basic"]), Profile, "where a token call has the client's id and secret").grants(CALLS_TOKEN_ENDPOINT),
    key("oauth.headers", Headers, Profile, "extra headers for the token endpoint").grants(CALLS_TOKEN_ENDPOINT),
    key("oauth.parameters", Parameters, Unset, "additional parameters of token requests, such as `audience` or `resource`").grants(CALLS_TOKEN_ENDPOINT),
    key("oauth.authorize_parameters", Parameters, Unset, "additional parameters of the authorization request, such as `access_type` or `prompt`").grants(LOGS_IN),
    key("oauth.send_scope_on_refresh", Boolean, Value("false"), "also send `oauth.scope` on a refresh, for servers that require it").grants(LOGS_IN),
    key("oauth.send_redirect_uri_on_refresh", Boolean, Profile, "`true` where the server wants it; others refuse the client for it").grants(LOGS_IN),
    key("oauth.ambiguous_retry", Choice(&["until_clear", "once", "never"]), Profile, "present the same refresh token again after a call whose outcome is unknown; `until_clear` only where the server does not punish a reuse").grants(LOGS_IN),
    key("oauth.refresh_token", Secret("printable ASCII characters"), Unset, "a first refresh token, used once; then the store is the truth, and this one is passed over").grants(LOGS_IN),
    key("oauth.access_token", Secret("visible ASCII characters"), Unset, "the token of the `static` grant").grants(&["static"]),
    key("oauth.request_timeout", duration(100 * MS, 10 * MIN), Value("30s"), "one call of the token endpoint; long, since a call that is given up may cost the grant").grants(CALLS_TOKEN_ENDPOINT),
    //
    key("refresh.margin", Text("a share of the lifetime from `1%` to `100%`, or a duration from 1s to 365d"), Value("20%"), "how long before expiry a refresh comes, so that an outage of the token endpoint can be waited out; at least 60s, at most 30d and half the lifetime").grants(CALLS_TOKEN_ENDPOINT),
    key("refresh.default_lifetime", duration(SEC, 3650 * DAY), Value("1h"), "of a token where the server names none, or none that makes sense").grants(CALLS_TOKEN_ENDPOINT),
    key("refresh.wait", duration(0, 10 * MIN), Value("10s"), "how long a request waits for a usable token before 503"),
    key("refresh.cooldown", duration(100 * MS, 15 * MIN), Value("60s"), "after a fresh token was refused, refusals cause no refresh this long; doubles up to 15m").grants(CALLS_TOKEN_ENDPOINT),
    key("refresh.max_per_hour", count(0, 100_000), Value("30"), "refreshes caused by refusals, in this process: an upstream that refuses every token must not cost one refresh token after the other").grants(CALLS_TOKEN_ENDPOINT),
    //
    key("store.kind", Choice(&["file", "postgres", "kubernetes", "memory"]), Computed("`file`; `memory` for the other grants"), "where the grant is kept; `memory` not for `refresh_token`, `kubernetes` not in this version").restart(),
    key("store.path", Text("a path"), Computed("`$STATE_DIRECTORY/grant.json`, else `/var/lib/bearer-proxy/grant.json`"), "of the file store; its folder must exist").stores(&["file"]).restart(),
    key("store.url", Secret("a `postgres://` or `postgresql://` URL"), Unset, "of the postgres store").stores(&["postgres"]).restart(),
    key("store.name", Text("1 to 128 letters, digits, `.`, `_` and `-`"), Computed("`default`; `bearer-proxy` for `kubernetes`"), "which grant of the postgres store").stores(&["postgres", "kubernetes"]).restart(),
    key("store.namespace", Text("a namespace's name"), Computed("the pod's own"), "of the kubernetes store").stores(&["kubernetes"]).restart(),
    key("store.keys", Secrets("a list of 32-byte keys in base64"), Unset, "encrypt at rest: the first encrypts from the next write on, all decrypt").stores(&["file", "postgres", "kubernetes"]).restart().never_empty("the grant is stored in plaintext"),
    //
    key("guard.allow", List("a list of `METHOD /path/pattern`, where `*` is one segment, `**` any number, and `*` as method any"), Computed("all"), "what clients may ask for, on the client's path; refused: 403. A rule for POST admits whatever the upstream makes of a POST body, such as Laravel's `_method`; `_method` in the query is refused").never_empty("clients may ask for everything"),
    key("guard.hosts", List("a list of host names and addresses, or `*`"), Computed("loopback names on a loopback or unix listener, else `*`"), "accepted hosts of a request, compared without port and case, against DNS rebinding; other: 421"),
    key("guard.origins", List("a list of origins, `scheme://host` with or without a port"), Computed("none"), "whose pages may use the proxy from a browser; other cross-site requests: 403. A valid client key exempts. CORS headers and preflights stay the upstream's"),
    key("guard.client_keys", Digests("a list of SHA-256 digests, 64 hexadecimal digits each"), Unset, "digests of keys of at least 128 random bits; a client then sends its key, else: 403").never_empty("clients need no key"),
    key("guard.max_connections", count(1, 1_000_000), Value("4096"), "further ones wait in the accept queue: bounds memory and file descriptors"),
    key("guard.header_timeout", duration(100 * MS, 10 * MIN), Value("10s"), "from connect, or from a request's first byte, to its full head: against clients that send slowly"),
    key("guard.idle_timeout", duration(100 * MS, DAY), Value("5m"), "a connection between requests; longer than clients keep theirs, so that they close first"),
    // hyper's buffer for a head is 8 KiB or more.
    key("guard.max_header_size", size(8 * KIB, 16 * MIB), Value("64KiB"), "of a request's fields and target; larger: 431"),
    key("guard.max_body_size", size(1, 1024 * GIB), Unset, "larger: 413; unset, any size is streamed"),
    key("guard.min_body_rate", size(1, GIB), Unset, "bytes per second that a request's body must come with on average, after its first 10 s; slower: 408; unset, since streams may pause"),
    key("guard.pass_cookies", Boolean, Value("false"), "forward `Cookie`, and return `Set-Cookie`; off, since clients that share a grant must not share a session"),
    //
    key("shutdown.delay", duration(0, 60 * MIN), Value("0s"), "after SIGTERM, go on taking new requests this long: for a sidecar that is told to stop beside its application"),
    key("shutdown.grace", duration(0, DAY), Value("20s"), "then, for requests in flight; a refresh in flight has `oauth.request_timeout` and 5s more"),
    //
    key("admin.listen", Text(ADDRESS_OR_OFF), Value("127.0.0.1:9901"), "the listener of status, metrics, refresh and drain; beyond the loopback it needs `admin.key`").restart(),
    key("admin.key", Secret("visible ASCII characters"), Unset, "a secret that every admin request then carries as `Authorization: Bearer`").never_empty("whoever reaches the admin listener may use it"),
    //
    key("probes.listen", Text(ADDRESS_OR_OFF), Value("off"), "`/livez`, `/readyz` and `/metrics` alone, for an orchestrator and Prometheus, which can't reach the loopback").restart(),
    //
    key("log.format", Choice(&["text", "json"]), Computed("`text` on a terminal, else `json`"), "logs go to standard error").restart(),
    key("log.level", Choice(&["error", "warn", "info", "debug", "trace"]), Value("info"), "the least grave that is logged"),
    key("log.requests", Choice(&["none", "errors", "all"]), Value("errors"), "requests logged, `errors`: those that the proxy answered itself, 5xx and cut ones; the path, never the query"),
    //
    key("otlp.endpoint", Url("an `http` or `https` URL"), Unset, "traces by OTLP; without effect in this version"),
];

const MS: u64 = 1;
const SEC: u64 = 1_000;
const MIN: u64 = 60 * SEC;
const DAY: u64 = 24 * 60 * MIN;

const fn key(name: &'static str, kind: Kind, preset: Preset, doc: &'static str) -> Key {
    Key { name, kind, preset, needs_restart: false, grants: &[], stores: &[], unset_means: None, doc }
}

/// In milliseconds.
const fn duration(min: u64, max: u64) -> Kind {
    Kind::Duration { min: Duration::from_millis(min), max: Duration::from_millis(max) }
}

const fn count(min: u64, max: u64) -> Kind {
    Count { min, max }
}

const fn size(min: u64, max: u64) -> Kind {
    Size { min, max }
}

// === impl Key ===

impl Key {
    const fn restart(self) -> Self {
        Self { needs_restart: true, ..self }
    }

    /// An empty value is an error, which says what an unset key means.
    const fn never_empty(self, unset_means: &'static str) -> Self {
        Self { unset_means: Some(unset_means), ..self }
    }

    const fn grants(self, grants: &'static [&'static str]) -> Self {
        Self { grants, ..self }
    }

    const fn stores(self, stores: &'static [&'static str]) -> Self {
        Self { stores, ..self }
    }
}
