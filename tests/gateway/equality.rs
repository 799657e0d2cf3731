//! A valid message through the proxy equals the same message without the proxy, except for the documented fields.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use testkit::Answer;
use testkit::body::{TestBody, empty, full, pieces};
use testkit::connection::{Connection, Protocol};
use testkit::origin::Seen;
use testkit::stage::Stage;

/// Of each pair of protocols.
const CASES: u32 = 256;

#[derive(Clone, Debug)]
struct Message {
    fields: Vec<(String, Vec<u8>)>,
    body: Content,
}

#[derive(Clone, Debug)]
enum Content {
    None,
    /// A body of declared length.
    Known(Vec<u8>),
    Pieces(Vec<Vec<u8>>, Option<Vec<u8>>),
}

#[derive(Clone, Debug)]
struct Exchange {
    method: String,
    target: String,
    request: Message,
    status: u16,
    response: Message,
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"]).prop_map(String::from),
        1 => "[A-Za-z!#$%&'*+.^_`|~0-9-]{1,20}".prop_filter("refused", |name| !["CONNECT", "TRACE"].contains(&name.as_str())),
    ]
}

fn target() -> impl Strategy<Value = String> {
    let pchar = "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}){0,12}";
    let path = prop::collection::vec(pchar, 1..5).prop_map(|segments| format!("/{}", segments.join("/")));
    let query = prop::option::of("([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2}){0,30}");
    (path, query).prop_map(|(path, query)| match query {
        None => path,
        Some(query) => format!("{path}?{query}"),
    })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => 0x20..0x7fu8, 1 => 0x80..=0xffu8, 1 => Just(b'\t')];
    // Whitespace around a value is not part of it (RFC 9110 §5.5).
    prop::collection::vec(byte, 0..40).prop_map(|value| value.trim_ascii().to_vec())
}

fn fields(known: &'static [&'static str]) -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![3 => "x-[a-c]{1,2}", 1 => "q[a-z0-9!#$%&'*+.^_`|~-]{0,20}", 2 => prop::sample::select(known).prop_map(String::from)];
    prop::collection::vec((name, value()), 0..12)
}

fn content() -> impl Strategy<Value = Content> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..3000);
    prop_oneof![
        Just(Content::None),
        bytes().prop_map(Content::Known),
        (prop::collection::vec(bytes(), 0..5), prop::option::of(value()))
            .prop_map(|(list, trailer)| Content::Pieces(list, trailer)),
    ]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let asked = fields(&[
        "accept",
        "accept-language",
        "range",
        "if-match",
        "content-type",
        "user-agent",
        "cache-control",
        "trailer-x",
    ]);
    let answered = fields(&[
        "content-type",
        "etag",
        "vary",
        "www-authenticate",
        "link",
        "age",
        "content-encoding",
        "via",
        "server",
    ]);
    let status =
        prop::sample::select(vec![200u16, 200, 201, 204, 206, 299, 301, 304, 400, 403, 404, 429, 500, 503, 599]);
    (token(), target(), asked, content(), status, answered, content()).prop_map(
        |(method, target, asked, sent, status, answered, returned)| Exchange {
            // hyper's client needs this field to send such a body.
            request: Message {
                fields: asked,
                body: match sent {
                    Content::Pieces(list, _) if ["GET", "HEAD"].contains(&method.as_str()) => {
                        Content::Known(list.concat())
                    }
                    other => other,
                },
            },
            // hyper's server would send it over HTTP/2 nevertheless.
            response: Message {
                fields: answered,
                body: if [204, 304].contains(&status) || method == "HEAD" { Content::None } else { returned },
            },
            method,
            target,
            status,
        },
    )
}

impl Message {
    /// Puts it into a head, and returns the body.
    fn write(&self, headers: &mut HeaderMap) -> TestBody {
        for (name, value) in &self.fields {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        match &self.body {
            Content::None => empty(),
            Content::Known(bytes) => full(bytes.clone()),
            Content::Pieces(list, trailer) => {
                let trailers = trailer.as_ref().map(|value| {
                    headers.insert("trailer", HeaderValue::from_static("x-trailer"));
                    HeaderMap::from_iter([(
                        HeaderName::from_static("x-trailer"),
                        HeaderValue::from_bytes(value).unwrap(),
                    )])
                });
                pieces(&list.iter().map(|piece| Bytes::from(piece.clone())).collect::<Vec<_>>(), trailers)
            }
        }
    }
}

impl Exchange {
    fn request(&self) -> Request<TestBody> {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).unwrap();
        *request.uri_mut() = self.target.parse().unwrap();
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let body = self.request.write(request.headers_mut());
        request.map(|()| body)
    }

    fn response(&self) -> Response<TestBody> {
        let mut response = Response::new(());
        *response.status_mut() = self.status.try_into().unwrap();
        let body = self.response.write(response.headers_mut());
        response.map(|()| body)
    }
}

/// The other fields, each with all its values in order.
fn but_for(headers: &HeaderMap, names: &[&str]) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut fields: Vec<(String, Vec<Vec<u8>>)> = headers
        .keys()
        .filter(|name| !names.contains(&name.as_str()))
        .map(|name| (name.to_string(), headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()))
        .collect();
    fields.sort();
    fields
}

/// The documented rule for `Accept` of a request.
fn expected_accept(given: &[String]) -> Vec<String> {
    match given {
        [] => vec!["application/json, */*;q=0.8".to_owned()],
        [only] if only == "*/*" => vec!["application/json, */*;q=0.8".to_owned()],
        given => given.to_vec(),
    }
}

fn compare(direct: (&Seen, &Answer), through: (&Seen, &Answer)) -> Result<(), TestCaseError> {
    let ((sent, answered), (forwarded, returned)) = (direct, through);
    prop_assert_eq!(&sent.method, &forwarded.method);
    prop_assert_eq!(&sent.target, &forwarded.target);
    prop_assert_eq!(&sent.body, &forwarded.body);
    prop_assert_eq!(&sent.trailers, &forwarded.trailers);
    // The framing belongs to the hop, and the others to the gateway.
    let own = ["host", "authorization", "via", "accept", "content-length", "transfer-encoding"];
    prop_assert_eq!(but_for(&sent.headers, &own), but_for(&forwarded.headers, &own));
    prop_assert_eq!(expected_accept(&sent.values("accept")), forwarded.values("accept"));
    prop_assert_eq!(forwarded.values("authorization").len(), 1);
    prop_assert_eq!(forwarded.values("via").len(), 1);

    prop_assert_eq!(answered.status, returned.status);
    prop_assert_eq!(&answered.body, &returned.body);
    prop_assert_eq!(&answered.trailers, &returned.trailers);
    let own = ["date", "content-length", "transfer-encoding"];
    prop_assert_eq!(but_for(&answered.headers, &own), but_for(&returned.headers, &own));
    Ok(())
}

fn every_message(down: Protocol, up: Protocol) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stage = runtime.block_on(Stage::new(up, false, |setup| setup.set("LOG__REQUESTS", "none")));
    let plan: Arc<Mutex<Option<Exchange>>> = Arc::default();
    let record = stage.origin.answer("*", {
        let plan = Arc::clone(&plan);
        move |_| plan.lock().unwrap().as_ref().unwrap().response()
    });
    // proptest calls the function more than once.
    let record = Mutex::new(record);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&exchange(), |exchange| {
        *plan.lock().unwrap() = Some(exchange.clone());
        // A failed case may have left records.
        while record.lock().unwrap().try_recv().is_ok() {}
        let (direct, through) = runtime.block_on(async {
            let mut direct = Connection::over(stage.origin.stream().await, up, false).await;
            let answered = direct.ask(exchange.request()).await;
            let sent = record.lock().unwrap().try_recv().unwrap();
            let mut client = stage.client(down).await;
            let returned = client.ask(exchange.request()).await;
            let forwarded = record.lock().unwrap().try_recv().unwrap();
            ((sent, answered), (forwarded, returned))
        });
        compare((&direct.0, &direct.1), (&through.0, &through.1))
    });
    if let Err(error) = outcome {
        panic!("{error}\n{}", stage.proxy.log().join("\n"));
    }
}

#[test]
fn http1_to_http1() {
    every_message(Protocol::Http1, Protocol::Http1);
}

#[test]
fn http1_to_http2() {
    every_message(Protocol::Http1, Protocol::Http2);
}

#[test]
fn http2_to_http1() {
    every_message(Protocol::Http2, Protocol::Http1);
}

#[test]
fn http2_to_http2() {
    every_message(Protocol::Http2, Protocol::Http2);
}
