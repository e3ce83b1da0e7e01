//! The one place where things are wired together.

use std::sync::Arc;

use auth_client::{FeedStatus, Issuer, IssuerKeys, KeyStatus, Subscription};
use axum::extract::FromRef;
use service_shell::cors::AllowedOrigins;
use service_shell::serve::Shell;
use shared_claims::{Clock, Verifier};
use tokio::task::JoinHandle;

use crate::accounts::Accounts;
use crate::config::{AuthServiceConfig, Config};
use crate::dashboard::Dashboards;
use crate::http::Page;
use crate::metrics::Monitor;
use crate::profiles::Profiles;
use crate::storage::Store;

/// What handlers ask for, each for what it may touch.
#[derive(Clone, FromRef)]
pub(crate) struct AppState {
    profiles: Profiles,
    dashboards: Dashboards,
    verifier: Verifier,
    fetched: Fetched,
    feed: Feed,
    allowed_origins: AllowedOrigins,
    page: Page,
    store: Store,
    shell: Shell,
    monitor: Monitor,
    clock: Clock,
    #[from_ref(skip)]
    keys: Arc<JoinHandle<()>>,
}

/// The fetching of auth-service's public keys, if it is told where they are.
#[derive(Clone, Debug)]
pub(crate) struct Fetched(pub(crate) Option<Arc<IssuerKeys>>);

/// The subscription to auth-service's revocation feed, if this service has an account to listen with.
#[derive(Clone, Debug)]
pub(crate) struct Feed(pub(crate) Option<Arc<Subscription>>);

impl Fetched {
    /// `configured`: none are fetched.
    pub(crate) const STATES: [&str; 4] = ["configured", "starting", "fetched", "degraded"];

    /// How it stands with the keys, and why where something is amiss.
    pub(crate) fn state(&self) -> (&'static str, Option<String>) {
        let Some(keys) = &self.0 else {
            return ("configured", None);
        };
        let status = keys.status();
        match status {
            KeyStatus::Starting { .. } => ("starting", Some(status.to_string())),
            KeyStatus::Fetched { .. } => ("fetched", None),
            KeyStatus::Degraded { .. } => ("degraded", Some(status.to_string())),
        }
    }
}

impl Feed {
    /// `off`: this service has no account to listen with.
    pub(crate) const STATES: [&str; 5] = ["off", "starting", "caught-up", "degraded", "mismatch"];

    /// How it stands with the feed, and why where something is amiss.
    pub(crate) fn state(&self) -> (&'static str, Option<String>) {
        let Some(subscription) = &self.0 else {
            return ("off", None);
        };
        let status = subscription.status();
        match &status {
            FeedStatus::Starting { .. } => ("starting", Some(status.to_string())),
            FeedStatus::CaughtUp => ("caught-up", None),
            FeedStatus::Degraded { reason } => ("degraded", Some(reason.clone())),
            FeedStatus::Mismatch { reason } => ("mismatch", Some(reason.clone())),
        }
    }
}

impl AppState {
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let store = Store::open(&config.database).await?;
        let tokens = config.tokens;
        let keys: Vec<_> = tokens
            .keys
            .verifying
            .ids()
            .map(ToString::to_string)
            .collect();
        tracing::info!(keys = keys.join(" "), "resource-service verifies");
        let verifier = Verifier::new(tokens.keys.verifying, tokens.parties)
            .with_leeway(tokens.leeway)
            .with_clock(config.clock.clone());
        let issuer_keys = config.issuer_keys.map(|options| {
            // Not what comes after the path, which may be a secret.
            let url = options.url.origin().ascii_serialization() + options.url.path();
            tracing::info!(url, "the issuer's keys are to be fetched");
            IssuerKeys::start(verifier.clone(), options)
        });
        let issuer = config.auth_service.as_ref().map(|auth_service| {
            let AuthServiceConfig {
                auth_url,
                client_id,
                client_secret,
                ..
            } = auth_service.clone();
            (
                Issuer::new(auth_url, client_id, client_secret),
                auth_service,
            )
        });
        if issuer.is_none() {
            tracing::warn!(
                "RESOURCE_CLIENT_ID and RESOURCE_CLIENT_SECRET are not set: auth-service is not asked for accounts, and ended \
                 sessions are refused when their access tokens expire, no sooner"
            );
        }
        let asking = issuer.as_ref().map(|(issuer, config)| (issuer, *config));
        let accounts = Accounts::new(asking)?;
        let subscription = asking.map(|(issuer, config)| {
            Subscription::start(issuer, verifier.clone(), config.feed.clone())
        });
        let (source, keyed) = (tokens.source, verifier.clone());
        let keys = tokio::spawn(async move {
            source
                .follow(|keys| keyed.replace_keys(keys.verifying))
                .await;
        });
        let profiles = Profiles::new(store.clone(), config.clock.clone());
        let shell = Shell::tracing("resource-service", config.limits, config.traces.as_ref());
        let fetched = Fetched(issuer_keys.map(Arc::new));
        let feed = Feed(subscription.map(Arc::new));
        let seen = (verifier.clone(), fetched.clone(), feed.clone());
        Ok(Self {
            monitor: Monitor::new(&shell, &store, seen.0, seen.1, seen.2),
            shell,
            dashboards: Dashboards::new(profiles.clone(), accounts, config.clock.clone()),
            profiles,
            verifier,
            fetched,
            feed,
            allowed_origins: config.allowed_origins,
            page: Page::new(&config.auth_public_url),
            keys: Arc::new(keys),
            store,
            clock: config.clock,
        })
    }

    pub(crate) async fn stop(self) {
        self.keys.abort();
        if let Feed(Some(subscription)) = &self.feed {
            subscription.stop().await;
        }
        self.store.close().await;
    }
}
