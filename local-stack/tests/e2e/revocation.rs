//! A session that ends is refused by every service, whatever happens to any of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_client::FeedOptions;
use serde_json::json;
use service_shell::keys::Keys;
use service_shell::tokens::TokenConfig;
use shared_claims::{Parties, SharedSecret, VerifyingKeys};
use test_support::token_config;
use tokio::runtime::{Builder, Runtime};

use crate::in_process::{PATIENCE, Stack};
use crate::stack::Stack as Local;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_logout_is_seen_by_every_service_and_ends_nothing_else() {
    let stack = Stack::start().await;
    let services = [stack.resource("one").await, stack.resource("two").await];
    let ((gone, _), (other, _)) = (stack.log_in().await, stack.log_in().await);
    for service in &services {
        assert_eq!(service.says("caught-up").await["body"]["status"], "ok");
        assert!(service.takes(&gone).await && service.takes(&other).await);
    }
    stack.log_out(&gone).await;
    for service in &services {
        service.refuses(&gone).await;
        assert!(service.takes(&other).await);
    }
}

#[tokio::test]
async fn a_replay_is_seen_by_every_service() {
    let stack = Stack::start().await;
    let service = stack.resource("one").await;
    service.says("caught-up").await;
    let (access, refresh) = stack.log_in().await;
    let auth = stack.auth_client();
    auth.post_with("/refresh", &refresh).await.has_status(200);
    stack.clock.advance(Duration::from_secs(10));
    assert!(service.takes(&access).await);
    let replay = auth.post_with("/refresh", &refresh).await;
    replay.is(401, "refresh_token_reused");
    service.refuses(&access).await;
}

#[tokio::test]
async fn a_service_that_was_cut_off_goes_on_says_so_and_hears_what_it_missed() {
    let mut stack = Stack::start().await;
    let service = stack.resource("one").await;
    service.says("caught-up").await;
    let ((before, _), (after, _), (stays, _)) = (
        stack.log_in().await,
        stack.log_in().await,
        stack.log_in().await,
    );
    stack.log_out(&before).await;
    service.refuses(&before).await;

    stack.stop_auth().await;
    let degraded = service.says("degraded").await;
    assert_eq!(
        (&degraded["http"], &degraded["body"]["status"]),
        (&json!(200), &json!("degraded"))
    );
    assert!(degraded["body"]["revocations"]["reason"].is_string());
    assert!(service.takes(&stays).await && service.takes(&after).await);
    service.refuses(&before).await;

    stack.start_auth().await;
    stack.log_out(&after).await;
    service.refuses(&after).await;
    service.says("caught-up").await;
    assert!(service.takes(&stays).await);
}

#[tokio::test]
async fn a_service_that_was_away_for_an_hour_misses_nothing_that_still_matters() {
    let stack = Stack::start().await;
    let service = stack.resource("one").await;
    service.says("caught-up").await;
    let (_, refresh) = stack.log_in().await;
    service.server.stop().await;
    stack.clock.advance(HOUR);
    let pair = stack
        .auth_client()
        .post_with("/refresh", &refresh)
        .await
        .has_status(200);
    let access = pair.text_of("access_token");
    stack.log_out(&access).await;
    stack.clock.advance(Duration::from_mins(14));
    let service = stack.resource("one").await;
    service.says("caught-up").await;
    let reply = service.client.get_with("/profile", &access).await;
    reply.is(401, "token_revoked");
}

#[tokio::test]
async fn a_service_takes_no_token_before_it_knows_which_sessions_have_ended() {
    let mut stack = Stack::start().await;
    let ((gone, _), (stays, _)) = (stack.log_in().await, stack.log_in().await);
    stack.log_out(&gone).await;
    stack.stop_auth().await;
    let service = stack.resource("one").await;
    let starting = service.says("starting").await;
    assert_eq!(
        (&starting["http"], &starting["body"]["code"]),
        (&json!(503), &json!("not_ready"))
    );
    let refused = service.client.get_with("/profile", &stays).await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.is(503, "not_ready");
    let refused = service.client.get_with("/profile", "not a token").await;
    refused.is(401, "malformed_header");

    stack.start_auth().await;
    service.says("caught-up").await;
    assert!(service.takes(&stays).await);
    service
        .client
        .get_with("/profile", &gone)
        .await
        .is(401, "token_revoked");
}

#[tokio::test]
async fn a_service_that_may_not_listen_says_what_its_account_needs() {
    let stack = Stack::start().await;
    let nothing = |_: &mut FeedOptions| {};
    let service = stack.resource_as("deaf", "one", nothing, token_config());
    let service = service.await;
    let started = Instant::now();
    loop {
        let starting = service.says("starting").await;
        let reason = starting["body"]["revocations"]["reason"].to_string();
        if reason.contains("needs the scope 'revocations:read'") {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{reason}");
    }
}

#[tokio::test]
async fn a_strict_service_takes_no_token_after_a_silence_and_recovers() {
    let mut stack = Stack::start().await;
    let strict = |feed: &mut FeedOptions| feed.strict = true;
    let service = stack.resource_with("strict", strict, token_config()).await;
    let lenient = stack.resource("lenient").await;
    service.says("caught-up").await;
    lenient.says("caught-up").await;
    let (token, _) = stack.log_in().await;
    stack.stop_auth().await;
    let started = Instant::now();
    while service.takes(&token).await {
        assert!(started.elapsed() < PATIENCE, "it goes on for ever");
    }
    service
        .client
        .get_with("/profile", &token)
        .await
        .is(503, "not_ready");
    assert_eq!(service.says("degraded").await["http"], 503);
    assert!(lenient.takes(&token).await);
    assert_eq!(lenient.says("degraded").await["http"], 200);
    stack.start_auth().await;
    service.says("caught-up").await;
    assert!(service.takes(&token).await);
}

#[tokio::test]
async fn a_feed_that_falls_silent_counts_as_lost() {
    // Its heartbeat comes every 10 s, the services here wait for 0.4 s: to them it falls silent.
    let stack = Stack::start().await;
    let service = stack.resource("one").await;
    let degraded = service.says("degraded").await;
    let reason = degraded["body"]["revocations"]["reason"].as_str().unwrap();
    assert!(reason.contains("nothing was heard"), "{reason}");
    service.says("caught-up").await;
}

#[tokio::test]
async fn a_service_whose_settings_differ_says_which_and_does_not_serve() {
    let stack = Stack::start().await;
    let (token, _) = stack.log_in().await;
    let usual = token_config;
    let other = SharedSecret::parse("another-secret-of-at-least-32-bytes-in-length").unwrap();
    let parties = |issuer, audience| TokenConfig {
        parties: Parties::new(issuer, audience),
        ..usual()
    };
    let (issuer, audience) = ("http://127.0.0.1:8001", "tokenpair");
    for (name, tokens, setting) in [
        (
            "issuer",
            parties("http://auth.example", audience),
            "JWT_ISSUER",
        ),
        ("audience", parties(issuer, "another"), "JWT_AUDIENCE"),
        (
            "leeway",
            TokenConfig {
                leeway: Duration::from_secs(5),
                ..usual()
            },
            "JWT_LEEWAY",
        ),
        (
            "key",
            TokenConfig {
                keys: Keys {
                    signing: None,
                    verifying: VerifyingKeys::new([other.verifying_key()]),
                },
                ..usual()
            },
            "JWT_SECRET_KEY",
        ),
    ] {
        let service = stack.resource_with(name, |_| {}, tokens).await;
        let mismatch = service.says("mismatch").await;
        assert_eq!(mismatch["http"], 503);
        let reason = mismatch["body"]["revocations"]["reason"].as_str().unwrap();
        assert!(reason.contains(setting), "{reason}");
        assert!(mismatch["body"]["msg"].as_str().unwrap().contains(setting));
        assert!(!service.takes(&token).await);
    }
    // A service that does not check them has nothing to disagree about.
    let service = stack
        .resource_with("neither", |_| {}, parties("", ""))
        .await;
    service.says("caught-up").await;
    assert!(service.takes(&token).await);
}

#[tokio::test]
async fn a_service_that_differed_serves_once_auth_service_agrees() {
    let mut stack = Stack::without_auth();
    let other = TokenConfig {
        parties: Parties::new("http://127.0.0.1:8001", "another"),
        ..token_config()
    };
    stack.start_auth_with(other).await;
    let service = stack.resource("one").await;
    service.says("mismatch").await;
    stack.stop_auth().await;
    stack.start_auth().await;
    service.says("caught-up").await;
    let (token, _) = stack.log_in().await;
    assert!(service.takes(&token).await);
}

#[tokio::test]
async fn killed_in_a_loop_neither_service_takes_a_token_that_was_signed_out() {
    let mut stack = Local::start().await;
    let (stays, _) = stack.pair().await;
    for _ in 0..6 {
        let (gone, _) = stack.pair().await;
        let taken = stack.resource.get_with("/profile", &gone).await;
        taken.has_status(200);
        stack.auth.post_with("/logout", &gone).await.has_status(204);
        // Both are killed right after the answer, and ready again before anything is asked of them.
        stack = stack.crash().await;
        let refused = stack.resource.get_with("/profile", &gone).await;
        refused.is(401, "token_revoked");
        let taken = stack.resource.get_with("/profile", &stays).await;
        taken.has_status(200);
    }
}

/// A service on threads of its own, which end from one moment to the next, as those of a process that is killed.
struct Doomed<T> {
    threads: Runtime,
    service: T,
}

impl<T: Send + 'static> Doomed<T> {
    async fn start(service: impl Future<Output = T> + Send + 'static) -> Self {
        let mut threads = Builder::new_multi_thread();
        let threads = threads.worker_threads(1).enable_all().build();
        let threads = threads.expect("threads");
        let service = threads.spawn(service).await.expect("it starts");
        Self { threads, service }
    }

    fn kill(self) {
        self.threads.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_is_killed_right_after_a_logout_the_token_is_refused_afterwards() {
    let stack = Arc::new(Stack::without_auth());
    let start_auth = || {
        let stack = Arc::clone(&stack);
        Doomed::start(async move { stack.serve_auth(token_config()).await })
    };
    let start_resource = || {
        let stack = Arc::clone(&stack);
        Doomed::start(async move { stack.resource("one").await })
    };
    let (mut auth, mut resource) = (start_auth().await, start_resource().await);
    resource.service.says("caught-up").await;
    let (stays, _) = stack.log_in().await;
    for round in 0..9 {
        let (gone, _) = stack.log_in().await;
        assert!(resource.service.takes(&gone).await);
        stack.log_out(&gone).await;
        let (auth_dies, resource_dies) = (round % 3 != 1, round % 3 != 0);
        if auth_dies {
            auth.kill();
            auth = start_auth().await;
        }
        if resource_dies {
            resource.kill();
            resource = start_resource().await;
            resource.service.says("caught-up").await;
        }
        resource.service.refuses(&gone).await;
        resource.service.says("caught-up").await;
        assert!(resource.service.takes(&stays).await);
    }
    // Threads must not be waited for in here.
    auth.kill();
    resource.kill();
}
