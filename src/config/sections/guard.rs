//! What the proxy accepts from clients.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest as sha256};

use crate::config::address::{self, ListenAddress};
use crate::config::error::Place;
use crate::config::key::{DAY, GIB, KIB, MIB, MIN, MS, boolean, count, digests, duration, list, size};
use crate::config::malformed::Malformed;
use crate::config::page_origin::PageOrigin;
use crate::config::pattern::AllowRule;
use crate::config::reader::Reader;
use crate::config::section::section;
use crate::config::settings::Raw;

/// The placeholder in the manifests of `deploy`, for a value that only the operator can create.
const PLACEHOLDER: &str = "YOUR-";

section! {
    #[derive(Clone, Debug)]
    pub struct GuardConfig in "guard." {
        /// What clients may request, by method and path of the client's request. Anything else gets 403. A rule for POST admits whatever
        /// the upstream makes of a POST body, such as Laravel's `_method`; `_method` in the query is refused.
        allow: Option<Vec<AllowRule>> = list("a list of `METHOD /path/pattern`; in a path, `*` matches one segment and `**` any number; as the method, `*` matches any").computed("all").never_empty("clients may request everything")
            => list_if_set(|text| Ok(AllowRule::parse(text)?));
        /// Accepted hosts of a request, compared without port and case (protects against DNS rebinding). Any other host gets 421.
        //
        // `None`: every host. Names are in lower case and without port; an IPv6 address has its brackets, as in `Host`.
        hosts: Option<Vec<String>> = list("a list of host names and addresses, or `*`").computed("loopback names on a loopback or unix listener, else `*`")
            => by(hosts);
        /// Origins whose pages may use the proxy from a browser. Any other cross-site request gets 403. A valid client key exempts a
        /// request. CORS headers and preflights remain the upstream's.
        origins: Vec<PageOrigin> = list("a list of origins, `scheme://host` with or without a port").computed("none")
            => list_or_empty(PageOrigin::read);
        /// SHA-256 digests of client keys with at least 128 random bits. If set, a client without a valid key gets 403.
        client_keys: Vec<[u8; 32]> = digests("a list of SHA-256 digests, 64 hexadecimal digits each").never_empty("clients need no key")
            => list_or_empty(digest);
        /// Maximum number of client connections. Further ones wait in the accept queue. Bounds memory and file descriptors.
        max_connections: usize = count(1, 1_000_000).default("4096");
        /// Time limit from connect, or from the first byte of a request, to its complete head (protects against slow clients).
        header_timeout: Duration = duration(100 * MS, 10 * MIN).default("10s");
        /// Maximum idle time of a connection between requests. Keep it longer than the idle timeout of the clients, so that
        /// clients close first.
        idle_timeout: Duration = duration(100 * MS, DAY).default("5m");
        /// Maximum size of a request head (target and fields). A larger one gets 431.
        //
        // The buffer of hyper for a head is 8 KiB or more.
        max_header_size: usize = size(8 * KIB, 16 * MIB).default("64KiB");
        /// Maximum size of a request body. A larger one gets 413. If unset, any size is streamed.
        max_body_size: Option<u64> = size(1, 1024 * GIB);
        /// Minimum average rate of a request body after its first 10 s, in bytes per second. A slower body gets 408. If unset, there is
        /// no minimum, because streams may pause.
        min_body_rate: Option<u64> = size(1, GIB);
        /// Forward `Cookie`, and return `Set-Cookie`. Off by default, because clients that share a grant must not share a session.
        pass_cookies: bool = boolean().default("false");
    }
}

pub(super) fn read(reader: &mut Reader, listen: Option<&[ListenAddress]>) -> Option<GuardConfig> {
    if let Some(listen) = listen {
        let is_local = listen.iter().all(ListenAddress::is_loopback);
        let hosts = if is_local { address::loopback_hosts(listen) } else { vec!["*".to_owned()] };
        reader.preset("guard.hosts", Place::Default, Raw::List(hosts));
    }
    GuardConfig::read(reader)
}

fn hosts(reader: &mut Reader, name: &'static str) -> Option<Option<Vec<String>>> {
    let host = |text: &str| if text == "*" { Ok(None) } else { address::host(text).map(Some) };
    Some(reader.list(name, host)?.into_iter().collect())
}

fn digest(text: &str) -> Result<[u8; 32], Malformed> {
    if text.starts_with(PLACEHOLDER) {
        return Err("this is the placeholder of an example, so make a key and put its digest here".into());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect();
    let digest: [u8; 32] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed::INVALID)?;
    if sha256(&SHA256, b"").as_ref() == digest {
        return Err("this is the digest of an empty key, which would admit everyone".into());
    }
    Ok(digest)
}
