//! Settings to [`Config`], a file for each part of the program that runs on it, and the rules between the parts.

mod downstream;
mod oauth;
mod store;
mod upstream;

use super::environment::Environment;
use super::error::{Malformed, Place};
use super::keys::KEYS;
use super::reader::Reader;
use super::settings::Raw;
use super::{Config, LogConfig, LogFormat, LogRequests, Profile, ShutdownConfig};

/// `None`: the reader has noted why.
pub(super) fn config(reader: &mut Reader, profile: Profile, environment: &Environment) -> Option<Config> {
    tenant_header(reader, profile);
    let downstream = downstream::read(reader);
    let outbound = upstream::outbound(reader, environment);
    let upstream = upstream::read(reader);
    let oauth = oauth::read(reader, profile);
    let refresh = oauth::refresh(reader);
    let store = store::read(reader, environment);
    let shutdown = shutdown(reader);
    let log = log(reader);
    tracing_endpoint(reader);
    unused(reader, profile);

    let downstream = downstream?;
    let upstream = upstream?;
    if downstream.listen.iter().any(|listen| upstream.origin.is_served_by(listen)) {
        reader.reject("upstream.url", "is this proxy's own `listen`: every request would come back to it");
    }
    Some(Config {
        profile,
        listen: downstream.listen,
        listen_mode: downstream.listen_mode,
        via: downstream.via,
        tls: downstream.tls,
        outbound: outbound?,
        upstream,
        oauth: oauth?,
        refresh: refresh?,
        store: store?,
        guard: downstream.guard,
        shutdown: shutdown?,
        admin: downstream.admin,
        probes: downstream.probes,
        log: log?,
    })
}

/// RFC 6749, appendix A: client ids, client secrets and refresh tokens are printable ASCII.
fn printable(text: &str) -> Result<(), Malformed> {
    let all = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if all { Ok(()) } else { Err("holds a line break or another character that is not printable ASCII".into()) }
}

/// What follows `Bearer` in a header has no blanks (RFC 6750 §2.1).
fn bearer(text: &str) -> Result<(), Malformed> {
    let all = text.bytes().all(|byte| byte.is_ascii_graphic());
    if all { Ok(()) } else { Err("holds a blank, a line break or another character that is not visible ASCII".into()) }
}

fn plain(text: &str) -> Result<String, Malformed> {
    Ok(text.to_owned())
}

fn tenant_header(reader: &mut Reader, profile: Profile) {
    let Some(header) = profile.defaults().tenant_header else { return };
    if !reader.copy_header(header, "oauth.headers", "upstream.headers", Place::Profile(profile)) {
        reader
            .missing("oauth.headers", "this profile needs the header `TenantRegion` there, the region of the account");
    }
}

fn shutdown(reader: &mut Reader) -> Option<ShutdownConfig> {
    let delay = reader.duration("shutdown.delay");
    let grace = reader.duration("shutdown.grace");
    Some(ShutdownConfig { delay: delay?, grace: grace? })
}

fn log(reader: &mut Reader) -> Option<LogConfig> {
    let format = match reader.is_set("log.format") {
        true => reader.choice("log.format", LogFormat::from_name),
        false => Some(LogFormat::Auto),
    };
    let level = reader.choice("log.level", |name| name.parse().ok());
    let requests = reader.choice("log.requests", LogRequests::from_name);
    Some(LogConfig { format: format?, level: level?, requests: requests? })
}

fn tracing_endpoint(reader: &mut Reader) {
    if reader.parse("otlp.endpoint", super::address::collector).is_some() {
        reader.warn("otlp.endpoint", "this version does not send traces; the key has no effect");
    }
}

/// A key that somebody set and that does nothing is mostly a misunderstanding.
fn unused(reader: &mut Reader, profile: Profile) {
    let grant = reader.text("oauth.grant").unwrap_or_default().to_owned();
    let store = reader.text("store.kind").unwrap_or_default().to_owned();
    for key in KEYS {
        let is_given = reader
            .setting(key.name)
            .is_some_and(|setting| matches!(setting.place, Place::File { .. } | Place::Environment(_)));
        // Under such a profile the upstream takes a header over from there.
        let is_copied = key.name == "oauth.headers" && profile.defaults().tenant_header.is_some();
        if !is_given || is_copied {
            continue;
        }
        if !key.grants.is_empty() && !key.grants.contains(&grant.as_str()) {
            reader.warn(key.name, format!("has no use under the grant `{grant}`"));
        } else if !key.stores.is_empty() && !key.stores.contains(&store.as_str()) {
            reader.warn(key.name, format!("has no use under the store `{store}`"));
        }
    }
}

/// A value that was computed.
fn computed(text: &str) -> Raw {
    Raw::Text(text.to_owned())
}

// === impl LogFormat ===

impl LogFormat {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

// === impl LogRequests ===

impl LogRequests {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "errors" => Some(Self::Errors),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}
