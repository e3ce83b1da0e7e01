//! A server on a free port, for as long as a test holds it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use service_shell::keys::{KeySource, Keys};
use service_shell::tokens::TokenConfig;
use shared_claims::{Parties, SharedSecret, VerifyingKeys};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::SECRET;
use crate::client::Client;

const PATIENCE: Duration = Duration::from_secs(10);

/// A service that runs in this process.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Starts a service on a free port: `start` is given the listener and what ends with the test.
    pub async fn start<F>(start: impl FnOnce(TcpListener, oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self::start_on("127.0.0.1:0", start).await
    }

    /// Starts a service on this address.
    pub async fn start_on<F>(
        address: &str,
        start: impl FnOnce(TcpListener, oneshot::Receiver<()>) -> F,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let started = Instant::now();
        let listener = loop {
            // Whoever had the address before may be about to let go of it.
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(started.elapsed() < PATIENCE, "{address}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let (stop, stopped) = oneshot::channel();
        Self {
            address,
            stop: Some(stop),
            ended: tokio::spawn(start(listener, stopped)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(format!("http://{}", self.address))
    }

    /// Stops it and waits until it has.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.ended
            .await
            .expect("the service does not panic")
            .expect("the service ends well");
    }
}

/// What issuer and verifiers have in common in tests: a secret, and the default issuer and audience.
#[must_use]
pub fn token_config() -> TokenConfig {
    let secret = SharedSecret::parse(SECRET).expect("the tests' secret is long enough");
    TokenConfig {
        keys: Keys {
            signing: Some(secret.signing_key()),
            verifying: VerifyingKeys::new([secret.verifying_key()]),
        },
        parties: Parties::new("http://127.0.0.1:8001", "tokenpair"),
        leeway: std::time::Duration::ZERO,
        source: KeySource::default(),
    }
}
