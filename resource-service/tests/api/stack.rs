//! The service with a clock that a test moves, and users with tokens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use resource_service::config::Config;
use service_shell::sqlite::DatabaseUrl;
use service_shell::tokens::TokenConfig;
use shared_claims::{AccessClaims, Clock, NumericDate, Signer, Subject, TokenId};
use tempfile::TempDir;
use test_support::{Client, Server, start_of_time, token_config};

pub(crate) const ACCESS: Duration = Duration::from_mins(15);

pub(crate) struct Stack {
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    config: Config,
    folder: TempDir,
    server: Server,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A service that has other things in common with its issuer than the usual ones.
    pub(crate) async fn start_with(change: impl FnOnce(&mut TokenConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock::manual(start_of_time());
        let mut tokens = token_config();
        change(&mut tokens);
        let database = DatabaseUrl::file(folder.path().join("resource.db"));
        let config = Config {
            clock: clock.clone(),
            ..Config::new(database, tokens)
        };
        let server = serve(&config).await;
        Self {
            clock,
            client: server.client(),
            config,
            folder,
            server,
        }
    }

    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("resource.db")
    }

    /// The same, with something done to the database in between.
    pub(crate) async fn restart_after(self, done: impl FnOnce(&Path)) -> Self {
        let Self {
            clock,
            config,
            folder,
            server,
            ..
        } = self;
        server.stop().await;
        done(&folder.path().join("resource.db"));
        let server = serve(&config).await;
        Self {
            clock,
            client: server.client(),
            config,
            folder,
            server,
        }
    }

    /// A token with this scope for a user of this name.
    pub(crate) fn token(&self, username: &str, scope: &str) -> String {
        let tokens = token_config();
        let now = NumericDate::from(self.clock.now());
        let claims = AccessClaims {
            subject: Subject::from(format!("id-of-{username}")),
            audience: Vec::new(),
            preferred_username: Some(username.to_owned()),
            client_id: None,
            actor: None,
            fresh: true,
            auth_time: Some(now),
            session: Some("a-session".into()),
            scope: scope.parse().expect("a scope"),
            id: Some(TokenId::generate()),
            issued_at: Some(now),
            expires_at: now.after(ACCESS),
        };
        Signer::new(
            tokens
                .keys
                .signing
                .expect("the tests have a key that signs"),
            tokens.parties,
        )
        .access(&claims)
        .expose()
        .to_owned()
    }
}

async fn serve(config: &Config) -> Server {
    let config = config.clone();
    Server::start(|listener, stopped| {
        resource_service::serve(config, listener, async {
            let _ = stopped.await;
        })
    })
    .await
}
