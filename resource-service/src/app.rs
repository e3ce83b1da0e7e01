//! The one place where things are wired together.

use axum::extract::FromRef;
use shared_claims::{Clock, Verifier};

use crate::accounts::Accounts;
use crate::config::Config;
use crate::dashboard::Dashboards;
use crate::profiles::Profiles;
use crate::storage::Store;

/// What handlers ask for, each for what it may touch.
#[derive(Clone, FromRef)]
pub(crate) struct AppState {
    profiles: Profiles,
    dashboards: Dashboards,
    verifier: Verifier,
    store: Store,
    clock: Clock,
}

impl AppState {
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let store = Store::open(&config.database).await?;
        let tokens = config.tokens;
        let keys: Vec<_> = tokens
            .verifying_keys
            .ids()
            .map(ToString::to_string)
            .collect();
        tracing::info!(keys = keys.join(" "), "resource-service verifies");
        if config.accounts.is_none() {
            tracing::warn!(
                "RESOURCE_CLIENT_ID and RESOURCE_CLIENT_SECRET are not set: auth-service is not asked for accounts"
            );
        }
        let accounts = Accounts::new(config.accounts)?;
        let profiles = Profiles::new(store.clone(), config.clock.clone());
        Ok(Self {
            dashboards: Dashboards::new(profiles.clone(), accounts, config.clock.clone()),
            profiles,
            verifier: Verifier::new(tokens.verifying_keys, tokens.parties)
                .with_leeway(tokens.leeway)
                .with_clock(config.clock.clone()),
            store,
            clock: config.clock,
        })
    }

    pub(crate) async fn stop(self) {
        self.store.close().await;
    }
}
