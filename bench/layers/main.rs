//! The cost of each layer: a proxy with all layers up to a chosen one. `bench/layers.py` runs each of them and compares.
//!
//! ```text
//! layers HEIGHT --config FILE
//!
//! hyper     hyper's server and client, TLS and the header: no pool, no limit, no timer, no count
//! server    + this program's listener, connection deadlines, drain, event batching
//! pool      + its pool of upstream connections
//! guard     + the checks of a request
//! bearer    + header hygiene, the live token, refusals, the replay buffer, idle limits of bodies
//! forward   + the time limit for the response head
//! limit     + the bound on requests in flight
//! observe   + metrics and the log of requests: the whole stack, as `serve` runs it
//! ```

use std::error::Error;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use bearer_proxy::internals::clock::Clock;
use bearer_proxy::internals::config::{Config, GrantConfig, Sources};
use bearer_proxy::internals::descriptors;
use bearer_proxy::internals::downstream::{Server, Service};
use bearer_proxy::internals::metrics::Metrics;
use bearer_proxy::internals::proxy::route::Route;
use bearer_proxy::internals::proxy::upstream::Upstream;
use bearer_proxy::internals::proxy::{self, Setup};
use bearer_proxy::internals::token::grant::Grant;
use tokio::runtime::Builder;

mod bare;
mod partial;

use bare::Bare;
use partial::Parts;

/// The same allocator as in the program, so that only the layers differ.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(height), Some("--config"), Some(file)) =
        (arguments.next(), arguments.next().as_deref(), arguments.next())
    else {
        return Err("usage: layers HEIGHT --config FILE".into());
    };
    let sources = Sources::new(Some(PathBuf::from(file)), std::iter::empty::<(String, String)>());
    let config = Arc::new(Config::load(&sources)?.config);
    if height == "hyper" {
        return Bare::new(&config)?.serve();
    }
    Builder::new_current_thread().enable_all().build()?.block_on(serve(&height, config))
}

async fn serve(height: &str, config: Arc<Config>) -> Outcome<()> {
    let metrics = Metrics::new();
    if !matches!(config.oauth.grant, GrantConfig::Static { .. }) {
        return Err("invalid oauth.grant: the layers need the static grant".into());
    }
    let grant = Grant::start(&config, Clock::system(), &metrics).await?;
    let route = Route { upstream: Arc::new(Upstream::new(&config, &metrics)?), tokens: grant.tokens().clone() };
    let setup = Setup { config: Arc::clone(&config), route };
    let bare = Bare::new(&config)?;
    let parts = {
        let metrics = metrics.clone();
        move || Parts::new(&setup, &metrics)
    };
    match height {
        "server" => run(&config, move || bare.clone().client()).await,
        "pool" => run(&config, move || parts().pool()).await,
        "guard" => run(&config, move || parts().guard()).await,
        "bearer" => run(&config, move || parts().bearer()).await,
        "forward" => run(&config, move || parts().forward()).await,
        "limit" => run(&config, move || parts().limit()).await,
        "observe" => {
            let setup = Arc::new(arc_swap::ArcSwap::from_pointee(parts().into_setup()));
            run(&config, move || proxy::worker(Arc::clone(&setup), &metrics)).await
        }
        _ => Err(format!(
            "invalid layer \"{height}\": expected one of hyper, server, pool, guard, bearer, forward, limit, observe"
        )
        .into()),
    }
}

async fn run<S: Service>(config: &Config, make: impl Fn() -> S + Send + Sync + 'static) -> Outcome<()> {
    let _running = Server::bind(config)?.start(descriptors::workers(&config.runtime), make)?;
    pending().await
}
