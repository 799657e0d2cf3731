//! What faces internal clients and operators: listeners, TLS, the guards.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest as sha256};

use super::bearer;
use crate::config::address;
use crate::config::error::{Malformed, Place, one_line};
use crate::config::reader::Reader;
use crate::config::settings::Raw;
use crate::config::{AdminConfig, AllowRule, GuardConfig, ListenAddress, PageOrigin, ServerTls};

/// The parts of [`Config`](super::Config) that are about the downstream.
pub(super) struct Downstream {
    pub listen: Vec<ListenAddress>,
    pub listen_mode: u32,
    pub via: String,
    pub tls: Option<ServerTls>,
    pub guard: GuardConfig,
    pub admin: Option<AdminConfig>,
    pub probes: Option<ListenAddress>,
}

pub(super) fn read(reader: &mut Reader) -> Option<Downstream> {
    let listen = reader.list("listen", ListenAddress::parse);
    let listen_mode = reader.parse("listen_mode", mode);
    let via = reader.parse("via", pseudonym);
    let tls = tls(reader);
    let admin = reader.parse("admin.listen", or_off);
    let admin_key = reader.secret("admin.key", bearer);
    let probes = reader.parse("probes.listen", or_off);
    let guard = guard(reader, listen.as_deref());

    if let Some(Some(admin)) = &admin
        && !admin.is_loopback()
        && !reader.is_set("admin.key")
    {
        reader.reject("admin.listen", "is beyond the loopback: set admin.key too, or listen on a loopback address");
    }
    collisions(reader, listen.as_deref()?, admin.as_ref()?.as_ref(), probes.as_ref()?.as_ref());
    let (listen, guard) = (listen?, guard?);
    let is_open = listen.iter().any(|address| !address.is_loopback());
    let has_client_ca = tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    if is_open && guard.hosts.is_none() && guard.client_keys.is_empty() && !has_client_ca {
        let mend = "set guard.client_keys, tls.client_ca_file or guard.hosts";
        reader.warn("listen", format!("whoever reaches this listener can use the grant: {mend}"));
    }
    Some(Downstream {
        listen,
        listen_mode: listen_mode?,
        via: via?,
        tls,
        guard,
        admin: admin?.map(|listen| AdminConfig { listen, key: admin_key }),
        probes: probes?,
    })
}

fn guard(reader: &mut Reader, listen: Option<&[ListenAddress]>) -> Option<GuardConfig> {
    if let Some(listen) = listen {
        let is_local = listen.iter().all(ListenAddress::is_loopback);
        let hosts = if is_local { address::loopback_hosts(listen) } else { vec!["*".to_owned()] };
        reader.preset("guard.hosts", Place::Default, Raw::List(hosts));
    }
    let every_host = |text: &str| if text == "*" { Ok(None) } else { address::host(text).map(Some) };
    let hosts: Option<Vec<Option<String>>> = reader.list("guard.hosts", every_host);
    let origins_are_set = reader.is_set("guard.origins");
    let origins = reader.list("guard.origins", PageOrigin::read);
    let allow_is_set = reader.is_set("guard.allow");
    let allow = reader.list("guard.allow", |text| Ok(AllowRule::parse(text)?));
    let keys_are_set = reader.is_set("guard.client_keys");
    let client_keys = reader.list("guard.client_keys", digest);
    let max_connections = reader.count("guard.max_connections");
    let header_timeout = reader.duration("guard.header_timeout");
    let idle_timeout = reader.duration("guard.idle_timeout");
    let max_header_size = reader.size("guard.max_header_size");
    let max_body_size = reader.size("guard.max_body_size");
    let min_body_rate = reader.size("guard.min_body_rate");
    let pass_cookies = reader.flag("guard.pass_cookies");
    Some(GuardConfig {
        // Not `None` for a list that could not be read: that would open the guard.
        allow: if allow_is_set { Some(allow?) } else { None },
        hosts: hosts?.into_iter().collect(),
        origins: if origins_are_set { origins? } else { Vec::new() },
        client_keys: if keys_are_set { client_keys? } else { Vec::new() },
        max_connections: usize::try_from(max_connections?).unwrap_or(usize::MAX),
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        max_header_size: usize::try_from(max_header_size?).unwrap_or(usize::MAX),
        max_body_size,
        min_body_rate,
        pass_cookies: pass_cookies?,
    })
}

fn tls(reader: &mut Reader) -> Option<ServerTls> {
    let pair = reader.pair("tls.cert_file", "tls.key_file");
    let client_ca_file: Option<PathBuf> = reader.file("tls.client_ca_file");
    if client_ca_file.is_some() && !reader.is_set("tls.cert_file") && !reader.is_set("tls.key_file") {
        reader.reject("tls.client_ca_file", "is of no use without TLS: set tls.cert_file and tls.key_file");
    }
    let (cert_file, key_file) = pair?;
    Some(ServerTls { cert_file, key_file, client_ca_file })
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
            reader.reject(
                name,
                format!("`{address}` can't be had beside `{taken}` of {other}; choose another port or path"),
            );
        }
    }
}

fn or_off(text: &str) -> Result<Option<ListenAddress>, Malformed> {
    if text == "off" { Ok(None) } else { ListenAddress::parse(text).map(Some) }
}

fn mode(text: &str) -> Result<u32, Malformed> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    mode.ok_or("is no such mode".into())
}

/// A token, since it also stands in `Via` (RFC 9110 §7.6.3).
fn pseudonym(text: &str) -> Result<String, Malformed> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_valid = (1..=128).contains(&text.len()) && text.bytes().all(is_token);
    if is_valid { Ok(text.to_owned()) } else { Err("is no such token".into()) }
}

/// What the manifests in `deploy` hold in the place of a value that only the operator can make.
const PLACEHOLDER: &str = "YOUR-";

fn digest(text: &str) -> Result<[u8; 32], Malformed> {
    if text.starts_with(PLACEHOLDER) {
        return Err("is still the placeholder of an example: make a key, and put its digest here".into());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect();
    let digest: [u8; 32] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed::from("is no such digest"))?;
    if sha256(&SHA256, b"").as_ref() == digest {
        return Err("is the digest of an empty key, which would let everybody in".into());
    }
    Ok(digest)
}
