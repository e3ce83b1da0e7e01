//! The keys of the real program, when they change under it.

use std::fs;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use serde_json::json;
use shared_claims::{Clock, NumericDate, PairAlgorithm, PrivateKey};
use tempfile::{TempDir, tempdir};
use test_support::program::{Program, Running, free_address};
use test_support::tokens::{access_claims, forge};
use test_support::{Client, Server};

use crate::settings::resource_service;

const PATIENCE: Duration = Duration::from_secs(20);
/// Without a SIGHUP a file is read again when two looks at it, so far apart, have found the same change: never sooner.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

struct Service {
    folder: TempDir,
    client: Client,
    running: Running,
}

impl Service {
    async fn start(with: impl FnOnce(&TempDir, Program) -> Program) -> Self {
        let folder = tempdir().expect("a temporary folder");
        let address = free_address();
        let program = resource_service(&folder).setting("RESOURCE_LISTEN", &address);
        let mut running = with(&folder, program).start();
        let client = Client::new(format!("http://{address}"));
        running.is_ready(&client).await;
        Self {
            folder,
            client,
            running,
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a file");
    }

    async fn takes(&self, token: &str) -> bool {
        self.client.get_with("/profile", token).await.status == 200
    }

    async fn log_says(&self, text: &str) {
        let started = Instant::now();
        while !self.running.log().contains(text) {
            let log = self.running.log();
            assert!(started.elapsed() < PATIENCE, "no {text:?} in {log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn token(secret: &str) -> String {
    let now = NumericDate::from(Clock::system().now());
    forge(&json!({"alg": "HS256"}), &access_claims(now.0), secret)
}

#[tokio::test]
async fn a_hangup_reads_the_secrets_again_at_once_and_ends_nothing() {
    let secret = |number: u32| format!("the-secret-number-{number}-of-at-least-32-bytes");
    let service = Service::start(|folder, program| {
        fs::write(folder.path().join("current"), secret(0)).expect("a file");
        fs::write(folder.path().join("previous"), "").expect("a file");
        program
            .setting("JWT_SECRET_KEY_FILE", "current")
            .setting("JWT_PREVIOUS_SECRET_KEYS_FILE", "previous")
    })
    .await;
    // The files are looked at without a SIGHUP too, so that only what comes sooner than that tells of it; a machine that is busy
    // gets several chances.
    let at_once = async |number: u32| {
        let (before, after) = (secret(number - 1), secret(number));
        let (old, new) = (token(&before), token(&after));
        assert!(service.takes(&old).await && !service.takes(&new).await);
        let started = Instant::now();
        service.write("previous", &before);
        service.write("current", &after);
        service.running.signal("HUP");
        while !service.takes(&new).await {
            assert!(started.elapsed() < PATIENCE, "{}", service.running.log());
        }
        let took = started.elapsed();
        assert!(service.takes(&old).await);
        took < BETWEEN_LOOKS
    };
    let mut number = 1;
    while !at_once(number).await {
        assert!(number < 10, "the SIGHUP changes nothing");
        number += 1;
    }
    let log = service.running.log();
    assert!(log.contains("the keys were read again"), "{log}");
    assert!((0..=number).all(|number| !log.contains(&secret(number))));
}

#[tokio::test]
async fn published_keys_that_cannot_be_used_are_passed_over_with_a_line_in_the_log_for_each() {
    let pair = PrivateKey::parse(&PrivateKey::generate(PairAlgorithm::Ed25519)).expect("a key");
    let good = serde_json::to_value(pair.public_key().jwk()).expect("a public key");
    let mut of_another_use = good.clone();
    of_another_use["use"] = json!("enc");
    let keys = json!({"keys": [
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "k": "AAAA"},
        of_another_use,
        good,
    ]});
    let routes = Router::new().route("/keys", get(async move || keys.to_string()));
    let issuer = Server::start(|listener, stopped| async {
        tokio::select! {
            served = axum::serve(listener, routes) => Ok(served?),
            _ = stopped => Ok(()),
        }
    })
    .await;
    let service = Service::start(|_, program| {
        program.setting("JWT_JWKS_URL", format!("http://{}/keys", issuer.address()))
    })
    .await;
    for (number, why) in [
        (1, "it is neither of Ed25519 nor of P-256"),
        (2, "it is neither of Ed25519 nor of P-256"),
        (3, "it is not meant to verify signatures"),
    ] {
        let line = format!("a published key, number {number} of the set, is passed over: {why}");
        service.log_says(&line).await;
    }
    assert!(!service.running.log().contains("number 4 of the set"));
    issuer.stop().await;
}
