//! How the proxy connects to the upstream and to the token endpoint.

use std::path::PathBuf;

use crate::config::address::{self, OutboundProxy};
use crate::config::environment::Environment;
use crate::config::error::Place;
use crate::config::key::{file, url};
use crate::config::no_proxy::NoProxy;
use crate::config::reader::Reader;
use crate::config::section::section;

use super::computed;

/// curl reads the lowercase name first, other programs the uppercase one; few environments have both.
const PROXY_VARIABLES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

section! {
    /// How connections leave, to the upstream and to the token endpoint alike.
    #[derive(Clone, Debug)]
    pub struct Outbound in "outbound." {
        /// Trust anchors (PEM) for the upstream, the token endpoint and the database of the store, in addition to the built-in public
        /// roots.
        ca_file: Option<PathBuf> = file();
        /// HTTP proxy for connections to the upstream and the token endpoint. `off` ignores the variables.
        proxy: Option<OutboundProxy> = url("`http://[user:password@]host:port`, or `off`").computed("`HTTPS_PROXY`, `NO_PROXY`")
            => parse_or(address::outbound_proxy, None);
    }
}

pub(super) fn read(reader: &mut Reader, environment: &Environment) -> Option<Outbound> {
    for name in PROXY_VARIABLES {
        if let Some(url) = environment.get(name).map(|value| value.to_string_lossy()) {
            reader.preset("outbound.proxy", Place::Environment(name.to_owned()), computed(&url));
        }
    }
    let mut outbound = Outbound::read(reader)?;
    if let Some(proxy) = &mut outbound.proxy {
        let exceptions = NO_PROXY_VARIABLES.iter().find_map(|name| Some((*name, environment.get(name)?)));
        proxy.no_proxy =
            exceptions.map(|(name, list)| no_proxy(reader, name, &list.to_string_lossy())).unwrap_or_default();
    }
    Some(outbound)
}

fn no_proxy(reader: &mut Reader, variable: &str, list: &str) -> NoProxy {
    let (no_proxy, unknown) = NoProxy::parse(list);
    if unknown > 0 {
        let place = Place::Environment(variable.to_owned());
        let entries = if unknown == 1 { "1 entry is" } else { &format!("{unknown} entries are") };
        reader.warn_at(
            "outbound.proxy",
            place,
            format!("{entries} ignored: expected a host, `*`, an address or a block of addresses"),
        );
    }
    no_proxy
}
