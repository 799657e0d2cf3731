//! `store.url`: the address of the database, and whether the connection is encrypted.
//!
//! | `sslmode` | connection |
//! |---|---|
//! | absent | plaintext to a loopback address or a unix socket, else as `require` |
//! | `disable` | plaintext to any address, with a warning if it is on another machine |
//! | `allow`, `prefer` | to a loopback address or a unix socket: encrypted if the server offers it. Else as `require` |
//! | `require`, `verify-ca`, `verify-full` | encrypted |
//!
//! Each connect checks whether `localhost` has a loopback address, because a hosts file can change it.
//!
//! With encryption, the certificate must be valid for this host and come from a public root or from `outbound.ca_file`. Encryption
//! without that check gives no protection. (libpq checks this only with `verify-full`.)

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::outbound::loopback_addresses;
use crate::secret::Secret;
use crate::token::store::StoreError;

/// A database, and its name in errors.
#[derive(Debug)]
pub(super) struct Target {
    /// Its `Debug` masks the password.
    config: Config,
    plaintext: Plaintext,
    /// `PostgreSQL at db.example:5432`
    pub(super) place: String,
}

/// To which addresses a connection may be in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plaintext {
    Nowhere,
    Loopback,
    /// With `sslmode=disable`.
    Anywhere,
}

const EXPECTED: &str = "postgres://user:password@host:port/database";
/// The time limit for each address of a host.
const CONNECT: Duration = Duration::from_secs(2);
/// After this time, the system detects that the peer has gone.
const SILENCE: Duration = Duration::from_secs(10);

// === impl Target ===

impl Target {
    pub(super) fn parse(url: &Secret) -> Result<Self, StoreError> {
        let (plain, mode) = split_sslmode(url.expose())?;
        let mut config: Config = plain.expose().parse().map_err(|error| invalid(&parse_reason(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("it names no host"));
        }
        let (mode, plaintext) = match (mode, is_local(&config)) {
            (Some(SslMode::Disable), _) => (SslMode::Disable, Plaintext::Anywhere),
            (None, true) => (SslMode::Disable, Plaintext::Loopback),
            (Some(SslMode::Prefer), true) => (SslMode::Prefer, Plaintext::Loopback),
            _ => (SslMode::Require, Plaintext::Nowhere),
        };
        config.ssl_mode(mode);
        // Only a primary: a stale replica must not be read either.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.keepalives_idle(SILENCE).keepalives_interval(SILENCE / 5).keepalives_retries(2);
        config.tcp_user_timeout(SILENCE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("bearer-proxy");
        }
        let place = place(&config);
        Ok(Self { config, plaintext, place })
    }

    /// Whether the URL sends tokens over a network in plaintext.
    pub(super) fn is_exposed(&self) -> bool {
        self.plaintext == Plaintext::Anywhere && !is_local(&self.config)
    }

    /// The configuration for a connect. Plaintext to a loopback name uses only its loopback addresses.
    pub(super) async fn reachable(&self) -> Result<Cow<'_, Config>, StoreError> {
        let config = &self.config;
        if self.plaintext != Plaintext::Loopback || !config.get_hostaddrs().is_empty() {
            return Ok(Cow::Borrowed(config));
        }
        let mut places = Vec::new();
        for (index, host) in config.get_hosts().iter().enumerate() {
            let port = port(config, index);
            let Host::Tcp(name) = host else {
                places.push(Place { host: host.clone(), address: None, port });
                continue;
            };
            let addresses = loopback_addresses(name).await.map_err(|error| {
                StoreError::Unavailable(format!("{}: {error} (?sslmode=require in store.url is TLS)", self.place))
            })?;
            places.extend(addresses.iter().map(|ip| Place { host: host.clone(), address: Some(*ip), port }));
        }
        Ok(Cow::Owned(with_places(config, &places)))
    }
}

/// A host with its resolved address.
struct Place {
    host: Host,
    address: Option<IpAddr>,
    port: u16,
}

/// The same configuration for other hosts. The driver can only add hosts to a configuration.
fn with_places(config: &Config, places: &[Place]) -> Config {
    let mut copy = Config::new();
    config.get_user().map(|user| copy.user(user));
    config.get_password().map(|password| copy.password(password));
    config.get_dbname().map(|name| copy.dbname(name));
    config.get_options().map(|options| copy.options(options));
    config.get_application_name().map(|name| copy.application_name(name));
    copy.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    config.get_connect_timeout().map(|timeout| copy.connect_timeout(*timeout));
    config.get_tcp_user_timeout().map(|timeout| copy.tcp_user_timeout(*timeout));
    copy.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    config.get_keepalives_interval().map(|interval| copy.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| copy.keepalives_retries(retries));
    copy.target_session_attrs(config.get_target_session_attrs());
    copy.channel_binding(config.get_channel_binding()).load_balance_hosts(config.get_load_balance_hosts());
    // The driver takes addresses for all hosts or for none. With a unix socket among them, the address replaces the name.
    let all = places.iter().all(|place| place.address.is_some());
    for Place { host, address, port } in places {
        copy.port(*port);
        match (host, address) {
            (Host::Tcp(name), Some(address)) if all => copy.host(name).hostaddr(*address),
            (_, Some(address)) => copy.host(address.to_string()),
            (Host::Tcp(name), None) => copy.host(name),
            (Host::Unix(path), None) => copy.host_path(path),
        };
    }
    copy
}

fn port(config: &Config, index: usize) -> u16 {
    config.get_ports().get(index).or(config.get_ports().first()).copied().unwrap_or(5432)
}

/// Removes `sslmode` from the URL, because the driver does not know all of its values.
fn split_sslmode(url: &str) -> Result<(Secret, Option<SslMode>), StoreError> {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| invalid("it does not begin with postgres:// or postgresql://"))?;
    let after_credentials = rest.split_once('@').map_or(rest, |(_, after)| after);
    let (location, query) = after_credentials.split_once('?').unwrap_or((after_credentials, ""));
    // Otherwise, a part of the password could be read as a host and appear in errors.
    if location.contains('@') {
        return Err(invalid("an `@` in user, password or database is written %40"));
    }
    let mut mode = None;
    let mut others = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.strip_prefix("sslmode=") {
            None => others.push(parameter),
            Some("disable") => mode = Some(SslMode::Disable),
            Some("allow" | "prefer") => mode = Some(SslMode::Prefer),
            Some("require" | "verify-ca" | "verify-full") => mode = Some(SslMode::Require),
            Some(_) => return Err(invalid("sslmode is disable, prefer, require or verify-full")),
        }
    }
    let base = url.split_at(url.len() - after_credentials.len()).0;
    Ok((Secret::new(format!("{base}{location}?{}", others.join("&"))), mode))
}

/// The text of the driver, if it can't hold a part of the URL.
fn parse_reason(error: &tokio_postgres::Error) -> String {
    let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if reason.starts_with("invalid value for option") {
        return reason;
    }
    "it is malformed, or has an option that is not known (certificates are given by outbound.ca_file)".to_owned()
}

fn invalid(what: &str) -> StoreError {
    StoreError::Unavailable(format!("store.url: {what}; expected is {EXPECTED}"))
}

fn is_local(config: &Config) -> bool {
    let loopback = |name: &str| name.parse().map_or(name == "localhost", |ip: IpAddr| ip.is_loopback());
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => loopback(name),
        Host::Unix(_) => true,
    })
}

fn place(config: &Config) -> String {
    let names: Vec<_> = if config.get_hosts().is_empty() {
        config.get_hostaddrs().iter().map(ToString::to_string).collect()
    } else {
        let name = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        config.get_hosts().iter().map(name).collect()
    };
    let mut place = "PostgreSQL at ".to_owned();
    for (index, name) in names.iter().enumerate() {
        let port = port(config, index);
        // Writing to a string can't fail.
        let _ = write!(place, "{}{name}:{port}", if index == 0 { "" } else { ", " });
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, String> {
        Target::parse(&Secret::new(url)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_way_is_encrypted_unless_it_is_local_or_the_url_says_otherwise() {
        use SslMode::{Disable, Prefer, Require};
        let cases = [
            ("postgres://u:p@db.example/d", Require, "db.example:5432"),
            ("postgresql://db.example:6000", Require, "db.example:6000"),
            ("postgres://u@localhost/d", Disable, "localhost:5432"),
            ("postgres://u@127.0.0.2:7/d", Disable, "127.0.0.2:7"),
            ("postgres://u@[::1]:7/d", Disable, "::1:7"),
            ("postgres://u@%2Frun%2Fpg/d", Disable, "/run/pg:5432"),
            ("postgres:///d?host=/run/pg", Disable, "/run/pg:5432"),
            ("postgres://u@localhost,db.example/d", Require, "localhost:5432, db.example:5432"),
            ("postgres://u@a:1,b:2/d", Require, "a:1, b:2"),
            ("postgres://u@localhost/d?hostaddr=192.0.2.1", Require, "localhost:5432"),
            ("postgres:///d?hostaddr=192.0.2.1", Require, "192.0.2.1:5432"),
            ("postgres://u@db.example/d?sslmode=disable", Disable, "db.example:5432"),
            ("postgres://u@db.example/d?sslmode=prefer", Require, "db.example:5432"),
            ("postgres://u@localhost/d?sslmode=allow", Prefer, "localhost:5432"),
            ("postgres://u@db.example/d?sslmode=verify-full", Require, "db.example:5432"),
            ("postgres://u@localhost?sslmode=require&application_name=a", Require, "localhost:5432"),
            ("postgres://u@localhost/d?application_name=a&sslmode=verify-ca", Require, "localhost:5432"),
        ];
        for (url, mode, place) in cases {
            let target = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(target.config.get_ssl_mode(), mode, "{url}");
            assert_eq!(target.place, format!("PostgreSQL at {place}"), "{url}");
        }
    }

    #[test]
    fn only_a_written_sslmode_exposes_tokens() {
        for (url, plaintext, exposed) in [
            ("postgres://u@db.example/d", Plaintext::Nowhere, false),
            ("postgres://u@db.example/d?sslmode=prefer", Plaintext::Nowhere, false),
            ("postgres://u@localhost/d", Plaintext::Loopback, false),
            ("postgres://u@localhost/d?sslmode=prefer", Plaintext::Loopback, false),
            ("postgres://u@localhost/d?sslmode=disable", Plaintext::Anywhere, false),
            ("postgres://u@localhost,db.example/d?sslmode=disable", Plaintext::Anywhere, true),
            ("postgres://u@db.example/d?sslmode=disable", Plaintext::Anywhere, true),
        ] {
            let target = parse(url).unwrap();
            assert_eq!((target.plaintext, target.is_exposed()), (plaintext, exposed), "{url}");
        }
    }

    #[tokio::test]
    async fn a_local_name_is_connected_to_by_its_loopback_addresses() {
        let target = parse("postgres://u:p@localhost:6000,127.0.0.2:7/d").unwrap();
        let config = target.reachable().await.unwrap();
        assert!(config.get_hostaddrs().iter().all(IpAddr::is_loopback), "{config:?}");
        assert_eq!(config.get_hostaddrs().len(), config.get_hosts().len());
        assert_eq!(config.get_hostaddrs().last(), Some(&"127.0.0.2".parse().unwrap()));
        assert_eq!((config.get_ports().first(), config.get_ports().last()), (Some(&6000), Some(&7)));

        let beside_a_socket = parse("postgres://u@localhost,%2Frun%2Fpg/d").unwrap();
        let config = beside_a_socket.reachable().await.unwrap();
        assert!(config.get_hostaddrs().is_empty());
        assert!(config.get_hosts().iter().all(|host| *host != Host::Tcp("localhost".into())), "{config:?}");
    }

    #[test]
    fn with_other_hosts_everything_else_stays() {
        let options = "application_name=a&options=-c%20x%3D1&sslnegotiation=direct&connect_timeout=3&keepalives=0\
            &channel_binding=disable&load_balance_hosts=random&keepalives_idle=7&keepalives_retries=5&keepalives_interval=2";
        let target = parse(&format!("postgres://u:p@localhost:9/d?{options}")).unwrap();
        let place = Place { host: Host::Tcp("localhost".into()), address: None, port: 9 };
        let copy = with_places(&target.config, &[place]);
        assert_eq!(format!("{copy:?}"), format!("{:?}", target.config));
        assert_eq!(copy.get_password(), target.config.get_password());
    }

    #[test]
    fn the_rest_of_the_url_reaches_the_driver() {
        let target = parse("postgres://us%40er:p%2Fw?d@h/db?application_name=a&sslmode=disable").unwrap();
        assert_eq!(target.config.get_user(), Some("us@er"));
        assert_eq!(target.config.get_password(), Some(&b"p/w?d"[..]));
        assert_eq!(target.config.get_dbname(), Some("db"));
        assert_eq!(target.config.get_application_name(), Some("a"));
        assert_eq!(target.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert!(!format!("{target:?}").contains("p/w"), "{target:?}");
    }

    #[test]
    fn an_invalid_url_is_explained_without_a_part_of_it() {
        let cases = [
            ("", "does not begin with"),
            ("mysql://u:canary@h/d", "does not begin with"),
            ("host=h password=canary", "does not begin with"),
            ("postgres://u:can@ary@h/d", "%40"),
            ("postgres://u:can@ary/x@h/d", "%40"),
            ("postgres://u:canary@h:canary/d", "invalid value for option `port`"),
            ("postgres://u:canary@/d", "it names no host"),
            ("postgres://u:canary@h/d?sslmode=canary", "sslmode is"),
            ("postgres://u:canary@h/d?canary=1", "outbound.ca_file"),
            ("postgres://u:canary@h/d?sslrootcert=canary", "outbound.ca_file"),
            ("postgres://u:canary@h/d?canary", "malformed"),
        ];
        for (url, expected) in cases {
            let error = parse(url).unwrap_err();
            assert!(error.contains(expected) && error.starts_with("store.url: "), "{url}: {error}");
            assert!(!error.contains("can"), "{url}: {error}");
        }
    }
}
