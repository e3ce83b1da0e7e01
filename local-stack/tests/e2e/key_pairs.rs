//! Services that know no secret: they verify with public keys, which they fetch or are given.

use std::fs;

use auth_client::KeyOptions;
use clap::Parser;
use resource_service::config::{Config as ResourceConfig, ResourceSettings};
use service_shell::cors::CorsSettings;
use service_shell::keys::{KeySource, Keys};
use service_shell::limits::LimitSettings;
use service_shell::tokens::{TokenConfig, TokenSettings};
use shared_claims::{PairAlgorithm, PrivateKey, VerifyingKeys};
use test_support::token_config;

use crate::in_process::{Resource, Stack};

fn pair() -> PrivateKey {
    PrivateKey::parse(&PrivateKey::generate(PairAlgorithm::Ed25519)).unwrap()
}

/// What auth-service signs with.
fn signing_with(key: &PrivateKey) -> TokenConfig {
    TokenConfig {
        keys: Keys {
            signing: Some(key.signing_key()),
            verifying: VerifyingKeys::new([key.public_key().verifying_key()]),
        },
        ..token_config()
    }
}

/// A service with no key of its own that fetches auth-service's.
fn fetching(stack: &Stack, name: &str) -> ResourceConfig {
    let without = TokenConfig {
        keys: Keys {
            signing: None,
            verifying: VerifyingKeys::default(),
        },
        source: KeySource::default(),
        ..token_config()
    };
    let url = format!("{}/.well-known/jwks.json", stack.auth_client().base());
    ResourceConfig {
        issuer_keys: Some(KeyOptions::new(url.parse().unwrap())),
        ..stack.resource_config("resource-service", name, without)
    }
}

#[tokio::test]
async fn a_service_that_starts_before_auth_service_says_what_it_lacks_and_becomes_ready_by_itself()
{
    let mut stack = Stack::without_auth();
    let listens = Resource::start(fetching(&stack, "listens")).await;
    let deaf = ResourceConfig {
        auth_service: None,
        ..fetching(&stack, "deaf")
    };
    let deaf = Resource::start(deaf).await;
    for service in [&listens, &deaf] {
        service.client.get("/health/live").await.has_status(200);
        let ready = service.client.get("/health/ready").await;
        let body = ready.is(503, "not_ready").json();
        let (keys, msg) = (&body["keys"], body["msg"].as_str().unwrap());
        assert_eq!(keys["state"], "starting");
        assert!(msg.contains("the keys"), "{msg}");
        // Nobody is sent to log in again for that.
        let refusal = service.client.get_with("/profile", &foreign_token()).await;
        refusal.is(503, "not_ready");
    }

    stack.start_auth_with(signing_with(&pair())).await;
    let (token, _) = stack.log_in().await;
    listens.says("caught-up").await;
    for service in [&listens, &deaf] {
        service.says_of("keys", "fetched").await;
        service.client.get("/health/ready").await.has_status(200);
        assert!(service.takes(&token).await);
        let refusal = service.client.get_with("/profile", &foreign_token()).await;
        refusal.is(401, "invalid_token");
    }

    // What is known serves on, and the feed catches up with a new key.
    stack.stop_auth().await;
    listens.says("degraded").await;
    assert!(listens.takes(&token).await);
    stack.start_auth_with(signing_with(&pair())).await;
    listens.says("caught-up").await;
    let (other, _) = stack.log_in().await;
    assert!(listens.takes(&other).await && !listens.takes(&token).await);
}

/// The settings of resource-service, as they are given to it.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    tokens: TokenSettings,
    #[command(flatten)]
    cors: CorsSettings,
    #[command(flatten)]
    limits: LimitSettings,
    #[command(flatten)]
    resource: ResourceSettings,
}

/// What these settings come to.
pub(crate) fn resource_config<'a>(
    settings: impl IntoIterator<Item = &'a String>,
) -> ResourceConfig {
    let settings = settings.into_iter().map(String::as_str);
    let arguments = Arguments::parse_from(std::iter::once("resource-service").chain(settings));
    let Arguments {
        tokens,
        cors,
        limits,
        resource,
    } = arguments;
    resource.resolve(tokens, cors, &limits).unwrap()
}

/// A token of a key that auth-service does not have.
fn foreign_token() -> String {
    let header = serde_json::json!({"alg": "EdDSA", "kid": pair().signing_key().id()});
    test_support::tokens::forge(&header, &serde_json::json!({}), test_support::SECRET)
}

#[tokio::test]
async fn a_service_that_was_given_the_public_key_needs_nothing_else() {
    let (key, next) = (pair(), pair());
    let mut stack = Stack::without_auth();
    stack.start_auth_with(signing_with(&key)).await;
    let (token, _) = stack.log_in().await;
    let public = stack.folder.path().join("public");
    let pem = |key: &PrivateKey| key.public_key().to_pem();
    fs::write(&public, pem(&key) + &pem(&next)).unwrap();
    let database = stack.folder.path().join("given.db");
    let mut config = resource_config(&[
        format!("--jwt-public-key-file={}", public.display()),
        format!("--resource-database-url=sqlite://{}", database.display()),
    ]);
    config.clock = stack.clock.clone();
    let service = Resource::start(config).await;
    let ready = service.says_of("keys", "configured").await;
    assert_eq!(ready["http"], 200);
    assert!(service.takes(&token).await);

    // Without a restart the first key is dropped.
    fs::write(&public, pem(&next)).unwrap();
    let started = std::time::Instant::now();
    while service.takes(&token).await {
        assert!(started.elapsed() < crate::in_process::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
