use reqwest::Method;
use serde_json::json;
use test_support::Reply;

use crate::stack::Stack;

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_answered_in_the_one_shape() {
    let stack = Stack::start().await;
    stack.client.get("/nothing").await.is(404, "not_found");
    let reply = Reply::to(stack.client.request(&Method::POST, "/profile"))
        .await
        .is(405, "method_not_allowed");
    let mut allowed: Vec<_> = reply.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "PUT"]);
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_is_looked_at() {
    let stack = Stack::start().await;
    let huge = json!({"display_name": "x".repeat(100_000), "bio": null});
    Reply::to(stack.client.request(&Method::PUT, "/profile").json(&huge))
        .await
        .is(401, "missing_token");
    let token = stack.token("cosmo", "profile:write");
    stack
        .client
        .put_with("/profile", &token, &huge)
        .await
        .is(413, "payload_too_large");
}

#[tokio::test]
async fn a_service_that_can_read_its_store_lives_and_is_ready() {
    let stack = Stack::start().await;
    for path in ["/health/live", "/health/ready"] {
        let reply = stack.client.get(path).await.has_status(200);
        assert_eq!(reply.text_of("status"), "ok");
        assert_eq!(reply.header("x-request-id").len(), 36);
    }
}
