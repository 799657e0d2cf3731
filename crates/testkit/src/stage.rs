//! A running program between a client and an [`Origin`].

use simulator::{Options, Simulator};

use crate::authority::Authority;
use crate::connection::{Connection, Protocol, Stream, connect};
use crate::origin::Origin;
use crate::raw::Raw;
use crate::{Proxy, Setup};

/// The token that the proxy adds.
pub const TOKEN: &str = "the-token-of-the-tests";

/// A proxy with a static token in front of this upstream.
pub async fn before(url: &str) -> Setup {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    Proxy::without_grant(&simulator)
        .set("UPSTREAM__URL", url)
        .set("OAUTH__GRANT", "static")
        .set("OAUTH__ACCESS_TOKEN", TOKEN)
        .unset("OAUTH__TOKEN_URL")
        .unset("OAUTH__CLIENT_ID")
        .unset("OAUTH__CLIENT_SECRET")
        .unset("STORE__PATH")
}

pub struct Stage {
    pub origin: Origin,
    pub proxy: Proxy,
    pub up: Protocol,
    authority: Option<Authority>,
}

impl Stage {
    /// `tls`: TLS on both sides.
    pub async fn new(up: Protocol, tls: bool, configure: impl FnOnce(Setup) -> Setup) -> Self {
        let authority = tls.then(Authority::new);
        // An upgrade needs HTTP/1.1 beside HTTP/2.
        let alpn: &[&str] = match up {
            Protocol::Http1 => &["http/1.1"],
            Protocol::Http2 => &["h2", "http/1.1"],
        };
        let acceptor = authority.as_ref().map(|authority| authority.acceptor(&["localhost"], alpn));
        let origin = Origin::start(up, acceptor).await;
        let mut setup = before(&origin.url()).await;
        match &authority {
            None => setup = setup.set("UPSTREAM__HTTP", if up == Protocol::Http2 { "2" } else { "1" }),
            Some(authority) => {
                let (cert, key) = authority.server_files(&["localhost"]);
                setup = setup
                    .set("OUTBOUND__CA_FILE", authority.ca_file().display())
                    .set("OUTBOUND__PROXY", "off")
                    .set("TLS__CERT_FILE", cert.display())
                    .set("TLS__KEY_FILE", key.display());
            }
        }
        let proxy = configure(setup).start().await;
        proxy.ready().await;
        Self { origin, proxy, up, authority }
    }

    /// HTTP/1.1 on both sides, without TLS.
    pub async fn plain(configure: impl FnOnce(Setup) -> Setup) -> Self {
        Self::new(Protocol::Http1, false, configure).await
    }

    pub fn is_tls(&self) -> bool {
        self.authority.is_some()
    }

    pub async fn stream(&self, protocol: Protocol) -> Box<dyn Stream> {
        let alpn = if protocol == Protocol::Http2 { "h2" } else { "http/1.1" };
        let tls = self.authority.as_ref().map(|authority| authority.connector(&[alpn]));
        connect(self.proxy.address(), tls).await
    }

    pub async fn client(&self, protocol: Protocol) -> Connection {
        Connection::over(self.stream(protocol).await, protocol, self.is_tls()).await
    }

    /// A connection for raw HTTP/1.
    pub async fn raw(&self) -> Raw {
        Raw::new(self.stream(Protocol::Http1).await)
    }
}
