//! The simulator against its specification, over real sockets.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::*;

mod api;
mod control;
mod errors;
mod faults;
mod guard;
mod login;
mod rotation;
mod transport;

/// A response that was read to its end.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Http {
    One,
    Two,
}

// === impl Seen ===

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Sends on a new connection and reads the response to its end.
async fn send(simulator: &Simulator, http: Http, request: Request<Full<Bytes>>) -> hyper::Result<Seen> {
    let tcp = TokioIo::new(TcpStream::connect(simulator.address()).await.unwrap());
    let response = match http {
        Http::One => {
            let (mut sender, connection) = http1::handshake(tcp).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
        Http::Two => {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), tcp).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok(Seen { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers })
}

fn request(
    simulator: &Simulator,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("{}{target}", simulator.origin()));
    request = request.header("host", simulator.address().to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// `GET` with a bearer token.
async fn get(simulator: &Simulator, target: &str, token: &str) -> hyper::Result<Seen> {
    let headers = [("authorization", &*format!("Bearer {token}")), ("accept", "application/json")];
    send(simulator, Http::One, request(simulator, Method::GET, target, &headers, "")).await
}

/// A token call in the flavour's format. These parameters override the client's; `null` removes one.
async fn token_call(simulator: &Simulator, params: Value) -> hyper::Result<Seen> {
    let mut body = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
    for (name, value) in params.as_object().unwrap() {
        body[name] = value.clone();
    }
    token_call_of(simulator, body, &[]).await
}

/// A token call with exactly these parameters and additional headers.
async fn token_call_of(simulator: &Simulator, params: Value, headers: &[(&str, &str)]) -> hyper::Result<Seen> {
    let (flavour, path) = simulator.shared().read(|state| (state.options.flavour, state.options.flavour.token_path()));
    let (kind, body) = if flavour.is_league() {
        ("application/json", params.to_string())
    } else {
        let pairs = params.as_object().unwrap().iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        ("application/x-www-form-urlencoded;charset=utf-8", form)
    };
    let mut all = vec![("content-type", kind), ("accept", "application/json")];
    if flavour == Flavour::Priava {
        all.push(("TenantRegion", "EU"));
    }
    all.extend(headers);
    send(simulator, Http::One, request(simulator, Method::POST, path, &all, body)).await
}

async fn refresh(simulator: &Simulator, refresh_token: &str) -> hyper::Result<Seen> {
    let redirect_uri = match simulator.shared().read(|state| state.options.flavour) {
        Flavour::Priava => json!("https://app.example/callback"),
        _ => Value::Null,
    };
    let params = json!({"grant_type": "refresh_token", "refresh_token": refresh_token, "redirect_uri": redirect_uri});
    token_call(simulator, params).await
}

/// The new access and refresh token of a response.
fn pair(seen: &Seen) -> (String, String) {
    assert_eq!(seen.status, 200, "{}", seen.text());
    let body = seen.json();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}
