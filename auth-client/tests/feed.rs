//! A subscription against a feed that does what a test wants.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use auth_client::{FeedOptions, FeedStatus, Issuer, Subscription};
use axum::body::Body;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde_json::json;
use shared_claims::{Parties, SharedSecret, Verifier, VerifyingKeys};
use test_support::{SECRET, Server};

const HELLO: &str = "event: hello\ndata: {\"issuer\":null,\"audience\":null,\"kids\":[],\"access_token_expires\":900,\"leeway\":0}\n\n";
const CAUGHT_UP: &str = "event: caught-up\ndata: {}\n\n";

/// A feed that catches up at once and has nothing more to say than that it is there.
async fn follow() -> Body {
    let heartbeats = stream::repeat(":\n\n").then(async |heartbeat| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        heartbeat
    });
    let all = stream::iter([HELLO, CAUGHT_UP]).chain(heartbeats);
    Body::from_stream(all.map(Ok::<_, Infallible>))
}

async fn feed() -> Server {
    let token = json!({"access_token": "token", "token_type": "Bearer", "expires_in": 900});
    let routes = Router::new()
        .route("/oauth/token", post(async || Json(token)))
        .route("/revocations", get(follow))
        .route(
            "/revocations/subscribers/{id}",
            put(async || StatusCode::NO_CONTENT),
        );
    Server::start(|listener, stopped| async {
        tokio::select! {
            served = axum::serve(listener, routes) => Ok(served?),
            _ = stopped => Ok(()),
        }
    })
    .await
}

/// The watch over the silence and the next piece of the stream may pass each other by.
#[tokio::test]
async fn a_verifier_that_was_suspended_for_silence_goes_on_when_the_same_stream_is_heard_again() {
    let server = feed().await;
    let address = format!("http://{}", server.address()).parse().unwrap();
    let issuer = Issuer::new(address, "orders", "secret".into());
    let secret = SharedSecret::parse(SECRET).unwrap();
    let keys = VerifyingKeys::new([secret.verifying_key()]);
    let verifier = Verifier::new(keys, Parties::new("", ""));
    let options = FeedOptions {
        strict: true,
        ..FeedOptions::new("orders")
    };
    let feed = Subscription::start(&issuer, verifier.clone(), options);
    let mut changes = feed.changes();
    let caught_up = changes.wait_for(|status| *status == FeedStatus::CaughtUp);
    caught_up.await.unwrap();

    verifier.revoked().suspend();
    let started = Instant::now();
    while verifier.revoked().is_suspended() {
        assert!(started.elapsed() < Duration::from_secs(10), "it stays so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
