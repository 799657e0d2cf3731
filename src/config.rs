//! The configuration: user input is parsed once, strictly, and all errors are reported at once.
//!
//! The types here hold only valid values. A key is defined once, in the file of its section: see `section`.
//!
//! ```text
//! keys (defaults) < profile < file < environment   → settings: text, each with its place
//! settings → reader → sections                     → Config, or every error
//!                                                  → Effective: what is printed, and compared on a reload
//! ```

mod address;
mod effective;
mod environment;
mod error;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod header;
mod ip;
mod key;
mod keys;
mod load;
mod malformed;
#[cfg(feature = "internals")]
mod markdown;
mod no_proxy;
mod page_origin;
mod parameter;
mod pattern;
mod plain_path;
mod profile;
mod quantity;
mod reader;
mod secret_source;
mod section;
mod sections;
mod service_links;
mod settings;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod value;
mod variables;
mod watched;

pub use address::{ListenAddress, Origin, OutboundProxy, RedirectUri};
pub use effective::{Change, Effective, Entry, Shown};
pub use error::{Errors, Place, Topic};
pub use ip::ip_literal;
#[cfg(feature = "internals")]
pub use keys::KEYS;
pub use load::{Loaded, Read, Sources};
#[cfg(feature = "internals")]
pub use markdown::{keys_markdown, profiles_markdown};
pub use no_proxy::NoProxy;
pub use page_origin::PageOrigin;
pub use pattern::{AllowRule, RefusalPattern, RefusalSign};
#[cfg(any(test, feature = "fuzzing"))]
pub use pattern::{PathPattern, PatternSegment};
pub use plain_path::plain_path;
pub use quantity::{Margin, parse_duration};
pub use secret_source::SecretSource;
#[cfg(feature = "kubernetes")]
pub use sections::ClusterConfig;
pub use sections::{
    AdminConfig, AmbiguousRetry, ClientAuth, ClientCert, Config, GrantConfig, GuardConfig, LogConfig, LogFormat,
    LogRequests, LoginConfig, Outbound, RefreshConfig, RuntimeConfig, ServerTls, StoreConfig, StoreKey,
    StoreKindConfig, TokenEndpoint, TokenFormat, UpstreamConfig, UpstreamHttp,
};
pub use watched::Watched;
