//! The one place where things are wired together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::FromRef;
use prometheus_client::registry::Registry;
use service_shell::cors::AllowedOrigins;
use service_shell::keys::{KeySource, Keys};
use service_shell::limits::Limits;
use service_shell::metrics;
use service_shell::request_log::chain;
use service_shell::serve::Shell;
use service_shell::sqlite::StorageError;
use shared_claims::wire::{FEED_SCOPE, FeedHello};
use shared_claims::{Clock, NumericDate, Parties, Signer, TokenType, Verifier};
use tokio::task::JoinHandle;

use crate::attempts::Attempts;
use crate::audit::AuditLog;
use crate::clients::Clients;
use crate::config::{Config, Registration, SessionPolicy};
use crate::grants::{ADMIN_SCOPE, Grants};
use crate::hashing::Passwords;
use crate::http::{PASSWORD_ROUTES, RefreshCookie};
use crate::key_holders::{KeyHolder, KeyHolders};
use crate::metrics::Monitor;
use crate::proxies::TrustedProxies;
use crate::revocations::RevocationFeed;
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
    allowed_origins: AllowedOrigins,
    attempts: Attempts,
    trusted_proxies: TrustedProxies,
    refresh_cookie: RefreshCookie,
    revocations: RevocationFeed,
    audit_log: AuditLog,
    key_holders: KeyHolders,
    store: Store,
    shell: Shell,
    monitor: Monitor,
    #[from_ref(skip)]
    tasks: Arc<[JoinHandle<()>; 4]>,
}

impl AppState {
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let store = Store::open(&config.database).await?;
        let passwords = Passwords::start(config.hashing)?;
        let attempts = Attempts::new(config.attempts);
        let tokens = config.tokens;
        let signing_key = tokens
            .keys
            .signing
            .context("there is no key to sign with")?;
        let signer = Signer::new(signing_key, tokens.parties.clone());
        tell_how_it_starts(&signer, config.registration, &config.sessions);
        let (access_token_expires, leeway) = (config.sessions.access_token_expires, tokens.leeway);
        note_lifetimes(&store, &config.sessions, leeway, &config.clock).await?;
        let sessions = Sessions::new(
            store.clone(),
            signer.clone(),
            config.sessions,
            leeway,
            config.clock.clone(),
        );
        config
            .bootstrap
            .apply(&store, &passwords, &config.clock)
            .await?;
        let verifier = Verifier::new(tokens.keys.verifying, tokens.parties.clone())
            .for_the_issuer()
            .with_leeway(leeway)
            .with_clock(config.clock.clone());
        let clients = Clients::new(store.clone(), config.clock.clone());
        let hello = terms(&tokens.parties, access_token_expires, leeway);
        let key_holders =
            KeyHolders::new(store.clone(), config.clock.clone(), config.most_subscribers);
        let announcing = tokio::spawn(key_holders.clone().announce(verifier.clone()));
        let keys = tokio::spawn(follow_keys(tokens.source, signer.clone(), verifier.clone()));
        let sweep = tokio::spawn(sweep(
            store.clone(),
            sessions.clone(),
            config.clock.clone(),
            config.audit_retention,
        ));
        let mut registry = metrics::registry("auth-service");
        expose_keys(&mut registry, signer.clone(), verifier.clone());
        let grants = Grants {
            clients: clients.clone(),
            sessions: sessions.clone(),
            signer,
            verifier: verifier.clone(),
            issuer: tokens.parties.issuer().map(str::to_owned),
            audience: tokens.parties.audience().map(str::to_owned),
            access_token_expires,
            clock: config.clock.clone(),
        };
        let (revocations, looking) = RevocationFeed::start(
            store.clone(),
            grants.clone(),
            config.clock.clone(),
            hello,
            verifier.clone(),
            config.most_subscribers,
        );
        let limits = Limits {
            scarce: &PASSWORD_ROUTES,
            ..config.limits
        };
        let shell = Shell::tracing("auth-service", limits, config.traces.as_ref());
        let users = Users::new(
            store.clone(),
            passwords.clone(),
            attempts.clone(),
            config.clock.clone(),
        );
        shell.expose(&mut registry);
        users.expose(&mut registry);
        passwords.expose(&mut registry);
        sessions.expose(&mut registry);
        revocations.expose(&mut registry);
        store.expose(&mut registry);
        Ok(Self {
            clients,
            grants,
            users,
            shell,
            monitor: Monitor::new(registry, store.clone(), config.clock.clone()),
            sessions,
            verifier,
            registration: config.registration,
            attempts,
            trusted_proxies: config.trusted_proxies,
            refresh_cookie: RefreshCookie::new(
                config.allowed_origins.clone(),
                config.cookie_secure,
            ),
            allowed_origins: config.allowed_origins,
            revocations,
            audit_log: AuditLog::new(store.clone()),
            store,
            key_holders,
            tasks: Arc::new([sweep, looking, announcing, keys]),
        })
    }

    /// What ends with `shutdown`, having let the feed's streams end first.
    pub(crate) fn stopping(
        &self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.revocations.close_on(shutdown)
    }

    pub(crate) async fn stop(self) {
        for task in &*self.tasks {
            task.abort();
        }
        self.key_holders.say_goodbye().await;
        self.store.close().await;
    }
}

fn tell_how_it_starts(signer: &Signer, registration: Registration, policy: &SessionPolicy) {
    tracing::info!(key = %signer.key_id(), ?registration, "auth-service signs");
    for (setting, shorter) in [
        ("JWT_REFRESH_TOKEN_EXPIRES", policy.refresh.token_expires),
        ("AUTH_SESSION_MAX_AGE", policy.refresh.session_max_age),
    ] {
        if shorter < policy.access_token_expires {
            tracing::warn!(
                "{setting} is shorter than JWT_ACCESS_TOKEN_EXPIRES: an access token outlives what could renew it"
            );
        }
    }
    if policy.default_scope.contains(ADMIN_SCOPE) {
        tracing::warn!(
            "AUTH_DEFAULT_SCOPE has {ADMIN_SCOPE} in it: whoever is added without a scope of their own is an administrator"
        );
    }
    if policy.default_scope.contains(FEED_SCOPE) {
        tracing::warn!(
            "AUTH_DEFAULT_SCOPE has {FEED_SCOPE} in it: whoever has no scope of their own may listen to who signs out"
        );
    }
}

/// What the feed says at its beginning, but for the keys, which change.
fn terms(parties: &Parties, access_token_expires: Duration, leeway: Duration) -> FeedHello {
    FeedHello {
        issuer: parties.issuer().map(str::to_owned),
        audience: parties.audience().map(str::to_owned),
        kids: Vec::new(),
        access_token_expires: access_token_expires.as_secs(),
        leeway: leeway.as_secs(),
    }
}

/// The commands end sessions and drop keys too, and know the lifetimes from the store alone.
async fn note_lifetimes(
    store: &Store,
    policy: &SessionPolicy,
    leeway: Duration,
    clock: &Clock,
) -> Result<(), StorageError> {
    for (kind, lifetime) in [
        (TokenType::Access, policy.access_token_expires),
        (TokenType::Refresh, policy.refresh.token_expires),
    ] {
        let lifetime = NumericDate(0).after(lifetime + leeway);
        let now = clock.now().into();
        store.set_token_lifetime(kind, lifetime.0, now).await?;
    }
    Ok(())
}

/// Keys that change in their files change here.
async fn follow_keys(source: KeySource, signer: Signer, verifier: Verifier) {
    // What is signed from now on must be known before it is: the verifying keys come first.
    let replace = |keys: Keys| {
        verifier.replace_keys(keys.verifying);
        if let Some(key) = keys.signing {
            signer.replace_key(key);
        }
    };
    source.follow(replace).await;
}

/// The keys in use, by their ids, which every token names.
fn expose_keys(registry: &mut Registry, signer: Signer, verifier: Verifier) {
    metrics::gauges(
        registry,
        "tokenpair_keys",
        "The keys in use, and what for",
        move || {
            let signs = [("signs", signer.key_id())];
            let verify = verifier.key_ids().into_iter().map(|key| ("verifies", key));
            let all = signs.into_iter().chain(verify);
            all.map(|(r#use, key)| ([("use", r#use.to_owned()), ("kid", key.to_string())], 1))
                .collect()
        },
    );
}

async fn sweep(store: Store, sessions: Sessions, clock: Clock, audit_retention: Duration) {
    let mut turns = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        turns.tick().await;
        let now = clock.now();
        let swept = async {
            Ok::<_, StorageError>([
                until_none_is_left(|| sessions.forget_expired()).await?,
                until_none_is_left(|| store.delete_forgotten_revocations(now.into())).await?,
                store
                    .delete_key_holders_silent_since(now - KeyHolder::FORGOTTEN)
                    .await?,
                until_none_is_left(|| store.delete_audit_events_before(now - audit_retention))
                    .await?,
            ])
        };
        match swept.await {
            Ok([0, 0, 0, 0]) => {}
            Ok([sessions, revocations, subscribers, audit_events]) => tracing::info!(
                sessions,
                revocations,
                subscribers,
                audit_events,
                "deleted what nobody can ask for any more"
            ),
            // What could not be deleted this time is deleted next time.
            Err(error) => tracing::error!("old rows could not be deleted: {}", chain(&error)),
        }
    }
}

/// Rows are deleted some at a time, so that nobody waits for long.
async fn until_none_is_left<F: Future<Output = Result<u64, StorageError>>>(
    delete: impl Fn() -> F,
) -> Result<u64, StorageError> {
    let mut all = 0;
    loop {
        match delete().await? {
            0 => return Ok(all),
            deleted => all += deleted,
        }
    }
}
