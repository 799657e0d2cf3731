//! A response as data, for the error tables, the pages and the faults.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use super::body::{self, SimBody};

/// A complete response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Answer {
    pub status: u16,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body: String,
}

// === impl Answer ===

impl Answer {
    /// Without headers or body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// As Laravel and league write it.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    /// An error page, as of Laravel or of the edge in front of it.
    pub fn html(status: u16, title: &str) -> Self {
        let body = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
             <body><h1>{status}</h1><p>{title}</p></body>\n</html>\n"
        );
        Self::text(status, "text/html; charset=UTF-8", body)
    }

    pub fn text(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        Self::empty(status).header(header::CONTENT_TYPE.as_str(), content_type).body(body)
    }

    pub fn redirect(status: u16, location: &str) -> Self {
        Self::html(status, &format!("Redirecting to {location}")).header(header::LOCATION.as_str(), location)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// The value of a field, to examine a response before it is sent.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Leaves out invalid fields. An invalid status becomes 500.
    pub(super) fn into_response(self) -> Response<SimBody> {
        let mut response = Response::new(body::full(Bytes::from(self.body)));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}
