//! A configuration for tests. A test changes only its own keys, so a new key does not affect the other tests.

use std::sync::LazyLock;

use super::{Config, Sources};

/// The defaults, with a `static` grant and an upstream without a server.
#[expect(clippy::unwrap_used, reason = "constants")]
pub fn defaults() -> Config {
    static DEFAULTS: LazyLock<Config> = LazyLock::new(|| {
        let variables = [
            ("BEARER_PROXY_PROFILE", "custom"),
            ("BEARER_PROXY_UPSTREAM__URL", "http://127.0.0.1:9"),
            ("BEARER_PROXY_OAUTH__GRANT", "static"),
            ("BEARER_PROXY_OAUTH__ACCESS_TOKEN", "token"),
        ];
        Config::load(&Sources::new(None, variables)).unwrap().config
    });
    DEFAULTS.clone()
}
