//! The key that signs is changed while both services are used, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use test_support::Client;
use tokio::task::JoinHandle;

use crate::stack::Stack;

/// Refreshes and reads, with the newest tokens and with the first ones, until it is told to stop.
async fn live(auth: Client, resource: Client, pair: (String, String), state: Arc<State>) {
    let (first, mut refresh) = pair;
    while !state.stop.load(Ordering::SeqCst) {
        let reply = auth.post_with("/refresh", &refresh).await.has_status(200);
        refresh = reply.text_of("refresh_token");
        let access = reply.text_of("access_token");
        for token in [&access, &first] {
            resource.get_with("/profile", token).await.has_status(200);
            auth.get_with("/me", token).await.has_status(200);
        }
        state.rounds.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    rounds: AtomicU32,
}

impl State {
    async fn goes_on_for(&self, rounds: u32) {
        let until = self.rounds.load(Ordering::SeqCst) + rounds;
        let started = Instant::now();
        while self.rounds.load(Ordering::SeqCst) < until {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "the load has stopped"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A stack, and a load on it that does not notice what is done to its keys.
struct Loaded {
    stack: Stack,
    state: Arc<State>,
    lives: Vec<JoinHandle<()>>,
}

impl Loaded {
    async fn start() -> Self {
        // No grace: every refresh rotates.
        let stack = Stack::start_with(&[("AUTH_REFRESH_GRACE", "0s")]).await;
        let state = Arc::new(State::default());
        let mut lives = Vec::new();
        for _ in 0..3 {
            let (auth, resource) = (stack.auth.clone(), stack.resource.clone());
            let pair = stack.pair().await;
            let life = live(auth, resource, pair, Arc::clone(&state));
            lives.push(tokio::spawn(life));
        }
        state.goes_on_for(5).await;
        Self {
            stack,
            state,
            lives,
        }
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
        self.state.goes_on_for(20).await;
    }

    /// The ids of the published keys.
    async fn published(&self) -> Vec<String> {
        let reply = self.stack.auth.get("/.well-known/jwks.json").await;
        let keys = reply.has_status(200).json()["keys"].clone();
        let ids = keys.as_array().unwrap().iter();
        ids.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn end(self) {
        self.state.stop.store(true, Ordering::SeqCst);
        for life in self.lives {
            // A request that failed has made it panic.
            life.await.unwrap();
        }
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
    loaded.end().await;
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
    loaded.end().await;
}
