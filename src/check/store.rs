//! Checks of the store: where the grant lives, and whether it can be read and written there. Nothing is written.

mod cluster;
mod mount;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;

use self::mount::Mount;
use super::finding::Finding;
use super::ids::{Area, Id};
use crate::config::{Config, StoreKindConfig};
use crate::token::owner;
use crate::token::store::{Holder, Look, Store, StoreError};

/// What is known of the store.
#[derive(Debug)]
pub enum Facts {
    Memory,
    File(FileFacts),
    Database(Result<Look, StoreError>),
    Cluster(Result<Look, StoreError>),
}

/// What is known of a file store. The directory comes first: without it there is nothing else.
#[derive(Debug)]
pub struct FileFacts {
    pub folder: PathBuf,
    pub directory: io::Result<Directory>,
    pub mount: Option<Mount>,
    /// Of the stored grant, if there is one.
    pub document_uid: Option<u32>,
    /// This process. As root it acts as the owner of the directory.
    pub uid: u32,
    pub look: Result<Look, StoreError>,
}

#[derive(Debug)]
pub struct Directory {
    pub uid: u32,
    pub mode: u32,
    /// Whether this user may create files there.
    pub writable: io::Result<()>,
}

/// A hung disk or database must not take the time of the other checks.
const LIMIT: Duration = Duration::from_millis(4500);

const FILE_ONLY: [Id; 6] = [
    Id::StoreFolderMissing,
    Id::StoreReadOnly,
    Id::StoreOwner,
    Id::StoreEphemeral,
    Id::StoreNetworkFilesystem,
    Id::StoreSharedFile,
];
const DATABASE_ONLY: [Id; 2] = [Id::StoreDatabaseUnreachable, Id::StoreDatabaseRights];
const CLUSTER_ONLY: [Id; 4] =
    [Id::StoreClusterUnreachable, Id::StoreClusterForbidden, Id::StoreClusterImmutable, Id::StoreClusterForeignOwner];

pub async fn gather(config: &Config) -> Facts {
    match &config.store.kind {
        StoreKindConfig::Memory => Facts::Memory,
        StoreKindConfig::Postgres { .. } => Facts::Database(look(config).await),
        StoreKindConfig::Kubernetes(_) => Facts::Cluster(look(config).await),
        StoreKindConfig::File { path } => {
            let document = path.clone();
            let found = tokio::task::spawn_blocking(move || files(&document));
            match tokio::time::timeout(LIMIT, found).await {
                Ok(Ok((folder, directory, mount, document_uid))) => {
                    let look = match &directory {
                        Ok(_) => look(config).await,
                        Err(error) => Err(StoreError::Unavailable(error.to_string())),
                    };
                    Facts::File(FileFacts { folder, directory, mount, document_uid, uid: geteuid().as_raw(), look })
                }
                failed @ (Ok(Err(_)) | Err(_)) => {
                    let error = || match failed {
                        Ok(_) => io::Error::other("the check of it ended early, which is a fault of this program"),
                        Err(_) => {
                            let text = format!("the disk did not answer within {LIMIT:?}");
                            io::Error::new(io::ErrorKind::TimedOut, text)
                        }
                    };
                    Facts::File(FileFacts {
                        folder: path.clone(),
                        directory: Err(error()),
                        mount: None,
                        document_uid: None,
                        uid: geteuid().as_raw(),
                        look: Err(StoreError::Unavailable(error().to_string())),
                    })
                }
            }
        }
    }
}

async fn look(config: &Config) -> Result<Look, StoreError> {
    let look = async {
        let store = Store::open(&config.store, config.outbound.ca_file.as_deref()).await?;
        store.look().await
    };
    tokio::time::timeout(LIMIT, look)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable(format!("the store did not answer within {LIMIT:?}"))))
}

fn files(document: &Path) -> (PathBuf, io::Result<Directory>, Option<Mount>, Option<u32>) {
    let folder = folder(document);
    let document_uid = std::fs::symlink_metadata(document).ok().map(|found| found.uid());
    (folder.to_owned(), directory(folder), mount(folder), document_uid)
}

fn folder(document: &Path) -> &Path {
    match document.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

fn mount(folder: &Path) -> Option<Mount> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mount::find(&mountinfo, &folder.canonicalize().ok()?)
}

fn directory(folder: &Path) -> io::Result<Directory> {
    let found = std::fs::metadata(folder)?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let may_create = Access::WRITE_OK | Access::EXEC_OK;
    let writable = accessat(CWD, folder, may_create, AtFlags::EACCESS).map_err(io::Error::from);
    Ok(Directory { uid: found.uid(), mode: found.mode() & 0o7777, writable })
}

pub fn judge(facts: &Facts, grant_rotates: bool) -> Vec<Finding> {
    let mut findings = match facts {
        Facts::Memory => return Area::Store.skip("the memory store has no files"),
        Facts::File(facts) => file(facts, grant_rotates),
        Facts::Database(look) => database(look),
        Facts::Cluster(look) => cluster::judge(look),
    };
    let (others, why) = match facts {
        Facts::Database(_) => ([&FILE_ONLY[..], &CLUSTER_ONLY].concat(), "the store is a database"),
        Facts::Cluster(_) => ([&FILE_ONLY[..], &DATABASE_ONLY].concat(), "the store is a cluster"),
        Facts::Memory | Facts::File(_) => ([&DATABASE_ONLY[..], &CLUSTER_ONLY].concat(), "the store is a file"),
    };
    let cause = findings.iter().find(|finding| finding.id.blocks()).map(Finding::because);
    findings.extend(others.iter().map(|id| id.skip(why)));
    if let Some(because) = cause {
        findings.extend(Area::Store.skip_others(&findings, &because));
    }
    findings
}

fn file(facts: &FileFacts, grant_rotates: bool) -> Vec<Finding> {
    let folder = facts.folder.display();
    let directory = match &facts.directory {
        Ok(directory) => directory,
        Err(error) => {
            return vec![Id::StoreFolderMissing.fail(
                format!("{folder} is not a usable directory: {error}"),
                "create the directory, mount its volume, or correct store.path",
            )];
        }
    };
    let mut findings = kind(&facts.folder, facts.mount.as_ref(), grant_rotates);
    // As root the store acts as the owner of the directory.
    let acts_as = if facts.uid == 0 { directory.uid } else { facts.uid };
    if let Err(error) = &directory.writable {
        let is_other = error.kind() == io::ErrorKind::PermissionDenied && directory.uid != acts_as;
        findings.push(if is_other {
            owner(&facts.folder, directory.uid, acts_as)
        } else {
            Id::StoreReadOnly.fail(
                format!("{folder} (mode {:04o}) cannot be written: {error}", directory.mode),
                "mount the volume writable, or give the user of the proxy the right to write",
            )
        });
        return findings;
    }
    match &facts.look {
        Ok(look) => findings.extend(looked(look)),
        Err(error) => findings.push(unreadable(error)),
    }
    let is_denied = matches!(
        &facts.look,
        Err(StoreError::Unavailable(_)) | Ok(Look { record: Err(StoreError::Unavailable(_)), .. })
    );
    if let Some(uid) = facts.document_uid.filter(|uid| is_denied && *uid != acts_as) {
        findings.retain(|finding| finding.id != Id::StoreDamaged);
        findings.push(owner(Path::new("the stored grant"), uid, acts_as));
    }
    findings
}

/// The kind of file system that the store is on.
fn kind(folder: &Path, mount: Option<&Mount>, grant_rotates: bool) -> Vec<Finding> {
    let folder = folder.display();
    let mut findings = Vec::new();
    if grant_rotates && let Some(what) = mount.and_then(Mount::ephemeral) {
        findings.push(Id::StoreEphemeral.warn(
            format!("{folder} is on {what}, which a restart empties; the refresh token is lost with it"),
            "mount a persistent volume there, or use the store `postgres`",
        ));
    }
    if let Some(kind) = mount.and_then(Mount::network) {
        findings.push(Id::StoreNetworkFilesystem.warn(
            format!("{folder} is on the network file system {kind}; its locks may not reach other machines"),
            "use a local disk for one machine, and the store `postgres` for several",
        ));
    }
    findings
}

/// What the log of `serve` says of the store: only the kind of its file system.
pub fn at_start(config: &Config, grant_rotates: bool) -> Vec<Finding> {
    let StoreKindConfig::File { path } = &config.store.kind else { return Vec::new() };
    let folder = folder(path);
    kind(folder, mount(folder).as_ref(), grant_rotates)
}

fn owner(what: &Path, uid: u32, acts_as: u32) -> Finding {
    let what = what.display();
    Id::StoreOwner.fail(
        format!("{what} belongs to uid {uid}, and this process acts as uid {acts_as}"),
        format!("run the proxy as uid {uid}, change the owner to {acts_as}, or set fsGroup in Kubernetes"),
    )
}

/// Replicas on other hosts that use the same file. `by_peer`: the proxy that runs on `this_host` did not refresh last.
pub fn shared(facts: &Facts, by_peer: bool, this_host: Option<&str>) -> Option<Finding> {
    let Facts::File(FileFacts { look: Ok(Look { holder: Some(holder), .. }), .. }) = facts else { return None };
    let Holder { owner, shared_with } = holder;
    let elsewhere = owner::host(owner).is_some_and(|host| this_host.is_some_and(|this| this != host));
    let detail = match shared_with {
        Some(other) => format!("the processes {owner} and {other} on two hosts take turns to refresh the grant"),
        None if by_peer && elsewhere => {
            format!("the process {owner} on another host refreshed the grant while the proxy of this host ran")
        }
        None => return None,
    };
    Some(Id::StoreSharedFile.warn(
        detail,
        "run one replica, or keep the grant of several in PostgreSQL (store.kind): locks of files may not reach other hosts",
    ))
}

fn database(look: &Result<Look, StoreError>) -> Vec<Finding> {
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            return vec![
                Id::StoreDatabaseUnreachable
                    .fail(error.to_string(), "start the database, or correct store.url and the network between"),
            ];
        }
    };
    let mut findings = looked(look);
    if let Some(rights) = look.rights.filter(|rights| !rights.are_enough()) {
        let detail = if rights.table_exists {
            let needed = [("SELECT", rights.select), ("INSERT", rights.insert), ("UPDATE", rights.update)];
            let missing: Vec<_> = needed.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
            format!("the role lacks {} on the table bearer_proxy_grant", missing.join(", "))
        } else {
            "the table bearer_proxy_grant is missing, and the role may not create it".to_owned()
        };
        findings.push(
            Id::StoreDatabaseRights
                .fail(detail, "run the SQL that `bearer-proxy config --schema` prints as the owner of the database"),
        );
    }
    findings
}

fn looked(look: &Look) -> Vec<Finding> {
    let mut findings: Vec<_> = look.record.as_ref().err().map(unreadable).into_iter().collect();
    if let Some(overdue) = &look.overdue {
        findings.push(Id::StoreLeaseStuck.warn(
            format!("the process {} should have given its lease back {} s ago", overdue.owner, overdue.by.as_secs()),
            "end that process if it is stopped or stuck; other processes take the lease over after its duration",
        ));
    }
    findings
}

fn unreadable(error: &StoreError) -> Finding {
    let (id, hint) = match error {
        StoreError::WrongKey(_) => (Id::StoreKeyMissing, "add the key that encrypted the grant to store.keys"),
        StoreError::Refused(_) => {
            (Id::StoreKeyMissing, "encrypt your own grant with `bearer-proxy seal`, or store a new one with `import`")
        }
        StoreError::Damaged(_) => (
            Id::StoreDamaged,
            "restore a backup, or store a new grant with `bearer-proxy login` or `bearer-proxy import`",
        ),
        StoreError::Unavailable(_) => {
            (Id::StoreDamaged, "repair what the error names and check again; the stored grant may be intact")
        }
    };
    id.fail(error.to_string(), hint)
}

// === impl Id ===

impl Id {
    /// Whether this problem prevents the remaining checks of the store.
    fn blocks(self) -> bool {
        matches!(
            self,
            Self::StoreFolderMissing
                | Self::StoreReadOnly
                | Self::StoreOwner
                | Self::StoreDatabaseUnreachable
                | Self::StoreDatabaseRights
                | Self::StoreClusterUnreachable
                | Self::StoreClusterForbidden
        )
    }
}

#[cfg(test)]
mod tests;
