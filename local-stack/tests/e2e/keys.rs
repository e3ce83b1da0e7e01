//! The key that signs is changed while both services are used, and nobody notices.

use std::path::Path;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use test_support::Client;

use crate::in_process::PATIENCE;
use crate::load::{KEPT, Load, SHORT, Services, USERS};
use crate::stack::{Stack, administer};

/// Longer than any test.
const FOREVER: Duration = Duration::MAX;

/// A stack, and a load on it that does not notice what is done to its keys.
struct Loaded {
    stack: Stack,
    load: Load,
}

impl Loaded {
    async fn start() -> Self {
        // No grace: every refresh rotates.
        let stack = Stack::start_with(&[("AUTH_REFRESH_GRACE", "0s")]).await;
        Self::over(stack, FOREVER).await
    }

    async fn over(stack: Stack, kept: Duration) -> Self {
        let mut pairs = Vec::new();
        for _ in 0..USERS {
            pairs.push(stack.pair().await);
        }
        let services = Services {
            auth: stack.auth.clone(),
            resources: vec![stack.resource.clone()],
        };
        let load = Load::start(services, pairs.try_into().unwrap(), kept).await;
        Self { stack, load }
    }

    /// What signs by now: the algorithm and the key.
    async fn signs(&self) -> (Algorithm, String) {
        let header = jsonwebtoken::decode_header(self.stack.pair().await.0).unwrap();
        (header.alg, header.kid.unwrap())
    }

    /// `auth-service secret …`, and then the load goes on for a while.
    async fn secret(&self, command: &[&str]) {
        let command: Vec<_> = std::iter::once(&"secret").chain(command).copied().collect();
        self.stack.administer(&command).await;
        self.load.goes_on_for(7).await;
    }

    /// The ids of the published keys.
    async fn published(&self) -> Vec<String> {
        let reply = self.stack.auth.get("/.well-known/jwks.json").await;
        let keys = reply.has_status(200).json()["keys"].clone();
        let ids = keys.as_array().unwrap().iter();
        ids.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Waits until the tokens of a retired key have expired and drops it, under load; `file` is the one that it is in.
pub(crate) async fn drop_the_old_key(data: &Path, file: &str, load: &Load) {
    let is_there = || !std::fs::read_to_string(data.join(file)).unwrap().is_empty();
    administer(data, &["secret", "prune"]).await;
    assert!(is_there(), "it is dropped at once");
    // The minute that a key is kept beyond its last token goes by at once; the life of the tokens is waited for.
    let options = SqliteConnectOptions::new().filename(data.join("auth.db"));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let earlier = sqlx::query("update key_rotation set since = since - 60000");
    earlier.execute(&pool).await.unwrap();
    pool.close().await;
    let started = Instant::now();
    loop {
        administer(data, &["secret", "prune"]).await;
        if !is_there() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "it is never dropped");
        load.goes_on_for(2).await;
    }
}

/// Waits until a service knows the key of this token, which has expired, no more.
pub(crate) async fn is_unknown(token: &str, path: &str, service: &Client) {
    let started = Instant::now();
    loop {
        let reply = service.get_with(path, token).await.has_status(401);
        match reply.text_of("code").as_str() {
            "invalid_token" => break,
            code => assert_eq!(code, "token_expired"),
        }
        assert!(started.elapsed() < PATIENCE, "the key is known still");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_changed_under_load_and_back_and_no_request_fails() {
    let loaded = Loaded::start().await;
    let old = loaded.signs().await;
    loaded.secret(&["rotate", "--wait=20s"]).await;
    let new = loaded.signs().await;
    assert_ne!(old, new);
    assert_eq!(new.0, Algorithm::HS256);
    loaded.secret(&["rollback", "--wait=20s"]).await;
    assert_eq!(loaded.signs().await, old);
    loaded.load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_changed_under_load_until_the_old_one_is_dropped_and_no_request_fails() {
    let grace = [("AUTH_REFRESH_GRACE", "0s")];
    let stack = Stack::start_local_with(&[&grace[..], &SHORT].concat()).await;
    let (before, _) = stack.pair().await;
    let mut loaded = Loaded::over(stack, KEPT).await;
    let old = loaded.signs().await;
    let rotate = ["secret", "rotate", "--wait=20s"];
    loaded.stack.administer(&rotate).await;
    let data = loaded.stack.local().data("");
    drop_the_old_key(&data, "jwt-previous-secrets", &loaded.load).await;
    assert_ne!(loaded.signs().await, old);
    is_unknown(&before, "/me", &loaded.stack.auth).await;
    is_unknown(&before, "/profile", &loaded.stack.resource).await;
    loaded.load.goes_on_for(7).await;
    loaded.load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_common_secret_gives_way_to_a_key_pair_under_load_and_no_request_fails() {
    let loaded = Loaded::start().await;
    let secret = loaded.signs().await;
    assert_eq!(secret.0, Algorithm::HS256);
    assert!(!loaded.published().await.contains(&secret.1));
    loaded.secret(&["rotate", "--ed25519", "--wait=20s"]).await;
    let (algorithm, first) = loaded.signs().await;
    assert_eq!(algorithm, Algorithm::EdDSA);
    assert_eq!(loaded.published().await[0], first);
    // From pair to pair, of the same kind and of the other.
    loaded.secret(&["rotate", "--wait=20s"]).await;
    assert_eq!(loaded.signs().await.0, Algorithm::EdDSA);
    loaded.secret(&["rotate", "--es256", "--wait=20s"]).await;
    let (algorithm, last) = loaded.signs().await;
    assert_eq!(algorithm, Algorithm::ES256);
    let published = loaded.published().await;
    assert_eq!(published[0], last);
    assert!(published.contains(&first), "the previous are published");
    // And all the way back to a secret, which need not be the first.
    loaded.secret(&["rotate", "--hs256", "--wait=20s"]).await;
    let (algorithm, new) = loaded.signs().await;
    assert_eq!(algorithm, Algorithm::HS256);
    assert_ne!(new, secret.1);
    loaded.secret(&["rollback", "--wait=20s"]).await;
    assert_eq!(loaded.signs().await, (Algorithm::ES256, last));
    // Containers are used by other tests after this one.
    loaded.secret(&["rotate", "--hs256", "--wait=20s"]).await;
    loaded.load.end().await;
}
