//! Checks of the way to the upstream and to the token endpoint: names, TCP, an HTTP proxy, TLS.

use std::time::Duration;

use jiff::Timestamp;

use super::finding::Finding;
use super::ids::Id;
use crate::outbound::{ConnectError, Connector, Lookup, Probe, Step};

/// What was found on the way to one server.
#[derive(Debug)]
pub struct Facts {
    /// `upstream`, `token endpoint`, or both if they are the same server.
    pub role: &'static str,
    pub host: String,
    pub is_tls: bool,
    pub lookup: Option<Lookup>,
    pub http_proxy: Option<String>,
    /// `None`: the connection succeeded.
    pub failure: Option<(Step, ConnectError)>,
    pub certificate_end: Option<Timestamp>,
}

const SLOW: Duration = Duration::from_secs(1);
const NEAR_END: Duration = Duration::from_secs(14 * 86_400);

const NAMES: [Id; 3] = [Id::DnsFails, Id::DnsSlow, Id::DnsOneFamily];
const TCP: [Id; 2] = [Id::TcpRefused, Id::TcpDropped];
const TLS: [Id; 4] = [Id::TlsUntrusted, Id::TlsExpired, Id::TlsNoCommonCipher, Id::CertificateNearEnd];

// === impl Facts ===

impl Facts {
    pub fn new(role: &'static str, connector: &Connector, probe: &Probe) -> Self {
        Self {
            role,
            host: connector.origin().authority.to_string(),
            is_tls: connector.is_tls(),
            lookup: probe.lookup,
            http_proxy: probe.http_proxy.clone(),
            failure: probe.connection.as_ref().err().cloned(),
            certificate_end: probe.certificate_end,
        }
    }

    fn failed_step(&self) -> Option<Step> {
        self.failure.as_ref().map(|(step, _)| *step)
    }
}

/// Why the server cannot be called; `None`: it can.
pub fn obstacle(facts: &Facts) -> Option<Finding> {
    let (step, error) = facts.failure.as_ref()?;
    let place = format!("{} ({})", facts.host, facts.role);
    let says = format!("{place}: {error}");
    Some(match (step, error) {
        (Step::Tunnel, _) => Id::ProxyInBetween.fail(
            match &facts.http_proxy {
                Some(proxy) => format!("{place} through {proxy}: {error}"),
                None => says,
            },
            "correct outbound.proxy or HTTPS_PROXY, or add the host to NO_PROXY",
        ),
        (Step::Lookup, ConnectError::Timeout(after)) => Id::DnsFails.fail(
            format!("{place}: no name server answered within {after:.1?}"),
            "correct the name servers in /etc/resolv.conf, or let packets to them pass (UDP and TCP port 53)",
        ),
        (Step::Lookup, _) => Id::DnsFails.fail(says, "correct the host in the URL, or the name servers"),
        (Step::Tcp, ConnectError::Timeout(after)) => Id::TcpDropped.fail(
            format!("{place}: no answer to a TCP connection within {after:.1?}"),
            "let packets to this host and port pass: firewall, egress policy, security group; or set outbound.proxy",
        ),
        (Step::Tcp, _) => Id::TcpRefused.fail(says, "start the server, or correct the host and the port in the URL"),
        (Step::Tls, ConnectError::OutsideValidity(_)) => {
            Id::TlsExpired.fail(says, "renew the certificate; if it is valid, correct the clock of this machine")
        }
        (Step::Tls, ConnectError::Certificate(_)) => Id::TlsUntrusted.fail(
            says,
            "if the issuer is your company's, a device intercepts TLS: exempt the host, or add that CA to outbound.ca_file",
        ),
        (Step::Tls, _) => Id::TlsNoCommonCipher.fail(says, "correct the server's TLS settings, or the URL's port"),
    })
}

pub fn judge(all: &[Facts], now: Timestamp) -> Vec<Finding> {
    let mut findings: Vec<_> = all.iter().filter_map(obstacle).collect();
    for facts in all {
        let place = format!("{} ({})", facts.host, facts.role);
        if let Some(lookup) = facts.lookup {
            if lookup.took > SLOW {
                findings.push(Id::DnsSlow.warn(
                    format!("{place}: name servers took {:.1?}", lookup.took),
                    "use a nearer name server; in Kubernetes, set ndots to 1 or end the host with a dot",
                ));
            }
            if let Some(family) = lookup.silent {
                findings.push(Id::DnsOneFamily.warn(
                    format!("{place}: no name server answers for {family}, so each lookup waits for its time limit"),
                    format!("let the name server answer for {family}, or replace the one that drops these questions"),
                ));
            }
        }
        if let Some(end) = facts.certificate_end
            && let left = end.duration_since(now)
            && left < jiff::SignedDuration::try_from(NEAR_END).unwrap_or_default()
        {
            findings.push(Id::CertificateNearEnd.warn(
                format!("{place}: the certificate ends at {end}, in {} days", left.as_hours() / 24),
                "ask the operator of the server to renew it",
            ));
        }
    }
    findings.extend(unreached(all, &findings));
    findings
}

/// The checks that no connection reached.
fn unreached(all: &[Facts], findings: &[Finding]) -> Vec<Finding> {
    let because = findings.iter().find(|finding| finding.is_problem()).map(Finding::because);
    let because = because.unwrap_or_else(|| "no server was tried".to_owned());
    let direct = |facts: &&Facts| facts.http_proxy.is_none();
    let fails_at = |facts: &Facts, steps: &[Step]| facts.failed_step().is_some_and(|step| steps.contains(&step));
    let names_seen = all.iter().filter(direct).any(|facts| facts.lookup.is_some() || fails_at(facts, &[Step::Lookup]));
    let tcp_tried = all.iter().any(|facts| !fails_at(facts, &[Step::Lookup, Step::Tunnel]));
    let has_tls = all.iter().any(|facts| facts.is_tls);
    let tls_tried = all.iter().any(|facts| facts.is_tls && !fails_at(facts, &[Step::Lookup, Step::Tunnel, Step::Tcp]));
    let mut skipped = Vec::new();
    let mut skip = |ids: &[Id], why: &str| {
        let new = ids.iter().filter(|id| findings.iter().all(|finding| finding.id != **id));
        skipped.extend(new.map(|id| id.skip(why)));
    };
    if !names_seen {
        skip(&NAMES, "no name is resolved here: the servers are addresses, or an HTTP proxy resolves their names");
    }
    if !tcp_tried {
        skip(&TCP, &because);
    }
    match (has_tls, tls_tried) {
        (false, _) => skip(&TLS, "no server is reached by TLS"),
        (true, false) => skip(&TLS, &because),
        (true, true) => {}
    }
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::names;

    fn healthy() -> Facts {
        Facts {
            role: "upstream",
            host: "api.test".into(),
            is_tls: true,
            lookup: Some(Lookup { took: Duration::from_millis(20), silent: None }),
            http_proxy: None,
            failure: None,
            certificate_end: Some(now() + jiff::SignedDuration::from_hours(24 * 60)),
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn problems(all: &[Facts]) -> Vec<&'static str> {
        let problems: Vec<_> = judge(all, now()).into_iter().filter(Finding::is_problem).collect();
        names(&problems)
    }

    #[test]
    fn each_fault_on_the_way_has_its_id() {
        let failed = |step, error| Facts { failure: Some((step, error)), certificate_end: None, ..healthy() };
        let timeout = || ConnectError::Timeout(Duration::from_secs(3));
        let certificate = |text: &str| ConnectError::Certificate(text.into());
        let rows = [
            (healthy(), &[][..]),
            (failed(Step::Lookup, ConnectError::Dns("no such name".into())), &["dns-fails"]),
            (failed(Step::Lookup, timeout()), &["dns-fails"]),
            (failed(Step::Tcp, ConnectError::Refused), &["tcp-refused"]),
            (failed(Step::Tcp, ConnectError::Unreachable("no route".into())), &["tcp-refused"]),
            (failed(Step::Tcp, timeout()), &["tcp-dropped"]),
            (failed(Step::Tunnel, ConnectError::Proxy("status 407".into())), &["proxy-in-between"]),
            (failed(Step::Tls, certificate("the CA is not known")), &["tls-untrusted"]),
            (failed(Step::Tls, ConnectError::OutsideValidity("it expired".into())), &["tls-expired"]),
            (failed(Step::Tls, ConnectError::Tls("no cipher in common".into())), &["tls-no-common-cipher"]),
            (failed(Step::Tls, timeout()), &["tls-no-common-cipher"]),
            (Facts { lookup: Some(Lookup { took: Duration::from_secs(2), silent: None }), ..healthy() }, &["dns-slow"]),
            (
                Facts { lookup: Some(Lookup { took: Duration::ZERO, silent: Some("IPv6") }), ..healthy() },
                &["dns-one-family"],
            ),
            (
                Facts { certificate_end: Some(now() + jiff::SignedDuration::from_hours(24 * 13)), ..healthy() },
                &["certificate-near-end"],
            ),
        ];
        for (facts, expected) in rows {
            let text = format!("{facts:?}");
            assert_eq!(problems(&[facts]), expected, "{text}");
        }
    }

    #[test]
    fn what_no_connection_came_to_is_skipped() {
        let skipped = |all: &[Facts]| {
            let skipped: Vec<_> = judge(all, now()).into_iter().filter(|finding| !finding.is_problem()).collect();
            names(&skipped)
        };
        let lost = || Facts { failure: Some((Step::Lookup, ConnectError::Dns("x".into()))), ..healthy() };
        let after_names = [
            "tcp-refused",
            "tcp-dropped",
            "tls-untrusted",
            "tls-expired",
            "tls-no-common-cipher",
            "certificate-near-end",
        ];
        assert_eq!(skipped(&[lost()]), after_names);
        assert_eq!(skipped(&[healthy(), lost()]), [""; 0]);
        let address = Facts { lookup: None, is_tls: false, ..healthy() };
        assert_eq!(
            skipped(&[address]),
            [
                "dns-fails",
                "dns-slow",
                "dns-one-family",
                "tls-untrusted",
                "tls-expired",
                "tls-no-common-cipher",
                "certificate-near-end"
            ]
        );
    }
}
