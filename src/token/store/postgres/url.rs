//! `store.url`: where the database is, and whether the way there is encrypted.
//!
//! | `sslmode` | what it does |
//! |---|---|
//! | none | as `disable` to a loopback address or a unix socket, else as `require` |
//! | `disable` | in clear |
//! | `allow`, `prefer` | encrypted if the server offers it |
//! | `require`, `verify-ca`, `verify-full` | encrypted |
//!
//! Whenever it is encrypted, the certificate must come from a public root or one of `outbound.ca_file` and be for this host:
//! an encrypted way to an unknown party is no protection. (libpq asks for that under `verify-full` alone.)

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::secret::Secret;
use crate::token::store::StoreError;

/// A database, and what to call it in an error.
#[derive(Debug)]
pub(super) struct Target {
    /// Its `Debug` masks the password.
    pub(super) config: Config,
    /// `PostgreSQL at db.example:5432`
    pub(super) place: String,
}

const EXPECTED: &str = "postgres://user:password@host:port/database";
/// To each address of a host.
const CONNECT: Duration = Duration::from_secs(2);
/// After this the system finds out that the other side is gone.
const SILENCE: Duration = Duration::from_secs(10);

// === impl Target ===

impl Target {
    pub(super) fn parse(url: &Secret) -> Result<Self, StoreError> {
        let (plain, mode) = split_sslmode(url.expose())?;
        let mut config: Config = plain.expose().parse().map_err(|error| invalid(&parse_reason(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("it names no host"));
        }
        config.ssl_mode(mode.unwrap_or(if is_local(&config) { SslMode::Disable } else { SslMode::Require }));
        // Of several hosts, or after a failover, the one that can be written: a stale replica must not be read either.
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
        Ok(Self { config, place })
    }
}

/// The URL without its `sslmode`, some of whose values the driver does not know.
fn split_sslmode(url: &str) -> Result<(Secret, Option<SslMode>), StoreError> {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| invalid("it does not begin with postgres:// or postgresql://"))?;
    let after_credentials = rest.split_once('@').map_or(rest, |(_, after)| after);
    let (location, query) = after_credentials.split_once('?').unwrap_or((after_credentials, ""));
    // A part of the password would be taken for a host, and then be named in errors.
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

/// The driver's own words, where they can hold no part of the URL.
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
        let port = config.get_ports().get(index).or(config.get_ports().first()).unwrap_or(&5432);
        // Writing to a string does not fail.
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
            ("postgres://u@db.example/d?sslmode=prefer", Prefer, "db.example:5432"),
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
