//! What faces the upstream, and how connections leave.

use super::computed;
use crate::config::environment::Environment;
use crate::config::error::Place;
use crate::config::reader::Reader;
use crate::config::{
    ClientCert, NoProxy, Outbound, OutboundProxy, RefusalPattern, UpstreamConfig, UpstreamHttp, address, header,
};

/// curl reads the small letters first, others the capitals; few set both.
const PROXY_VARIABLES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

pub(super) fn outbound(reader: &mut Reader, environment: &Environment) -> Option<Outbound> {
    for name in PROXY_VARIABLES {
        if let Some(url) = environment.get(name).map(|value| value.to_string_lossy()) {
            reader.preset("outbound.proxy", Place::Environment(name.to_owned()), computed(&url));
        }
    }
    let ca_file = reader.file("outbound.ca_file");
    let proxy = match reader.is_set("outbound.proxy") {
        true => reader.parse("outbound.proxy", address::outbound_proxy)?,
        false => None,
    };
    let Some(proxy) = proxy else { return Some(Outbound { ca_file, proxy: None }) };
    let exceptions = NO_PROXY_VARIABLES.iter().find_map(|name| Some((*name, environment.get(name)?)));
    let no_proxy = exceptions.map(|(name, list)| no_proxy(reader, name, &list.to_string_lossy())).unwrap_or_default();
    Some(Outbound { ca_file, proxy: Some(OutboundProxy { no_proxy, ..proxy }) })
}

fn no_proxy(reader: &mut Reader, variable: &str, list: &str) -> NoProxy {
    let (no_proxy, unknown) = NoProxy::parse(list);
    if unknown > 0 {
        let place = Place::Environment(variable.to_owned());
        let entries = if unknown == 1 { "1 entry that is" } else { &format!("{unknown} entries that are") };
        reader.warn_at(
            "outbound.proxy",
            place,
            format!("has {entries} neither a host, `*`, an address nor a block of addresses, and of no use"),
        );
    }
    no_proxy
}

pub(super) fn read(reader: &mut Reader) -> Option<UpstreamConfig> {
    if !reader.is_set("upstream.url") {
        reader.missing("upstream.url", "the API's URL, which this profile does not know");
    }
    let url = reader.parse("upstream.url", address::origin);
    let headers = reader.headers("upstream.headers");
    let pair = reader.pair("upstream.cert_file", "upstream.key_file");
    let http = reader.choice("upstream.http", UpstreamHttp::from_name);
    let refusal = reader.list("upstream.refusal", |text| Ok(RefusalPattern::parse(text)?));
    let default_accept = reader.parse("upstream.default_accept", header::value);
    let connect_timeout = reader.duration("upstream.connect_timeout");
    let response_timeout = reader.duration("upstream.response_timeout");
    let idle_timeout = reader.duration("upstream.idle_timeout");
    let connection_age = reader.duration("upstream.connection_age");
    let max_in_flight = reader.count("upstream.max_in_flight");
    let queue_timeout = reader.duration("upstream.queue_timeout");
    let replay_limit = reader.size("upstream.replay_limit");
    let replay_budget = reader.size("upstream.replay_budget");
    if let (Some(limit), Some(budget)) = (replay_limit, replay_budget)
        && budget < limit
    {
        reader.warn("upstream.replay_budget", "is less than upstream.replay_limit: a body of that size is never kept");
    }
    let (origin, path_prefix) = url?;
    Some(UpstreamConfig {
        origin,
        path_prefix,
        headers: headers?,
        client_cert: pair.map(|(cert_file, key_file)| ClientCert { cert_file, key_file }),
        http: http?,
        refusal: refusal?,
        default_accept,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        idle_timeout: idle_timeout?,
        connection_age: connection_age?,
        max_in_flight: usize::try_from(max_in_flight?).unwrap_or(usize::MAX),
        queue_timeout: queue_timeout?,
        replay_limit: usize::try_from(replay_limit?).unwrap_or(usize::MAX),
        replay_budget: usize::try_from(replay_budget?).unwrap_or(usize::MAX),
    })
}

// === impl UpstreamHttp ===

impl UpstreamHttp {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "1" => Some(Self::Http1),
            "2" => Some(Self::Http2),
            _ => None,
        }
    }
}
