//! TLS for internal clients.

use std::path::PathBuf;

use crate::config::key::file;
use crate::config::reader::Reader;
use crate::config::section::section;

section! {
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ServerTls in "tls." {
        /// CA certificates (PEM). Clients must present a certificate that one of these CAs has signed.
        client_ca_file: Option<PathBuf> = file().never_empty("clients need no certificate");
    }
    with {
        cert_file: PathBuf;
        key_file: PathBuf;
    }
    keys {
        /// Certificate chain (PEM). If set, the proxy serves TLS to internal clients.
        cert_file = file();
        /// Private key (PEM) of `tls.cert_file`.
        key_file = file();
    }
}

pub(super) fn read(reader: &mut Reader) -> Option<ServerTls> {
    let (cert_file, key_file) = reader.pair("tls.cert_file", "tls.key_file").unzip();
    if reader.text("tls.client_ca_file").is_some() && !reader.is_set("tls.cert_file") && !reader.is_set("tls.key_file")
    {
        reader.reject("tls.client_ca_file", "has no effect without TLS: set tls.cert_file and tls.key_file");
    }
    ServerTls::read(reader, cert_file, key_file)
}
