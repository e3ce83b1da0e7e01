//! An auth-service with one user, whose database is in a folder that is removed at the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use auth_client::{FEED_SCOPE, FeedOptions};
use auth_service::config::{Bootstrap, Config};
use resource_service::config::{AuthServiceConfig, Config as ResourceConfig};
use service_shell::keys::{KeySource, Keys};
use service_shell::sqlite::DatabaseUrl;
use service_shell::tokens::TokenConfig;
use shared_claims::wire::TokenPair;
use shared_claims::{Parties, SharedSecret, VerifyingKeys};
use tempfile::TempDir;

use crate::load::Connection;
use crate::server::Servers;

pub(crate) const USERNAME: &str = "cosmo";
const PASSWORD: &str = "space-corgi";
const CLIENT_ID: &str = "resource-service";
const CLIENT_SECRET: &str = "a-client-secret-that-is-long-enough";
const PATIENCE: Duration = Duration::from_mins(1);

/// What is answered to a second use of a refresh token by default.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// How many threads can work at the same time.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A service that runs, with one user.
#[derive(Debug)]
pub(crate) struct AuthService {
    address: SocketAddr,
    servers: Servers,
    /// On threads of their own, as programs of their own have them.
    resource_servers: Servers,
    tokens: TokenConfig,
    folder: TempDir,
}

impl AuthService {
    /// Starts the service with its default settings but for the grace.
    pub(crate) async fn start(grace: Duration) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
        Self::start_in(folder, grace).await
    }

    /// Starts it in the folder of one that was stopped.
    pub(crate) async fn start_in(folder: TempDir, grace: Duration) -> anyhow::Result<Self> {
        let secret = SharedSecret::parse(&SharedSecret::generate())?;
        let tokens = TokenConfig {
            keys: Keys {
                signing: Some(secret.signing_key()),
                verifying: VerifyingKeys::new([secret.verifying_key()]),
            },
            parties: Parties::new("http://127.0.0.1:8001", "tokenpair"),
            leeway: Duration::ZERO,
            source: KeySource::default(),
        };
        let database = DatabaseUrl::file(folder.path().join("auth.db"));
        let mut config = Config::new(database, tokens.clone());
        config.sessions.refresh.grace = grace;
        config.sessions.most_per_user = u32::MAX;
        config.bootstrap = Bootstrap::default()
            .with_user(USERNAME, &PASSWORD.into())?
            .with_client(CLIENT_ID, &CLIENT_SECRET.into(), FEED_SCOPE.parse()?)?;
        let mut servers = Servers::on_threads(cores())?;
        let address =
            servers.start(|listener, stop| auth_service::serve(config, listener, stop))?;
        let service = Self {
            address,
            servers,
            resource_servers: Servers::on_threads(cores())?,
            tokens,
            folder,
        };
        // Its first answer: the database and the user are there.
        service.log_in().await?;
        Ok(service)
    }

    /// The file of users and sessions.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("auth.db")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Logs in, and returns the request for a refresh with the session's refresh token.
    pub(crate) async fn log_in(&self) -> anyhow::Result<String> {
        refresh_request(&self.log_in_pair(USERNAME).await?)
    }

    /// Logs a user in, and returns the answer's body.
    pub(crate) async fn log_in_pair(&self, username: &str) -> anyhow::Result<Vec<u8>> {
        let mut connection = Connection::open(self.address).await?;
        let request = login_request_of(username);
        let pair = connection.exchange(request.as_bytes()).await?;
        Ok(pair.to_vec())
    }

    /// Starts a resource-service that listens to this one, and waits until it has caught up.
    pub(crate) async fn start_resource_service(
        &mut self,
        number: u16,
    ) -> anyhow::Result<SocketAddr> {
        let name = format!("resource-{number}");
        let database = DatabaseUrl::file(self.folder.path().join(format!("{name}.db")));
        let config = ResourceConfig {
            auth_service: Some(AuthServiceConfig {
                auth_url: format!("http://{}", self.address).parse()?,
                client_id: CLIENT_ID.to_owned(),
                client_secret: CLIENT_SECRET.into(),
                issuer: self.tokens.parties.issuer().map(str::to_owned),
                feed: FeedOptions::new(name),
            }),
            ..ResourceConfig::new(database, self.tokens.clone())
        };
        let serve = |listener, stop| resource_service::serve(config, listener, stop);
        let address = self.resource_servers.start(serve)?;
        let mut connection = Connection::open(address).await?;
        let ready = b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        let started = Instant::now();
        while connection.ask(ready).await?.0 != 200 {
            ensure!(started.elapsed() < PATIENCE, "a service never caught up");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(address)
    }

    /// Stops the service; its files stay until the folder is dropped.
    pub(crate) async fn stop(self) -> anyhow::Result<TempDir> {
        self.resource_servers.stop().await?;
        self.servers.stop().await?;
        Ok(self.folder)
    }
}

/// The login of the first user.
pub(crate) fn login_request() -> String {
    login_request_of(USERNAME)
}

/// The login of a user with the password that all have.
pub(crate) fn login_request_of(username: &str) -> String {
    let body = format!(r#"{{"username":"{username}","password":"{PASSWORD}"}}"#);
    format!(
        "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The request that presents the refresh token of a pair.
pub(crate) fn refresh_request(pair: &[u8]) -> anyhow::Result<String> {
    let pair: TokenPair = serde_json::from_slice(pair).context("not a pair of tokens")?;
    let token = pair
        .refresh_token
        .context("a pair without a refresh token")?;
    Ok(format!(
        "POST /refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
        token.expose()
    ))
}

/// The request for the profile of the user of a pair.
pub(crate) fn profile_request(pair: &[u8]) -> anyhow::Result<String> {
    get_request("/profile", pair)
}

/// A request with the access token of a pair.
pub(crate) fn get_request(path: &str, pair: &[u8]) -> anyhow::Result<String> {
    let pair: TokenPair = serde_json::from_slice(pair).context("not a pair of tokens")?;
    Ok(format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\r\n",
        pair.access_token.expose()
    ))
}
