//! Responses as the documentation and public clients show them.

use std::time::Duration;

use http::HeaderMap;
use serde_json::{Value, json};

use super::Admitted;
use crate::answer::Answer;
use crate::ledger::Credential;
use crate::options::RateLimit;
use crate::throttle;

const COUNTRIES: [(&str, &str); 12] = [
    ("AT", "Austria"),
    ("BR", "Brazil"),
    ("CH", "Switzerland"),
    ("DE", "Germany"),
    ("EG", "Egypt"),
    ("ES", "Spain"),
    ("FR", "France"),
    ("GR", "Greece"),
    ("JP", "Japan"),
    ("TH", "Thailand"),
    ("TR", "Türkiye"),
    ("US", "United States"),
];

/// No token is accepted here. The field distinguishes this response from the guard's.
pub(super) fn always_refused() -> Answer {
    Answer::json(401, &json!({"message": "Unauthenticated.", "reason": "always"})).header("X-Always", 401)
}

pub(super) fn health() -> Answer {
    enveloped(json!({"error": false, "status": "healthy"}))
}

pub(super) fn version() -> Answer {
    enveloped(json!({"error": false, "version": "V2.7", "commit_hash": "eab87573"}))
}

pub(super) fn infosystem() -> Answer {
    let entry = |id: u32| {
        json!({
            "id": id,
            "tagdate": "2026-11-01T00:00:00.000000Z",
            "header": "Entry rules have changed",
            "content": "Travellers need a passport that is valid for six months.",
            "lang": "en",
        })
    };
    let page = json!({"current_page": 1, "data": [entry(1), entry(2)], "last_page": 1, "total": 2});
    enveloped(json!({"code": 0, "message": "success", "result": page}))
}

pub(super) fn subscription() -> Answer {
    Answer::json(200, &json!({"type": "premium", "features": ["content.country", "content.entry", "infosystem"]}))
}

pub(super) fn countries(limit: usize) -> Answer {
    let data: Vec<Value> =
        COUNTRIES.iter().take(limit).map(|(code, name)| json!({"code": code, "name": name})).collect();
    let meta = json!({
        "current_page": 1,
        "last_page": COUNTRIES.len().div_ceil(limit.max(1)),
        "per_page": limit,
        "total": COUNTRIES.len(),
        "from": 1,
        "to": data.len(),
    });
    Answer::json(200, &json!({"data": data, "meta": meta}))
}

/// The day's quota is spent, for another hour.
pub(super) fn quota(admitted: &Admitted) -> Answer {
    let now = admitted.exchange.now();
    let flavour = admitted.exchange.shared.read(|state| state.options.flavour);
    let limit = RateLimit { calls: 450, per: Duration::from_secs(300) };
    throttle::refusal(flavour, limit, now + 3_599_000, now, admitted.expects_json)
}

pub(super) fn pdf() -> Answer {
    Answer::text(200, "application/pdf", "%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
        .header("Content-Disposition", "inline; filename=\"content.pdf\"")
}

/// The request as it arrived, for tests of a proxy.
pub(super) fn echo(admitted: &Admitted, trailers: &HeaderMap) -> Answer {
    let head = &admitted.head;
    let (length, sha256, host) = admitted.exchange.shared.change(|state| {
        let request = state.ledger.request_mut(admitted.seq);
        request.map(|row| (row.body_length, row.body_sha256.clone(), row.host.clone())).unwrap_or_default()
    });
    Answer::json(
        200,
        &json!({
            "method": head.method.as_str(),
            "target": head.uri.path_and_query().map(ToString::to_string),
            "path": head.uri.path(),
            "query": head.uri.query(),
            "host": host,
            "http": format!("{:?}", head.version),
            "headers": pairs(&head.headers, admitted.credential),
            "token": admitted.credential.token(),
            "body_length": length,
            "body_sha256": sha256,
            "trailers": pairs(trailers, admitted.credential),
        }),
    )
}

/// Names and values in the order of arrival. A serial replaces a token.
fn pairs(headers: &HeaderMap, credential: Credential) -> Vec<(String, String)> {
    let shown = |name: &str, value: &[u8]| match credential.token() {
        Some(token) if name == "authorization" => format!("Bearer token #{token}"),
        None if name == "authorization" => "unknown".to_owned(),
        _ => String::from_utf8_lossy(value).into_owned(),
    };
    headers.iter().map(|(name, value)| (name.to_string(), shown(name.as_str(), value.as_bytes()))).collect()
}

fn enveloped(mut body: Value) -> Answer {
    if let Some(members) = body.as_object_mut() {
        members.insert("requestid".to_owned(), "7d8b2b0e-3c1f-4a57-9d0e-6f1a2b3c4d5e".into());
        members.insert("responsetime".to_owned(), 0.into());
    }
    Answer::json(200, &body)
}
