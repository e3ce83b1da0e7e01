//! The one place where things are wired together.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use shared_claims::{Signer, Verifier};
use tokio::task::JoinHandle;

use crate::clients::Clients;
use crate::config::{Config, Registration};
use crate::grants::Grants;
use crate::hashing::Passwords;
use crate::sessions::Sessions;
use crate::storage::Store;
use crate::users::Users;

/// How often rows that nothing can ask for any more are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_mins(10);

/// What handlers ask for, each for what it may touch.
#[derive(Clone, FromRef)]
pub(crate) struct AppState {
    users: Users,
    sessions: Sessions,
    clients: Clients,
    grants: Grants,
    verifier: Verifier,
    registration: Registration,
    store: Store,
    #[from_ref(skip)]
    sweep: Arc<JoinHandle<()>>,
}

impl AppState {
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let store = Store::open(&config.database).await?;
        let passwords = Passwords::start(config.hashing)?;
        let tokens = config.tokens;
        let signer = Signer::new(tokens.signing_key, tokens.parties.clone());
        tracing::info!(key = %signer.key_id(), registration = ?config.registration, "auth-service signs");
        let access_token_expires = config.sessions.access_token_expires;
        let sessions = Sessions::new(
            store.clone(),
            signer.clone(),
            config.sessions,
            config.clock.clone(),
        );
        let sweep = tokio::spawn(sweep(sessions.clone()));
        config
            .bootstrap
            .apply(&store, &passwords, &config.clock)
            .await?;
        let verifier = Verifier::new(tokens.verifying_keys, tokens.parties.clone())
            .for_the_issuer()
            .with_leeway(tokens.leeway)
            .with_clock(config.clock.clone());
        let grants = Grants {
            store: store.clone(),
            sessions: sessions.clone(),
            signer,
            verifier: verifier.clone(),
            issuer: tokens.parties.issuer().map(str::to_owned),
            audience: tokens.parties.audience().map(str::to_owned),
            access_token_expires,
            clock: config.clock.clone(),
        };
        Ok(Self {
            clients: Clients::new(store.clone(), config.clock.clone()),
            grants,
            users: Users::new(store.clone(), passwords, config.clock.clone()),
            sessions,
            verifier,
            registration: config.registration,
            store,
            sweep: Arc::new(sweep),
        })
    }

    pub(crate) async fn stop(self) {
        self.sweep.abort();
        self.store.close().await;
    }
}

async fn sweep(sessions: Sessions) {
    let mut turns = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        turns.tick().await;
        match sessions.forget_expired().await {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(forgotten, "deleted expired sessions"),
            // What could not be deleted this time is deleted next time.
            Err(error) => tracing::error!(
                "expired sessions could not be deleted: {:#}",
                anyhow::Error::from(error)
            ),
        }
    }
}
