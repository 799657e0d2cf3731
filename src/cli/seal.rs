//! `seal`: encrypts a stored plaintext grant with the first key in `store.keys`.
//!
//! If keys are set, a plaintext document is refused, because anybody could have written it. This command is how a person says
//! that the document is genuine.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Failure, Outcome, progress};
use crate::config::Config;
use crate::token::store::{Leased, Sealing, Store, StoreError};

/// Longer than it takes to read and write the store.
const LEASE: Duration = Duration::from_secs(30);
/// How long to wait for a refresh in flight, beyond its call.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(config: &Config) -> Result<Outcome, Failure> {
    if config.store.keys.is_empty() {
        return Err(Failure::new("store.keys is not set: there is no key to encrypt the stored grant with"));
    }
    let call = config.oauth.grant.endpoint().map_or(Duration::ZERO, |endpoint| endpoint.request_timeout);
    let sealing = progress::shown("waiting for the store", seal(config, call + PATIENCE)).await;
    let text = match sealing.map_err(|error| Failure::new(format!("nothing was encrypted: {error}")))? {
        Sealing::Sealed => "the stored grant is encrypted now; a running proxy uses it within two seconds\n",
        Sealing::AlreadySealed => "the stored grant is already encrypted; nothing was changed\n",
        Sealing::Nothing => "no grant is stored; nothing was changed\n",
    };
    Ok(Outcome::done(text))
}

async fn seal(config: &Config, patience: Duration) -> Result<Sealing, StoreError> {
    let store = Store::open(&config.store, config.outbound.ca_file.as_deref()).await?;
    store.prepare().await?;
    let owner = format!("seal-{}", std::process::id());
    let deadline = Instant::now() + patience;
    // A process without the keys may be refreshing. It could not store the outcome if the document were encrypted now.
    let lease = loop {
        match store.lease(&owner, LEASE).await? {
            Leased::Held(lease) => break lease,
            Leased::Busy { .. } if Instant::now() >= deadline => {
                let error = format!("another process has held the store's lease for {patience:?}; try again");
                return Err(StoreError::Unavailable(error));
            }
            Leased::Busy { retry_in } => sleep(retry_in).await,
        }
    };
    let sealing = store.seal().await;
    store.release(lease).await;
    sealing
}
