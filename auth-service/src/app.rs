//! The one place where things are wired together.

use std::time::Duration;

use axum::extract::FromRef;
use shared_claims::{Signer, Verifier};

use crate::config::{Config, Registration};
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
    verifier: Verifier,
    registration: Registration,
    store: Store,
}

impl AppState {
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let store = Store::open(&config.database).await?;
        let passwords = Passwords::start(config.hashing)?;
        let tokens = config.tokens;
        let signer = Signer::new(tokens.signing_key, tokens.parties.clone());
        tracing::info!(key = %signer.key_id(), registration = ?config.registration, "auth-service signs");
        let sessions = Sessions::new(store.clone(), signer, config.sessions, config.clock.clone());
        tokio::spawn(sweep(sessions.clone(), tokens.leeway));
        Ok(Self {
            users: Users::new(store.clone(), passwords, config.clock.clone()),
            sessions,
            verifier: Verifier::new(tokens.verifying_keys, tokens.parties)
                .with_leeway(tokens.leeway)
                .with_clock(config.clock),
            registration: config.registration,
            store,
        })
    }

    pub(crate) async fn stop(self) {
        self.store.close().await;
    }
}

async fn sweep(sessions: Sessions, leeway: Duration) {
    let mut turns = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        turns.tick().await;
        match sessions.forget_expired(leeway).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(forgotten, "deleted expired sessions"),
            Err(error) => {
                tracing::error!(
                    "expired sessions could not be deleted: {:#}",
                    anyhow::Error::from(error)
                );
                return;
            }
        }
    }
}
