//! When a token is refreshed.

use std::time::Duration;

use crate::config::key::{CALLS_TOKEN_ENDPOINT, DAY, MIN, MS, SEC, count, duration, text};
use crate::config::quantity::{self, Margin};
use crate::config::reader::Reader;
use crate::config::section::section;

section! {
    #[derive(Clone, Debug)]
    pub struct RefreshConfig in "refresh." {
        /// How long before expiry a refresh starts, so that an outage of the token endpoint does no harm. At least 60s, at most 30d, and
        /// never more than half the lifetime.
        margin: Margin = text("a percentage of the lifetime from `1%` to `100%`, or a duration from 1s to 365d").default("20%").grants(CALLS_TOKEN_ENDPOINT)
            => parse(quantity::margin);
        /// Token lifetime if the server sends none, or an invalid one.
        default_lifetime: Duration = duration(SEC, 3650 * DAY).default("1h").grants(CALLS_TOKEN_ENDPOINT);
        /// How long a request waits for a usable token before it gets 503.
        wait: Duration = duration(0, 10 * MIN).default("10s");
        /// How long refusals cause no refresh after the upstream has refused a fresh token. Doubles with each occurrence, up to 15m.
        cooldown: Duration = duration(100 * MS, 15 * MIN).default("60s").grants(CALLS_TOKEN_ENDPOINT);
        /// Maximum number of refreshes caused by refusals in this process. An upstream that refuses every token must not cost one
        /// refresh token after the other.
        max_per_hour: u32 = count(0, 100_000).default("30").grants(CALLS_TOKEN_ENDPOINT);
    }
}

pub(super) fn read(reader: &mut Reader) -> Option<RefreshConfig> {
    let refresh = RefreshConfig::read(reader)?;
    if let Margin::Fixed(margin) = refresh.margin
        && !(Duration::from_secs(60)..=Duration::from_secs(30 * 86_400)).contains(&margin)
    {
        reader.warn("refresh.margin", "the margin is at least 60s and at most 30d");
    }
    Some(refresh)
}
