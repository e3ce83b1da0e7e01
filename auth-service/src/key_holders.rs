//! Who holds which keys: the verifiers that listen to the feed tell of themselves, and so does auth-service. Whoever changes a
//! secret can wait for all of them instead of for a fixed time.

use std::time::Duration;

use jiff::Timestamp;
use service_shell::request_log::chain;
use service_shell::sqlite::StorageError;
use shared_claims::{ClientId, Clock, KeyId, Verifier};
use uuid::Uuid;

use crate::storage::Store;

/// How often auth-service tells of itself, and at once when its keys change.
const INTERVAL: Duration = Duration::from_secs(10);

/// A process that holds keys, by what it last told of itself.
#[derive(Clone, Debug)]
pub(crate) struct KeyHolder {
    /// Made up by the process.
    pub(crate) id: String,
    /// None: auth-service itself.
    pub(crate) client: Option<ClientId>,
    pub(crate) name: String,
    pub(crate) keys: Vec<KeyId>,
    /// How far it has read the feed.
    pub(crate) last_seq: Option<i64>,
    pub(crate) reported_at: Timestamp,
}

impl KeyHolder {
    /// A holder tells of itself more often than this, or is gone.
    const SILENCE: Duration = Duration::from_secs(45);
    /// One that has been gone for this long is not listed any more.
    pub(crate) const FORGOTTEN: Duration = Duration::from_hours(24);

    /// Whoever has not been heard of since then is gone by now.
    pub(crate) fn last_breath(&self) -> Timestamp {
        self.reported_at - Self::SILENCE
    }

    /// Whether it has been heard of lately.
    pub(crate) fn is_here(&self, now: Timestamp) -> bool {
        now < self.reported_at + Self::SILENCE
    }
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Taken,
    /// Another client has a holder of that id.
    Foreign,
    /// The client has as many other holders as it may have, and all of them are here.
    TooMany,
}

/// Keeps what holders tell of themselves.
#[derive(Clone, Debug)]
pub(crate) struct KeyHolders {
    store: Store,
    clock: Clock,
    /// Of one client.
    most: u32,
    /// What this process calls itself among the holders.
    own_id: String,
}

impl KeyHolders {
    /// `most`: verifiers of one client, which are no more than may listen to the feed.
    pub(crate) fn new(store: Store, clock: Clock, most: usize) -> Self {
        Self {
            store,
            clock,
            most: u32::try_from(most).unwrap_or(u32::MAX),
            own_id: Uuid::now_v7().to_string(),
        }
    }

    /// Keeps what a verifier tells of itself. Where its client has too many, those that are gone are forgotten, the longest gone
    /// first, and no other: whoever changes a key waits for all that are listed, and not to wait for one that is here would fail its
    /// requests.
    pub(crate) async fn keep(
        &self,
        id: String,
        client: Option<ClientId>,
        name: String,
        keys: Vec<KeyId>,
        last_seq: Option<i64>,
    ) -> Result<Report, StorageError> {
        let holder = KeyHolder {
            id,
            client,
            name,
            keys,
            last_seq,
            reported_at: self.clock.now(),
        };
        let (report, forgotten) = self.store.keep_key_holder(holder, self.most).await?;
        if forgotten > 0 {
            tracing::warn!(
                forgotten,
                "a client has told of more verifiers than AUTH_MAX_SUBSCRIBERS: those longest gone are forgotten"
            );
        }
        Ok(report)
    }

    /// A verifier says goodbye. `false`: this client has no such verifier.
    pub(crate) async fn dismiss(&self, id: &str, client: &ClientId) -> Result<bool, StorageError> {
        self.store.remove_key_holder(id, Some(client)).await
    }

    /// Tells of this process, for ever.
    pub(crate) async fn announce(self, verifier: Verifier) {
        let mut changes = verifier.key_changes();
        loop {
            changes.mark_unchanged();
            let (id, name) = (self.own_id.clone(), "auth-service".to_owned());
            let told = self.keep(id, None, name, verifier.key_ids(), None);
            if let Err(error) = told.await {
                tracing::error!(
                    "which keys are held here could not be kept: {}",
                    chain(&error)
                );
            }
            let _ = tokio::time::timeout(INTERVAL, changes.changed()).await;
        }
    }

    /// This process stops.
    pub(crate) async fn say_goodbye(&self) {
        if let Err(error) = self.store.remove_key_holder(&self.own_id, None).await {
            tracing::warn!(
                "the list of who holds which keys could not be left: {}",
                chain(&error)
            );
        }
    }
}
