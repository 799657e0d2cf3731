//! The cluster that this process runs in. Kubernetes tells each pod by variables and files.

use std::path::{Path, PathBuf};

use url::Url;

use crate::config::environment::Environment;
use crate::config::error::Place;
use crate::config::ip::ip_literal;
use crate::config::malformed::Malformed;
use crate::config::reader::Reader;
use crate::config::sections::{computed, plain};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";
const DEFAULT_NAME: &str = "bearer-proxy";

/// The directory of the service account's token, CA and namespace. The variable is for a volume that is mounted elsewhere.
pub(super) fn account(environment: &Environment) -> PathBuf {
    environment.get("KUBERNETES_SERVICE_ACCOUNT_DIR").map_or_else(|| PathBuf::from(ACCOUNT), PathBuf::from)
}

pub(super) fn presets(reader: &mut Reader, environment: &Environment) {
    reader.preset("store.name", Place::Default, computed(DEFAULT_NAME));
    let account = account(environment);
    match own_namespace(&account) {
        Some(own) => reader.preset("store.namespace", Place::Default, computed(&own)),
        // Outside a pod, one error is enough.
        None if reader.is_set("store.namespace") || environment.get(HOST).is_none() => {}
        None => {
            reader.missing(
                "store.namespace",
                "this container has no file `namespace` of a service account to take it from",
            );
        }
    }
}

fn own_namespace(account: &Path) -> Option<String> {
    let text = crate::files::read_text(&account.join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// `https://10.96.0.1:443`
pub(super) fn server(reader: &mut Reader, environment: &Environment) -> Option<String> {
    if !cfg!(feature = "kubernetes") {
        reader.reject(
            "store.kind",
            "this build does not have `kubernetes` (cargo feature `kubernetes`): use `file`, or `postgres`",
        );
        return None;
    }
    let variable = |name| environment.get(name).and_then(|value| value.to_str());
    let server = match (variable(HOST), variable(PORT)) {
        (Some(host), Some(port)) => match ip_literal(host) {
            Some(ip) if ip.is_ipv6() => format!("https://[{ip}]:{port}"),
            _ => format!("https://{host}:{port}"),
        },
        _ => {
            reader.reject(
                "store.kind",
                "`kubernetes` works only in a pod, where Kubernetes sets KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: run \
                 the command with `kubectl exec`, or use another store",
            );
            return None;
        }
    };
    if Url::parse(&server).is_err() {
        reader.reject(
            "store.kind",
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no address: correct or unset them",
        );
        return None;
    }
    Some(server)
}

/// A DNS subdomain, as the API server requires it (RFC 1123).
pub(super) fn name(text: &str) -> Result<String, Malformed> {
    let is_valid = (1..=253).contains(&text.len()) && text.split('.').all(is_label);
    if is_valid { plain(text) } else { Err("not a valid name of a Kubernetes object".into()) }
}

pub(super) fn namespace(text: &str) -> Result<String, Malformed> {
    if text.len() <= 63 && is_label(text) { plain(text) } else { Err(Malformed::INVALID) }
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}
