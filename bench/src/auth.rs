//! An auth-service with one user, whose database is in a folder that is removed at the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use auth_service::config::{Bootstrap, Config};
use service_shell::settings::TokenConfig;
use service_shell::sqlite::DatabaseUrl;
use shared_claims::wire::TokenPair;
use shared_claims::{Parties, SharedSecret, VerifyingKeys};
use tempfile::TempDir;

use crate::load::Connection;
use crate::server::Servers;

const USERNAME: &str = "cosmo";
const PASSWORD: &str = "space-corgi";

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
    folder: TempDir,
}

impl AuthService {
    /// Starts the service with its default settings but for the grace.
    pub(crate) async fn start(grace: Duration) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
        let secret = SharedSecret::parse(&SharedSecret::generate())?;
        let tokens = TokenConfig {
            signing_key: secret.signing_key(),
            verifying_keys: VerifyingKeys::new([secret.verifying_key()]),
            parties: Parties::new("http://127.0.0.1:8001", "tokenpair"),
            leeway: Duration::ZERO,
        };
        let mut config = Config::new(DatabaseUrl::file(folder.path().join("auth.db")), tokens);
        config.sessions.refresh.grace = grace;
        config.bootstrap = Bootstrap::default().with_user(USERNAME, &PASSWORD.into())?;
        let mut servers = Servers::on_threads(cores())?;
        let address =
            servers.start(|listener, stop| auth_service::serve(config, listener, stop))?;
        let service = Self {
            address,
            servers,
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
        let mut connection = Connection::open(self.address).await?;
        refresh_request(connection.exchange(login_request().as_bytes()).await?)
    }

    /// Stops the service; its files stay until the folder is dropped.
    pub(crate) async fn stop(self) -> anyhow::Result<TempDir> {
        self.servers.stop().await?;
        Ok(self.folder)
    }
}

pub(crate) fn login_request() -> String {
    let body = format!(r#"{{"username":"{USERNAME}","password":"{PASSWORD}"}}"#);
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
