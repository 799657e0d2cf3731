//! The API: a guard, then endpoints of every shape of answer that a proxy must carry.
//!
//! | below `/api/v2` (Priava: `/api/rest`) | answer |
//! |---|---|
//! | `/health`, `/version`, `/infosystem/passolution`, `/account/subscription`, `/countries?limit=` | JSON of the real shapes |
//! | `/content/all/pdf` | a PDF |
//! | `/echo` and all below it | JSON: method, target, version, headers, length and SHA-256 of the body, trailers |
//! | `/echo-stream` | the request's body as it arrives, with its trailers |
//! | `/bytes/N?chunk=&every=&length=no` | N bytes, `a` to `z` repeated, one chunk per `every` ms |
//! | `/events?n=&every=` | server-sent events |
//! | `/trailers` | a body with the trailer `x-checksum` |
//! | `/status/CODE` | that status, JSON; 204 and 304 without a body |
//! | `/answer?status=&header=Name: value&body=` | that answer |
//! | `/delay/MS` | JSON after this delay |
//! | `/hang?read=no` | none; `read=no` leaves the request's body unread |
//! | `/forbidden`, `/quota`, `/broken` | 403 scope, 429 with `Retry-After`, 503 as a page |
//! | `/always-401`, `/late-401`, `/early-401?read=no` | 401 for any token, after or before the body was read |
//! | `/tunnel` | 101, then every byte back |
//!
//! The simulator guards all routes, including `/health` and others that real servers leave open.

use http::header::HOST;
use http::{HeaderMap, Request, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use self::endpoint::Endpoint;
use super::body::{Sum, Summed};
use super::exchange::{Exchange, Met, Reply, Row};
use super::fault::{Act, Step, Target};
use super::ledger::{ApiRequest, Credential, Delivery};
use super::{guard, laravel};

mod endpoint;
mod fixed;
mod stream;
mod tunnel;

/// A request's body, counted as it is read.
type Upload = Summed<Incoming>;

/// A request that passed the guard.
struct Admitted {
    exchange: Exchange,
    head: http::request::Parts,
    seq: u64,
    credential: Credential,
    expects_json: bool,
}

pub(super) async fn serve(exchange: &Exchange, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let expects_json = laravel::expects_json(&head.headers);
    let (seq, credential, options) = exchange.shared.change(|state| {
        let credential = guard::credential(&state.tokens, &head.headers, exchange.now());
        let seq = state.ledger.open_request(row(exchange, &head, credential));
        (seq, credential, state.options.clone())
    });
    let mut body = upload(exchange, seq, body);
    let endpoint = Endpoint::read(&head.uri, options.flavour.api_prefix());
    let refusal = || reply(seq, guard::refusal(&options, expects_json));

    match exchange.meet(Target::Api, Step::BeforeBody, &path, Some(Row::Request(seq))).await {
        Met::Answer(answer) => return reply(seq, answer),
        Met::Act(Act::Refuse) => return linger(body, refusal()),
        Met::Gone => return Reply::Never,
        Met::Nothing | Met::Act(_) => {}
    }
    if let Endpoint::AlwaysEarly { read } = endpoint {
        let answer = reply(seq, fixed::always_refused());
        return if read { linger(body, answer) } else { answer };
    }
    let is_let_in = guard::is_let_in(credential, &options);
    if !is_let_in && options.early_refusal {
        return linger(body, refusal());
    }
    let mut trailers = HeaderMap::new();
    if !(is_let_in && endpoint.takes_the_stream()) {
        match drain(&mut body).await {
            Ok(found) => trailers = found,
            // The client has left.
            Err(_) => return Reply::Never,
        }
    }
    match exchange.meet(Target::Api, Step::BeforeCommit, &path, Some(Row::Request(seq))).await {
        Met::Answer(answer) => return reply(seq, answer),
        Met::Act(Act::Refuse) => return refusal(),
        Met::Gone => return Reply::Never,
        Met::Nothing | Met::Act(_) => {}
    }
    if let Endpoint::AlwaysLate = endpoint {
        return reply(seq, fixed::always_refused());
    }
    if !is_let_in {
        return refusal();
    }
    exchange.shared.change(|state| state.ledger.request_mut(seq).map(|request| request.executed = true));
    let admitted = Admitted { exchange: exchange.clone(), head, seq, credential, expects_json };
    let reply = endpoint::run(endpoint, admitted, body, trailers).await;
    match exchange.meet(Target::Api, Step::AfterCommit, &path, Some(Row::Request(seq))).await {
        Met::Nothing => reply,
        Met::Answer(answer) => self::reply(seq, answer),
        Met::Gone => Reply::Never,
        Met::Act(act) => match reply {
            Reply::Answer(response, row) => Reply::Answer(exchange.cut(response, &act), row),
            Reply::Never => Reply::Never,
        },
    }
}

fn row(exchange: &Exchange, head: &http::request::Parts, credential: Credential) -> ApiRequest {
    ApiRequest {
        seq: 0,
        connection: exchange.line.id,
        at: exchange.now(),
        http: if head.version == Version::HTTP_2 { 2 } else { 1 },
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: host(head),
        credential,
        status: None,
        executed: false,
        body_length: 0,
        body_sha256: None,
        delivery: Delivery::Pending,
        fault: None,
    }
}

/// `Host`, or `:authority` in HTTP/2.
fn host(head: &http::request::Parts) -> String {
    let field = head.headers.get(HOST).and_then(|value| value.to_str().ok());
    field.or(head.uri.authority().map(|authority| authority.as_str())).unwrap_or_default().to_owned()
}

fn upload(exchange: &Exchange, seq: u64, body: Incoming) -> Upload {
    let shared = exchange.shared.clone();
    let told = Box::new(move |sum: Sum| {
        shared.change(|state| {
            if let Some(request) = state.ledger.request_mut(seq) {
                request.body_length = sum.length;
                request.body_sha256 = sum.is_whole.then(|| sum.hex());
            }
        });
    });
    let is_empty = body.is_end_stream();
    let mut upload = Summed::new(body, told);
    if is_empty {
        upload.finish();
    }
    upload
}

/// Reads a body to its end and returns its trailers.
async fn drain(body: &mut Upload) -> Result<HeaderMap, hyper::Error> {
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        if let Ok(found) = frame?.into_trailers() {
            trailers.extend(found);
        }
    }
    Ok(trailers)
}

/// Answers before the body was read, and reads on meanwhile, as nginx does. Closing a socket with unread bytes resets it, which can
/// lose the response.
fn linger(mut body: Upload, reply: Reply) -> Reply {
    tokio::spawn(async move { drain(&mut body).await });
    reply
}

fn reply(seq: u64, answer: super::answer::Answer) -> Reply {
    Reply::Answer(answer.into_response(), Some(Row::Request(seq)))
}
