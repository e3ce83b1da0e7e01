//! auth-service and any number of resource-services in this process, each with settings, a life and a clock that a test decides
//! on.

use std::time::{Duration, Instant};

use auth_client::FeedOptions;
use auth_service::config::{Bootstrap, Config as AuthConfig};
use resource_service::config::{AuthServiceConfig, Config as ResourceConfig};
use serde_json::{Value, json};
use service_shell::sqlite::DatabaseUrl;
use service_shell::tokens::TokenConfig;
use shared_claims::Clock;
use tempfile::TempDir;
use test_support::program::free_address;
use test_support::{Client, Server, start_of_time, token_config};

pub(crate) const SECRET: &str = "the-secret-of-resource-service-for-tests";
const HOUR: Duration = Duration::from_hours(1);
/// How long something may take that should come at once, on a machine that does other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Far shorter than in earnest, so that a test can wait for it.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

/// auth-service on an address that outlives it, and as many resource-services as are wanted.
pub(crate) struct Stack {
    pub(crate) clock: Clock,
    pub(crate) folder: TempDir,
    address: String,
    auth: Option<Server>,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let mut stack = Self::without_auth();
        stack.start_auth().await;
        stack
    }

    pub(crate) fn without_auth() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            clock: Clock::manual(start_of_time()),
            folder,
            address: free_address(),
            auth: None,
        }
    }

    pub(crate) async fn start_auth(&mut self) {
        self.start_auth_with(token_config()).await;
    }

    pub(crate) async fn start_auth_with(&mut self, tokens: TokenConfig) {
        self.auth = Some(self.serve_auth(tokens).await);
    }

    pub(crate) async fn serve_auth(&self, tokens: TokenConfig) -> Server {
        let (secret, scope) = (SECRET.into(), "revocations:read token:exchange");
        let database = DatabaseUrl::file(self.folder.path().join("auth.db"));
        let mut config = AuthConfig::new(database, tokens);
        config.sessions.refresh.token_expires = 24 * HOUR;
        config.clock = self.clock.clone();
        config.bootstrap = Bootstrap::default()
            .with_user("cosmo", &"space-corgi".into())
            .and_then(|file_| file_.with_client("resource-service", &secret, scope.parse()?))
            .and_then(|file_| file_.with_client("deaf", &secret, "token:exchange".parse()?))
            .expect("a bootstrap file");
        let server = Server::start_on(&self.address, |listener, stopped| {
            auth_service::serve(config, listener, async {
                let _ = stopped.await;
            })
        });
        let server = server.await;
        self.auth_client().becomes_ready().await;
        server
    }

    pub(crate) async fn stop_auth(&mut self) {
        self.auth.take().expect("it runs").stop().await;
    }

    pub(crate) fn auth_client(&self) -> Client {
        Client::new(format!("http://{}", self.address))
    }

    pub(crate) async fn resource(&self, name: &str) -> Resource {
        self.resource_with(name, |_| {}, token_config()).await
    }

    pub(crate) async fn resource_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut FeedOptions),
        tokens: TokenConfig,
    ) -> Resource {
        self.resource_as("resource-service", name, change, tokens)
            .await
    }

    pub(crate) async fn resource_as(
        &self,
        client: &str,
        name: &str,
        change: impl FnOnce(&mut FeedOptions),
        tokens: TokenConfig,
    ) -> Resource {
        let mut config = self.resource_config(client, name, tokens);
        if let Some(auth_service) = &mut config.auth_service {
            change(&mut auth_service.feed);
        }
        Resource::start(config).await
    }

    /// The settings of a resource-service that listens to the feed.
    pub(crate) fn resource_config(
        &self,
        client: &str,
        name: &str,
        tokens: TokenConfig,
    ) -> ResourceConfig {
        let feed = FeedOptions {
            silence: SILENCE,
            ..FeedOptions::new(name)
        };
        let database = DatabaseUrl::file(self.folder.path().join(format!("{name}.db")));
        ResourceConfig {
            auth_service: Some(AuthServiceConfig {
                auth_url: format!("http://{}", self.address)
                    .parse()
                    .expect("an address"),
                client_id: client.to_owned(),
                client_secret: SECRET.into(),
                issuer: Some("http://127.0.0.1:8001".to_owned()),
                feed,
            }),
            clock: self.clock.clone(),
            ..ResourceConfig::new(database, tokens)
        }
    }

    pub(crate) async fn log_in(&self) -> (String, String) {
        let body = json!({"username": "cosmo", "password": "space-corgi"});
        let reply = self
            .auth_client()
            .post("/login", &body)
            .await
            .has_status(200);
        (
            reply.text_of("access_token"),
            reply.text_of("refresh_token"),
        )
    }

    pub(crate) async fn log_out(&self, token: &str) {
        let reply = self.auth_client().post_with("/logout", token).await;
        reply.has_status(204);
    }
}

pub(crate) struct Resource {
    pub(crate) client: Client,
    pub(crate) server: Server,
}

impl Resource {
    pub(crate) async fn start(config: ResourceConfig) -> Self {
        let server = Server::start(|listener, stopped| {
            resource_service::serve(config, listener, async {
                let _ = stopped.await;
            })
        });
        let server = server.await;
        Self {
            client: server.client(),
            server,
        }
    }

    pub(crate) async fn takes(&self, token: &str) -> bool {
        self.client.get_with("/profile", token).await.status == 200
    }

    /// Waits until a token is refused because its session has ended.
    pub(crate) async fn refuses(&self, token: &str) {
        let started = Instant::now();
        loop {
            let reply = self.client.get_with("/profile", token).await;
            if reply.status != 200 {
                reply
                    .is(401, "token_revoked")
                    .says("Token has been revoked");
                return;
            }
            assert!(started.elapsed() < PATIENCE, "the revocation never came");
        }
    }

    /// Waits until readiness says this of the feed.
    pub(crate) async fn says(&self, state: &str) -> Value {
        self.says_of("revocations", state).await
    }

    /// Waits until readiness says this of a part of it.
    pub(crate) async fn says_of(&self, part: &str, state: &str) -> Value {
        let started = Instant::now();
        loop {
            let ready = self.client.get("/health/ready").await;
            let body = ready.json();
            if body[part]["state"] == state {
                return json!({"http": ready.status.as_u16(), "body": body});
            }
            assert!(started.elapsed() < PATIENCE, "{body} and never {state}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
