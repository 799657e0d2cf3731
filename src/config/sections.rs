//! The configuration, a file for each section, and the rules between the sections.

mod admin;
mod check;
mod guard;
mod log;
mod oauth;
mod otlp;
mod outbound;
mod refresh;
mod runtime;
mod shutdown;
mod store;
mod tls;
mod upstream;

pub use admin::AdminConfig;
pub use check::CheckConfig;
pub use guard::GuardConfig;
pub use log::{LogConfig, LogFormat, LogRequests};
pub use oauth::{AmbiguousRetry, ClientAuth, GrantConfig, LoginConfig, OauthConfig, TokenEndpoint, TokenFormat};
pub use outbound::Outbound;
pub use refresh::RefreshConfig;
pub use runtime::RuntimeConfig;
pub use shutdown::ShutdownConfig;
#[cfg(feature = "kubernetes")]
pub use store::ClusterConfig;
pub use store::{StoreConfig, StoreKey, StoreKindConfig};
pub use tls::ServerTls;
pub use upstream::{ClientCert, UpstreamConfig, UpstreamHttp};

use super::address::ListenAddress;
use super::environment::Environment;
use super::error::{Place, Topic, one_line};
use super::key::{Key, choice, text, text_or_list};
use super::malformed::Malformed;
use super::profile::{self, Profile};
use super::reader::Reader;
use super::section::section;
use super::settings::Raw;

/// The keys of all sections, in the order in which they are printed. TOML requires the keys without a section first.
pub(super) const SECTIONS: &[&[Key]] = &[
    General::KEYS,
    ServerTls::KEYS,
    Outbound::KEYS,
    UpstreamConfig::KEYS,
    oauth::OauthKeys::KEYS,
    RefreshConfig::KEYS,
    StoreConfig::KEYS,
    GuardConfig::KEYS,
    ShutdownConfig::KEYS,
    admin::AdminConfig::KEYS,
    admin::Probes::KEYS,
    CheckConfig::KEYS,
    LogConfig::KEYS,
    otlp::Otlp::KEYS,
    RuntimeConfig::KEYS,
];

/// Everything that the program runs on, valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    pub profile: Profile,
    pub listen: Vec<ListenAddress>,
    /// Mode of unix sockets among `listen`.
    pub listen_mode: u32,
    /// This gateway's pseudonym in `Via` (RFC 9110 §7.6.3): a token, valid as part of a field value.
    pub via: String,
    pub tls: Option<ServerTls>,
    pub outbound: Outbound,
    pub upstream: UpstreamConfig,
    pub oauth: OauthConfig,
    pub refresh: RefreshConfig,
    pub store: StoreConfig,
    pub guard: GuardConfig,
    pub shutdown: ShutdownConfig,
    pub admin: Option<AdminConfig>,
    pub probes: Option<ListenAddress>,
    pub check: CheckConfig,
    pub log: LogConfig,
    pub runtime: RuntimeConfig,
}

section! {
    struct General in "" {
        /// Mode of the unix sockets in `listen`. By default, their owner and group may connect.
        listen_mode: u32 = text("an octal mode from `0` to `0777`, in quotes in the file").default("0660").restart() => parse(mode);
        /// Name of this gateway in `Via`. A request that comes back with it is a loop (508).
        via: String = text("a token (RFC 9110 §5.6.2) of at most 128 characters").default("bearer-proxy") => parse(pseudonym);
    }
    keys {
        /// Defaults of `[upstream]`, `[oauth]` and `[check]` for the servers of one provider.
        profile = choice(profile::NAMES).default("passolution");
        /// Address for internal clients, one or a list. Accepts HTTP/1.1 and HTTP/2. The default is loopback, so that no other machine
        /// can use the grant.
        listen = text_or_list("one or a list of `IP:port`, `[::1]:port` or `unix:/path.sock`").default("127.0.0.1:8080").restart();
    }
}

// === impl Config ===

impl Config {
    /// `None`: the reader has noted why.
    pub(super) fn from_settings(reader: &mut Reader, profile: Profile, environment: &Environment) -> Option<Self> {
        tenant_header(reader, profile);
        let listen = reader.list("listen", ListenAddress::parse);
        let general = General::read(reader);
        let tls = tls::read(reader);
        let admin = admin::read(reader);
        let probes = admin::Probes::read(reader);
        let guard = guard::read(reader, listen.as_deref());
        let outbound = outbound::read(reader, environment);
        let upstream = upstream::read(reader);
        let oauth = oauth::read(reader, profile);
        let refresh = refresh::read(reader);
        let store = store::read(reader, environment);
        let shutdown = ShutdownConfig::read(reader);
        let check = CheckConfig::read(reader);
        let log = LogConfig::read(reader);
        let runtime = RuntimeConfig::read(reader);
        otlp::read(reader);
        unused(reader, profile);

        let (listen, probes) = (listen?, probes?.listen);
        collisions(reader, &listen, admin.as_ref().map(|admin| &admin.listen), probes.as_ref());
        let upstream = upstream?;
        if listen.iter().any(|listen| upstream.origin.is_served_by(listen)) {
            reader.reject("upstream.url", "this is the proxy's own `listen`: every request would come back");
        }
        let (General { listen_mode, via }, guard) = (general?, guard?);
        open_door(reader, &listen, tls.as_ref(), &guard);
        Some(Self {
            profile,
            listen,
            listen_mode,
            via,
            tls,
            outbound: outbound?,
            upstream,
            oauth: oauth?,
            refresh: refresh?,
            store: store?,
            guard,
            shutdown: shutdown?,
            admin,
            probes,
            check: check?,
            log: log?,
            runtime: runtime?,
        })
    }
}

fn open_door(reader: &mut Reader, listen: &[ListenAddress], tls: Option<&ServerTls>, guard: &GuardConfig) {
    let is_open = listen.iter().any(|address| !address.is_loopback());
    let has_client_ca = tls.is_some_and(|tls| tls.client_ca_file.is_some());
    if is_open && guard.hosts.is_none() && guard.client_keys.is_empty() && !has_client_ca {
        let mend = "set guard.client_keys, tls.client_ca_file or guard.hosts";
        reader.warn_about(
            Topic::Exposure,
            "listen",
            format!("anyone who reaches this listener can use the grant: {mend}"),
        );
    }
}

fn collisions(
    reader: &mut Reader,
    listen: &[ListenAddress],
    admin: Option<&ListenAddress>,
    probes: Option<&ListenAddress>,
) {
    let mut all: Vec<(&'static str, &ListenAddress)> = listen.iter().map(|address| ("listen", address)).collect();
    all.extend(admin.map(|address| ("admin.listen", address)));
    all.extend(probes.map(|address| ("probes.listen", address)));
    for (at, (name, address)) in all.iter().enumerate() {
        if let Some((other, taken)) = all[..at].iter().find(|(_, taken)| taken.collides(address)) {
            let (address, taken) = (one_line(address), one_line(taken));
            reader.reject(name, format!("`{address}` collides with `{taken}` of {other}: choose another port or path"));
        }
    }
}

fn or_off(text: &str) -> Result<Option<ListenAddress>, Malformed> {
    if text == "off" { Ok(None) } else { ListenAddress::parse(text).map(Some) }
}

fn mode(text: &str) -> Result<u32, Malformed> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    mode.ok_or(Malformed::INVALID)
}

/// A token, since it also stands in `Via` (RFC 9110 §7.6.3).
fn pseudonym(text: &str) -> Result<String, Malformed> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_valid = (1..=128).contains(&text.len()) && text.bytes().all(is_token);
    if is_valid { Ok(text.to_owned()) } else { Err(Malformed::INVALID) }
}

/// RFC 6749, appendix A: client ids, client secrets and refresh tokens are printable ASCII.
fn printable(text: &str) -> Result<(), Malformed> {
    let all = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if all { Ok(()) } else { Err("a line break or another character is not printable ASCII".into()) }
}

/// A bearer token has no blanks (RFC 6750 §2.1).
fn bearer(text: &str) -> Result<(), Malformed> {
    let all = text.bytes().all(|byte| byte.is_ascii_graphic());
    if all { Ok(()) } else { Err("a blank, a line break or another character is not visible ASCII".into()) }
}

fn plain(text: &str) -> Result<String, Malformed> {
    Ok(text.to_owned())
}

fn tenant_header(reader: &mut Reader, profile: Profile) {
    let Some(header) = profile.tenant_header() else { return };
    if !reader.copy_header(header, "oauth.headers", "upstream.headers", Place::Profile(profile)) {
        reader.missing(
            "oauth.headers",
            "this profile requires the header `TenantRegion` in it, the region of the account",
        );
    }
}

/// A key that is set and has no effect is usually a mistake.
fn unused(reader: &mut Reader, profile: Profile) {
    for key in reader.keys() {
        let is_given = reader
            .setting(key.name)
            .is_some_and(|setting| matches!(setting.place, Place::File { .. } | Place::Environment(_)));
        // Under such a profile, the proxy copies a header from there to `upstream.headers`.
        let is_copied = key.name == "oauth.headers" && profile.tenant_header().is_some();
        if let Some(reason) = reader.no_use(key)
            && is_given
            && !is_copied
        {
            reader.warn_about(Topic::UnusedKey, key.name, reason);
        }
    }
}

/// A value that was computed.
fn computed(text: &str) -> Raw {
    Raw::Text(text.to_owned())
}
