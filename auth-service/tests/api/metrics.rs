//! `GET /metrics`: what is counted, and where it is told.

use std::time::{Duration, Instant};

use auth_service::config::HashingLimits;
use serde_json::json;
use test_support::Client;
use test_support::program::free_address;

use crate::stack::{GRACE, SECOND, Stack};

/// The value of a sample; none: there is none of that name and labels.
async fn figure(client: &Client, sample: &str) -> Option<f64> {
    let reply = client.get("/metrics").await.has_status(200);
    assert!(
        reply
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    let line = reply
        .text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

#[tokio::test]
async fn refreshes_are_counted_by_what_came_of_them() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    let first = &user.refresh;
    let second = stack.refresh(first).await.has_status(200);
    let second = second.text_of("refresh_token");
    stack.refresh(first).await.has_status(200);
    stack.refresh(first).await.has_status(200);
    stack.clock.advance(GRACE + SECOND);
    stack.refresh(&second).await.has_status(200);
    stack.clock.advance(GRACE + SECOND);
    stack.refresh(first).await.is(401, "refresh_token_reused");
    stack.refresh(&second).await.is(401, "token_revoked");
    for (outcome, count) in [
        ("rotated", 2.0),
        ("repeated", 2.0),
        ("kept", 0.0),
        ("replayed", 1.0),
        ("refused", 1.0),
    ] {
        let sample = format!("tokenpair_refreshes_total{{outcome=\"{outcome}\"}}");
        assert_eq!(
            figure(&stack.client, &sample).await,
            Some(count),
            "{outcome}"
        );
    }
    let requests = |status| {
        format!(
            "http_request_duration_seconds_count{{method=\"POST\",route=\"/refresh\",status=\"{status}\"}}"
        )
    };
    assert_eq!(figure(&stack.client, &requests(200)).await, Some(4.0));
    assert_eq!(figure(&stack.client, &requests(401)).await, Some(2.0));
}

#[tokio::test]
async fn a_refused_login_is_counted_alike_whether_there_is_such_a_user_or_not() {
    let stack = Stack::start().await;
    stack.sign_up("cosmo").await;
    let refused = "tokenpair_logins_total{outcome=\"refused\"}";
    for (count, username) in [(1.0, "cosmo"), (2.0, "nobody")] {
        let wrong = json!({"username": username, "password": "wrong"});
        let reply = stack.client.post("/login", &wrong).await;
        reply.is(401, "bad_credentials");
        assert_eq!(figure(&stack.client, refused).await, Some(count));
    }
    let succeeded = "tokenpair_logins_total{outcome=\"succeeded\"}";
    assert_eq!(figure(&stack.client, succeeded).await, Some(1.0));
    let hashed = "tokenpair_hashing_total{outcome=\"hashed\"}";
    assert_eq!(figure(&stack.client, hashed).await, Some(4.0));
    let waited = "tokenpair_hashing_wait_seconds_count";
    assert_eq!(figure(&stack.client, waited).await, Some(4.0));
}

#[tokio::test]
async fn what_the_hashing_queue_turns_away_is_counted() {
    let stack = Stack::start_with(|config| {
        config.hashing = HashingLimits {
            concurrency: 1,
            queue: 1,
            deadline: 10 * SECOND,
        };
    })
    .await;
    let logins = (0..8).map(|_| stack.log_in("nobody"));
    let replies = futures_util::future::join_all(logins).await;
    let overloaded = replies.iter().filter(|reply| reply.status == 503).count();
    assert!(overloaded > 0, "eight at once find a place among two");
    for sample in [
        "tokenpair_logins_total{outcome=\"overloaded\"}",
        "tokenpair_hashing_total{outcome=\"queue_full\"}",
    ] {
        let counted = figure(&stack.client, sample).await;
        assert_eq!(counted, Some(f64::from(u8::try_from(overloaded).unwrap())));
    }
}

#[tokio::test]
async fn sessions_keys_and_changes_are_there() {
    let stack = Stack::start().await;
    let user = stack.sign_up("cosmo").await;
    stack.sign_up("laika").await;
    assert_eq!(figure(&stack.client, "tokenpair_sessions").await, Some(2.0));
    let kid = crate::stack::header(&user.access).kid.unwrap();
    for r#use in ["signs", "verifies"] {
        let key = format!("tokenpair_keys{{use=\"{use}\",kid=\"{kid}\"}}");
        assert_eq!(figure(&stack.client, &key).await, Some(1.0));
    }
    let commits = "tokenpair_database_commit_seconds_count";
    assert!(figure(&stack.client, commits).await.unwrap() >= 4.0);
    // Looked up a moment ago, it is said again: asking costs the database nothing.
    stack.sign_up("belka").await;
    assert_eq!(figure(&stack.client, "tokenpair_sessions").await, Some(2.0));
}

#[tokio::test]
async fn with_an_address_of_their_own_the_metrics_are_there_alone() {
    let address = free_address();
    let apart = address.parse().unwrap();
    let stack = Stack::start_with(|config| config.metrics_listen = Some(apart)).await;
    stack.client.becomes_ready().await;
    stack.client.get("/metrics").await.is(404, "not_found");
    let metrics = Client::new(format!("http://{address}"));
    assert!(figure(&metrics, "tokenpair_sessions").await.is_some());
    metrics.get("/me").await.is(404, "not_found");
    metrics.get("/health/ready").await.is(404, "not_found");
    let stack = stack
        .restart_with(|config| config.metrics_listen = None)
        .await;
    let started = Instant::now();
    while metrics.answers("/metrics").await {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "it is still there"
        );
    }
    assert!(figure(&stack.client, "tokenpair_sessions").await.is_some());
}
