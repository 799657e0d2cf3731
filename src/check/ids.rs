//! The table of checks. An id is public: it stands in the output, in a log line and in `docs/reference/checks.md`.

use serde::{Serialize, Serializer};

/// A part of the report. Areas appear in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    Configuration,
    Secrets,
    Store,
    Grant,
    Limits,
    Network,
    Clock,
    TokenEndpoint,
    Upstream,
}

/// One row of the table.
struct Row {
    id: Id,
    name: &'static str,
    area: Area,
    /// What is true if the check passes.
    title: &'static str,
}

macro_rules! table {
    ($($id:ident $name:literal $area:ident $title:literal;)*) => {
        /// One check.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Id {
            $($id,)*
        }

        impl Id {
            /// Every check, in the order of the report.
            pub const ALL: &[Self] = &[$(Self::$id,)*];

            fn row(self) -> Row {
                match self {
                    $(Self::$id => Row { id: self, name: $name, area: Area::$area, title: $title },)*
                }
            }
        }
    };
}

table! {
    ConfigInvalid "config-invalid" Configuration "every key has an accepted value";
    ConfigUnknownKey "config-unknown-key" Configuration "every key is known";
    ConfigUnusedKey "config-unused-key" Configuration "every key has an effect";
    ConfigDoubtful "config-doubtful" Configuration "no value is likely to be a mistake";
    ConfigInsecureExposure "config-insecure-exposure" Configuration "no listener lets every machine use the grant";
    ConfigAllowPostLaravel "config-allow-post-laravel" Configuration "guard.allow is not bypassed by a method in a POST body";
    ConfigServiceLinks "config-service-links" Configuration "Kubernetes injects no variables that look like keys";

    SecretMissing "secret-missing" Secrets "every required secret is set";
    SecretEmpty "secret-empty" Secrets "no secret is empty";
    SecretUnreadable "secret-unreadable" Secrets "every file with a secret is readable";
    SecretNewline "secret-newline" Secrets "no secret contains a line break or an outer blank";
    SecretEncodedTwice "secret-encoded-twice" Secrets "no secret is encoded in base64 by mistake";
    SecretWorldReadable "secret-world-readable" Secrets "no other user of this machine may read a secret";
    AdminLoginOpen "admin-login-open" Secrets "only operators may use the admin listener";

    StoreFolderMissing "store-folder-missing" Store "the directory of the store exists";
    StoreReadOnly "store-read-only" Store "the store is writable";
    StoreOwner "store-owner" Store "this user may use the files of the store";
    StoreEphemeral "store-ephemeral" Store "the store survives a restart";
    StoreNetworkFilesystem "store-network-filesystem" Store "the store is on a local file system";
    StoreDatabaseUnreachable "store-database-unreachable" Store "the database of the store answers";
    StoreDatabaseRights "store-database-rights" Store "the database role has the required rights";
    StoreClusterUnreachable "store-cluster-unreachable" Store "the API server of the cluster answers";
    StoreClusterForbidden "store-cluster-forbidden" Store "RBAC allows what the store needs";
    StoreClusterImmutable "store-cluster-immutable" Store "the Secret of the grant can be changed";
    StoreClusterForeignOwner "store-cluster-foreign-owner" Store "no other tool writes the Secret of the grant";
    StoreKeyMissing "store-key-missing" Store "store.keys decrypts the stored grant";
    StoreDamaged "store-damaged" Store "the stored grant is readable";
    StoreLeaseStuck "store-lease-stuck" Store "no process holds the lease for too long";
    StoreSharedFile "store-shared-file" Store "no other host refreshes the grant in this file";

    GrantAbsent "grant-absent" Grant "a grant is stored";
    GrantBoundElsewhere "grant-bound-elsewhere" Grant "the grant belongs to the configured servers";
    GrantNeedsLogin "grant-needs-login" Grant "the grant needs no login";
    GrantNearEnd "grant-near-end" Grant "the access token is not due for a refresh";
    GrantNeverRefreshed "grant-never-refreshed" Grant "the refresh token was accepted before";
    GrantRefreshFails "grant-refresh-fails" Grant "the last refresh succeeded";
    GrantUnpersisted "grant-unpersisted" Grant "the newest token is stored";

    LimitDescriptors "limit-descriptors" Limits "the limit of open files allows guard.max_connections";
    LimitMemory "limit-memory" Limits "the memory limit is above the configured ceiling";
    LimitCpu "limit-cpu" Limits "the CPU quota is sufficient for TLS handshakes";

    ProxyInBetween "proxy-in-between" Network "the HTTP proxy, if any, connects";
    DnsFails "dns-fails" Network "the server names resolve";
    DnsSlow "dns-slow" Network "name servers answer within a second";
    DnsOneFamily "dns-one-family" Network "name servers answer for IPv4 and for IPv6";
    TcpRefused "tcp-refused" Network "the servers accept TCP connections";
    TcpDropped "tcp-dropped" Network "no firewall drops packets to the servers";
    TlsUntrusted "tls-untrusted" Network "the certificates of the servers are trusted";
    TlsExpired "tls-expired" Network "the certificates of the servers are valid today";
    TlsNoCommonCipher "tls-no-common-cipher" Network "TLS handshakes succeed";
    CertificateNearEnd "certificate-near-end" Network "the certificates of the servers are valid for 14 days or more";

    ClockOff "clock-off" Clock "this clock agrees with the servers";

    EndpointRedirects "endpoint-redirects" TokenEndpoint "the token endpoint does not redirect";
    EndpointNotJson "endpoint-not-json" TokenEndpoint "the token endpoint answers in JSON";
    EndpointThrottles "endpoint-throttles" TokenEndpoint "the token endpoint does not limit this client";
    EndpointFails "endpoint-fails" TokenEndpoint "the token endpoint works";
    ClientRejected "client-rejected" TokenEndpoint "the token endpoint does not reject the client";

    UpstreamRefuses "upstream-refuses" Upstream "the upstream accepts the access token";
    UpstreamForbids "upstream-forbids" Upstream "the upstream permits the request";
    UpstreamQuota "upstream-quota" Upstream "the quota of the upstream is not used up";
    UpstreamFails "upstream-fails" Upstream "the upstream answers with success";
}

// === impl Id ===

impl Id {
    /// Whether the check is made only if the configuration is valid.
    pub fn needs_valid_configuration(self) -> bool {
        !matches!(
            self,
            Self::ConfigInvalid
                | Self::ConfigUnknownKey
                | Self::ConfigServiceLinks
                | Self::SecretMissing
                | Self::SecretEmpty
                | Self::SecretUnreadable
                | Self::SecretNewline
        )
    }

    /// As users write it: `secret-newline`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn area(self) -> Area {
        self.row().area
    }

    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// The section of the documentation.
    pub fn doc(self) -> String {
        format!("docs/reference/checks.md#{}", self.name())
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|id| id.name() == name).copied()
    }

    /// The checks of an area.
    pub fn of(area: Area) -> impl Iterator<Item = Self> {
        Self::ALL.iter().map(|id| id.row()).filter(move |row| row.area == area).map(|row| row.id)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

// === impl Area ===

impl Area {
    pub const ALL: &[Self] = &[
        Self::Configuration,
        Self::Secrets,
        Self::Store,
        Self::Grant,
        Self::Limits,
        Self::Network,
        Self::Clock,
        Self::TokenEndpoint,
        Self::Upstream,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Secrets => "Secrets",
            Self::Store => "Store",
            Self::Grant => "Grant",
            Self::Limits => "Limits",
            Self::Network => "Network",
            Self::Clock => "Clock",
            Self::TokenEndpoint => "Token endpoint",
            Self::Upstream => "Upstream",
        }
    }

    /// Whether a check of this area sends packets.
    pub fn needs_network(self) -> bool {
        matches!(self, Self::Network | Self::Clock | Self::TokenEndpoint | Self::Upstream)
    }

    /// Whether a failure may end without a change of the configuration. The calls are not among them: a run makes each once.
    pub fn may_recover(self) -> bool {
        matches!(self, Self::Store | Self::Grant | Self::Network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/reference/checks.md");

    /// A scanner that looks for a heading finds the section of the finding, and no section is left over.
    #[test]
    fn every_id_has_a_section_and_every_section_an_id() {
        let headings: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        let names: Vec<_> = Id::ALL.iter().map(|id| id.name()).collect();
        assert_eq!(headings, names);
        let areas: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let titles: Vec<_> = Area::ALL.iter().map(|area| area.title()).collect();
        assert_eq!(areas, titles);
    }

    #[test]
    fn every_section_has_a_cause_a_fix_and_an_example() {
        for section in PAGE.split("\n### ").skip(1) {
            let name = section.lines().next().unwrap_or_default();
            for part in ["**Cause.**", "**Fix.**", "```"] {
                assert!(section.contains(part), "{name} has no {part}");
            }
        }
    }

    #[test]
    fn ids_are_in_the_order_of_their_areas_and_have_their_form() {
        assert!(Id::ALL.is_sorted_by_key(|id| id.area()));
        for id in Id::ALL {
            assert_eq!(Id::from_name(id.name()), Some(*id));
            assert!(id.name().contains('-') && id.name().bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()));
        }
    }
}
