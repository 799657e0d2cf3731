//! What upstreams and networks do wrong, and what the client sees of it.

mod bodies;
mod heads;
mod http2;
mod races;

use crate::client::{Client, Protocol, connect};
use crate::stage::before;
use crate::support::{Proxy, Setup};

/// A started proxy before this upstream.
async fn start(url: &str, configure: impl FnOnce(Setup) -> Setup) -> Proxy {
    let proxy = configure(before(url).await).start().await;
    proxy.ready().await;
    proxy
}

/// Its requests share one worker of the proxy's, and so that worker's connections to the upstream.
async fn client(proxy: &Proxy) -> Client {
    Client::over(connect(proxy.address(), None).await, Protocol::Http1, false).await
}
