//! A token request: the constant part, and the body (RFC 6749 §4.1.3, §4.4.2, §6).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde::Serializer;
use url::Position;
use url::form_urlencoded::{self, byte_serialize};
use zeroize::Zeroizing;

use super::{EndpointError, Presented};
use crate::config::{ClientAuth, Origin, TokenEndpoint, TokenFormat};
use crate::secret::Secret;

/// The part of a request that is the same in each call.
pub(super) struct Template {
    /// In origin form (RFC 9112 §3.2.1).
    target: Uri,
    headers: HeaderMap,
}

/// A body parameter.
type Field<'a> = (&'a str, &'a str);

/// The fields that the connection and the body determine, so `oauth.headers` can't set them. `Authorization` is one of them,
/// because a client must not authenticate in two ways at once (RFC 6749 §2.3).
const NOT_CONFIGURABLE: [HeaderName; 10] =
    [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

// === impl Template ===

impl Template {
    pub(super) fn new(config: &TokenEndpoint, origin: &Origin) -> Result<Self, EndpointError> {
        let unusable = || EndpointError::Url { host: origin.host().to_owned() };
        let target = config.url[Position::BeforePath..Position::AfterQuery].parse().map_err(|_| unusable())?;
        let mut headers = HeaderMap::new();
        // Laravel's throttle and error pages are JSON only if the client asks for JSON.
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // Without this field, a server may choose any coding (RFC 9110 §12.5.3).
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("bearer-proxy/", env!("CARGO_PKG_VERSION"))));
        for name in config.headers.keys() {
            headers.remove(name);
        }
        headers.extend(config.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        for name in NOT_CONFIGURABLE {
            headers.remove(name);
        }
        headers.insert(HOST, HeaderValue::from_str(origin.authority.as_str()).map_err(|_| unusable())?);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(config.format.content_type()));
        if let (ClientAuth::Basic, Some(secret)) = (config.client_auth, &config.client_secret) {
            let mut value = HeaderValue::from_str(&format!("Basic {}", &*basic(&config.client_id, secret)))
                .map_err(|_| EndpointError::Credentials)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self { target, headers })
    }

    pub(super) fn request(&self, presented: Presented<'_>, config: &TokenEndpoint) -> Request<Full<Bytes>> {
        let body = config.format.encode(&fields(presented, config));
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        // The buffer is zeroed when its last reference is dropped.
        *request.body_mut() = Full::new(Bytes::from_owner(body));
        request
    }
}

/// The parameters in the order of the RFC's examples, then those of the configuration. A refresh sends no `scope` unless the server
/// requires it: without one, the granted scopes stay (RFC 6749 §6), and a server refuses wider ones.
fn fields<'a>(presented: Presented<'a>, config: &'a TokenEndpoint) -> Vec<Field<'a>> {
    let mut fields = Vec::with_capacity(8);
    match presented {
        Presented::RefreshToken(token) => {
            fields.extend([("grant_type", "refresh_token"), ("refresh_token", token.secret().expose())]);
            fields.extend(config.redirect_uri_on_refresh.as_ref().map(|uri| ("redirect_uri", uri.as_str())));
            let scope = config.scope.as_deref().filter(|_| config.scope_on_refresh);
            fields.extend(scope.map(|scope| ("scope", scope)));
        }
        Presented::ClientCredentials => {
            fields.push(("grant_type", "client_credentials"));
            fields.extend(config.scope.as_deref().map(|scope| ("scope", scope)));
        }
        Presented::Code { code, verifier, redirect_uri } => {
            fields.extend([("grant_type", "authorization_code"), ("code", code.expose())]);
            fields.push(("redirect_uri", redirect_uri));
            fields.extend(verifier.map(|verifier| ("code_verifier", verifier.expose())));
        }
    }
    // A client without a secret can't authenticate. It identifies itself in the body (RFC 6749 §3.2.1).
    match (config.client_auth, &config.client_secret) {
        (ClientAuth::Basic, Some(_)) => {}
        (ClientAuth::Body, Some(secret)) => {
            fields.extend([("client_id", config.client_id.as_str()), ("client_secret", secret.expose())]);
        }
        (_, None) => fields.push(("client_id", &config.client_id)),
    }
    fields.extend(config.parameters.iter().map(|(name, value)| (name.as_str(), value.expose())));
    fields
}

/// HTTP Basic credentials as in RFC 6749 §2.3.1, which form-encodes both parts first. League does not decode them. Its ids and
/// secrets are letters, digits and `-`, which the encoding does not change.
pub(super) fn basic(client_id: &str, secret: &Secret) -> Zeroizing<String> {
    let mut pair = Zeroizing::new(String::with_capacity(1 + 3 * (client_id.len() + secret.expose().len())));
    pair.extend(byte_serialize(client_id.as_bytes()));
    pair.push(':');
    pair.extend(byte_serialize(secret.expose().as_bytes()));
    Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()))
}

// === impl TokenFormat ===

impl TokenFormat {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            // Priava documents the parameter. Other servers ignore it (RFC 9110 §8.3.1).
            Self::Form => "application/x-www-form-urlencoded;charset=utf-8",
        }
    }

    fn encode(self, fields: &[Field<'_>]) -> Zeroizing<Vec<u8>> {
        // Enough for the worst case of both encodings (`\u0000`). A buffer that grows would leave copies of secrets behind.
        let room: usize = fields.iter().map(|(name, value)| 8 + name.len() + 6 * value.len()).sum();
        match self {
            Self::Json => {
                let mut body = Zeroizing::new(Vec::with_capacity(2 + room));
                // Every value is a string, because league 8 compares `client_id` by type. Writing strings to memory can't
                // fail.
                let written = serde_json::Serializer::new(&mut *body).collect_map(fields.iter().copied());
                debug_assert!(written.is_ok());
                body
            }
            Self::Form => {
                let mut body = form_urlencoded::Serializer::new(String::with_capacity(room));
                Zeroizing::new(body.extend_pairs(fields).finish().into_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests;
