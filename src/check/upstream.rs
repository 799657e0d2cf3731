//! Checks of the upstream, by one GET with the stored access token. It never refreshes, and tells no proxy of a refusal.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use super::finding::Finding;
use super::ids::{Area, Id};
use crate::config::Config;
use crate::outbound::{Protocol, Stream};
use crate::proxy::refusal::Refusals;
use crate::token::AccessToken;

/// The head of the response, or why there is none.
pub type Facts = Result<(StatusCode, HeaderMap), String>;

/// One GET on this connection.
pub async fn call(config: &Config, path: &str, token: &AccessToken, io: (Stream, Protocol), within: Duration) -> Facts {
    let (io, protocol) = io;
    let request = request(config, path, token, protocol)?;
    let exchange = async {
        let io = TokioIo::new(io);
        let sent = match protocol {
            Protocol::Http1 => {
                let (mut sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
                let driver = tokio::spawn(connection);
                let response = sender.send_request(request).await;
                driver.abort();
                response
            }
            Protocol::Http2 => {
                let handshake = http2::handshake(TokioExecutor::new(), io).await;
                let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
                let driver = tokio::spawn(connection);
                let response = sender.send_request(request).await;
                driver.abort();
                response
            }
        };
        let head = sent.map_err(|error| error.to_string())?.into_parts().0;
        Ok((head.status, head.headers))
    };
    timeout(within, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {within:.1?}")))
}

fn request(
    config: &Config,
    path: &str,
    token: &AccessToken,
    protocol: Protocol,
) -> Result<Request<Empty<Bytes>>, String> {
    let upstream = &config.upstream;
    let target = format!("{}{path}", upstream.path_prefix);
    let unusable = |error: &dyn std::fmt::Display| format!("the request cannot be made: {error}");
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, upstream.default_accept.clone().unwrap_or(HeaderValue::from_static("application/json")));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("bearer-proxy/", env!("CARGO_PKG_VERSION"))));
    headers.extend(upstream.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    headers.insert(AUTHORIZATION, token.header().map_err(|error| unusable(&error))?);
    if protocol == Protocol::Http1 {
        let host = HeaderValue::from_str(upstream.origin.authority.as_str()).map_err(|error| unusable(&error))?;
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        *request.uri_mut() = target.parse().map_err(|error| unusable(&error))?;
    } else {
        let (scheme, authority) = (upstream.origin.scheme.clone(), upstream.origin.authority.clone());
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
        *request.uri_mut() = uri.map_err(|error| unusable(&error))?;
        *request.version_mut() = Version::HTTP_2;
    }
    Ok(request)
}

pub fn judge(config: &Config, path: &str, facts: &Facts) -> Vec<Finding> {
    let (status, headers) = match facts {
        Ok(response) => response,
        Err(error) => {
            let finding = Id::UpstreamFails.warn(
                format!("GET {path} got no response: {error}"),
                "ask the operator of the API, or correct upstream.url",
            );
            return with_rest(finding);
        }
    };
    let code = status.as_u16();
    let finding = if Refusals::new(config.upstream.refusal.clone()).is_refusal(*status, headers) {
        Id::UpstreamRefuses.fail(
            format!("GET {path} got {code}: the upstream refuses the stored access token"),
            "run `bearer-proxy refresh`; if the new token is refused too, log in again",
        )
    } else {
        match code {
            200..300 => return Vec::new(),
            401 | 403 => Id::UpstreamForbids.warn(
                format!(
                    "GET {path} got {code}: the token is valid, and its account or scope does not permit the request"
                ),
                "ask the operator of the API for the scope, or have a firewall admit this machine",
            ),
            429 => Id::UpstreamQuota.warn(
                format!("GET {path} got 429: the quota or the limit of concurrent requests is used up"),
                "wait for the next period, or ask the operator of the API for a larger quota",
            ),
            _ => Id::UpstreamFails
                .warn(format!("GET {path} got {code}"), "ask the operator of the API, or correct upstream.url"),
        }
    };
    with_rest(finding)
}

fn with_rest(finding: Finding) -> Vec<Finding> {
    let rest = Area::Upstream.skip_others(std::slice::from_ref(&finding), &finding.because());
    std::iter::once(finding).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use http::header::LOCATION;

    use super::*;
    use crate::check::tests::{load, names};

    #[test]
    fn each_response_has_its_id() {
        let config = load(&[]).unwrap().config;
        let location = |path: &'static str| HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(path))]);
        let none = HeaderMap::new;
        for (status, headers, expected) in [
            (200, none(), &[][..]),
            (204, none(), &[]),
            (401, none(), &["upstream-refuses"]),
            (302, location("/login"), &["upstream-refuses"]),
            (302, location("/elsewhere"), &["upstream-fails"]),
            (403, none(), &["upstream-forbids"]),
            (429, none(), &["upstream-quota"]),
            (404, none(), &["upstream-fails"]),
            (500, none(), &["upstream-fails"]),
        ] {
            let facts = Ok((StatusCode::from_u16(status).unwrap(), headers));
            let problems: Vec<_> = judge(&config, "/x", &facts).into_iter().filter(Finding::is_problem).collect();
            assert_eq!(names(&problems), expected, "{status}");
        }
        let problems: Vec<_> =
            judge(&config, "/x", &Err("reset".into())).into_iter().filter(Finding::is_problem).collect();
        assert_eq!(names(&problems), ["upstream-fails"]);
    }
}
