//! The listeners for operators and orchestrators.

use crate::config::address::ListenAddress;
use crate::config::key::{ADDRESS_OR_OFF, secret, text};
use crate::config::reader::Reader;
use crate::config::section::section;
use crate::secret::Secret;

use super::{bearer, or_off};

section! {
    #[derive(Clone, Debug)]
    pub struct AdminConfig in "admin." {
        /// Secret that every admin request must then carry as `Authorization: Bearer`.
        key: Option<Secret> = secret("visible ASCII characters").never_empty("anyone who reaches the admin listener may use it")
            => secret_if_set(bearer);
    }
    with {
        listen: ListenAddress;
    }
    keys {
        /// Address of the admin listener: status, metrics, refresh and drain. Beyond loopback it requires `admin.key`.
        listen = text(ADDRESS_OR_OFF).default("127.0.0.1:9901").restart();
    }
}

section! {
    pub(super) struct Probes in "probes." {
        /// Address that serves only `/livez`, `/readyz` and `/metrics`, for an orchestrator and Prometheus, which cannot reach loopback.
        listen: Option<ListenAddress> = text(ADDRESS_OR_OFF).default("off").restart() => parse(or_off);
    }
}

/// `None`: off, or wrong and noted.
pub(super) fn read(reader: &mut Reader) -> Option<AdminConfig> {
    let listen = reader.parse("admin.listen", or_off).flatten();
    let admin = AdminConfig::read(reader, listen)?;
    if !admin.listen.is_loopback() && !reader.is_set("admin.key") {
        reader.reject("admin.listen", "the address is beyond loopback: set admin.key, or listen on a loopback address");
    }
    Some(admin)
}
