//! The secret is changed while both services are used, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use auth_service::Cli;
use clap::Parser;
use test_support::Client;

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

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_changed_under_load_and_back_and_no_request_fails() {
    // No grace: every refresh rotates.
    let stack = Stack::start_with(&[("AUTH_REFRESH_GRACE", "0s")]).await;
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let old = kid(&stack.pair().await.0);
    let state = Arc::new(State::default());
    let mut lives = Vec::new();
    for _ in 0..3 {
        let (auth, resource) = (stack.auth.clone(), stack.resource.clone());
        lives.push(tokio::spawn(live(
            auth,
            resource,
            stack.pair().await,
            Arc::clone(&state),
        )));
    }
    let data = stack.folder.path().join("data");
    let file = |name: &str| data.join(name).display().to_string();
    let database = format!("sqlite://{}", file("auth.db"));
    let command = async |command: &str| {
        let cli = Cli::try_parse_from([
            "auth-service",
            "secret",
            command,
            "--wait=20s",
            &format!("--jwt-secret-key-file={}", file("jwt-secret")),
            &format!(
                "--jwt-previous-secret-keys-file={}",
                file("jwt-previous-secrets")
            ),
            &format!("--auth-database-url={database}"),
        ]);
        auth_service::run(cli.unwrap()).await.unwrap();
    };
    state.goes_on_for(5).await;
    command("rotate").await;
    let new = kid(&stack.pair().await.0);
    assert_ne!(old, new);
    state.goes_on_for(20).await;
    command("rollback").await;
    assert_eq!(kid(&stack.pair().await.0), old);
    state.goes_on_for(20).await;
    state.stop.store(true, Ordering::SeqCst);
    for life in lives {
        // A request that failed has made it panic.
        life.await.unwrap();
    }
}
