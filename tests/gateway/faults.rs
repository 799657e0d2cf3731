//! What upstreams and networks do wrong, and what the client sees of it.

mod bodies;
mod heads;
mod http2;
mod races;

use testkit::connection::{Connection, Protocol, connect};
use testkit::stage::before;
use testkit::{Proxy, Setup};

/// A started proxy before this upstream.
async fn start(url: &str, configure: impl FnOnce(Setup) -> Setup) -> Proxy {
    let proxy = configure(before(url).await).start().await;
    proxy.ready().await;
    proxy
}

/// Its requests share one worker of the proxy's, and so that worker's connections to the upstream.
async fn client(proxy: &Proxy) -> Connection {
    Connection::over(connect(proxy.address(), None).await, Protocol::Http1, false).await
}
